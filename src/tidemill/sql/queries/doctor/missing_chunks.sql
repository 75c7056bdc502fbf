-- Hypertables without a chunk for what is written now, and rows that wait for one.
with looked_at as (
  select h.id, h.rows_table, coalesce(h.view, h.rows_table) as name,
    case when h.time_type not in ('int2'::regtype, 'int4'::regtype, 'int8'::regtype)
      then tidemill._now_units(h.time_type) end as present,
    (select max(c.range_end) from tidemill._chunks c where c.hypertable_id = h.id) as until,
    (select l.has_rows from tidemill._loose_rows(tidemill._default_partition(h), false) l) as waiting,
    (select a.id from tidemill._actions a
     join tidemill._action_states s on s.action_id = a.id
     where a.proc_schema = 'tidemill' and a.proc_name = 'policy_chunks' and (a.config ->> 'hypertable_id')::integer = h.id
       and a.scheduled and s.consecutive_failures = 0) as maker
  from tidemill._hypertables h
)
select 'warning' as severity,
  format('The hypertable %s has no chunk for the present, and %s.', l.name,
    coalesce('the action ' || l.maker || ' has made none', 'no action makes one: there is none, it is paused, or it fails'))
    as finding,
  format('select tidemill.make_chunks(%L); and see: tidemill actions', l.rows_table) as remedy
from looked_at l
where coalesce(l.until, l.present) <= l.present and (l.until is not null or l.maker is null)
union all
select case when l.maker is null then 'warning' else 'note' end,
  format('Rows of the hypertable %s wait in its default partition%s.', l.name,
    coalesce('; the action ' || l.maker || ' gives them chunks', ', and no action gives them chunks')),
  format('At once: select tidemill.make_chunks(%L)', l.rows_table)
from looked_at l
where l.waiting
