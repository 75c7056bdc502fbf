-- Objects outside of these schemas and routines that would be dropped with them.
with recursive doomed (class, id, part) as (
  (
    select 'pg_namespace'::regclass::oid, n.oid, 0
    from pg_namespace n
    where n.nspname = any(%(schemas)s::text[])
    union all
    select 'pg_proc'::regclass::oid, unnest(%(routines)s::oid[]), 0
  )
  union
  -- A view depends on its tables through its rule.
  select
    case when r.oid is null then d.classid else 'pg_class'::regclass end,
    coalesce(r.ev_class, d.objid),
    d.objsubid
  from doomed o
  join pg_depend d on d.refclassid = o.class and d.refobjid = o.id and o.part in (0, d.refobjsubid)
  left join pg_rewrite r on d.classid = 'pg_rewrite'::regclass and r.oid = d.objid
  where d.deptype in ('n', 'a', 'i')
)
select distinct pg_describe_object(o.class, o.id, o.part)
from doomed o
cross join lateral pg_identify_object(o.class, o.id, o.part) i
cross join lateral pg_identify_object_as_address(o.class, o.id, o.part) a
where coalesce(i.schema, a.object_names[1]) not in (select unnest(%(schemas)s::text[]) union values ('pg_toast'))
  and not (o.class = 'pg_proc'::regclass and o.id = any(%(routines)s::oid[]))
  -- Row types, arrays, toast tables: parts of objects that are listed already.
  and not exists (
    select from pg_depend d where d.classid = o.class and d.objid = o.id and d.deptype = 'i')
  -- Tidemill's own event trigger is dropped with its function.
  and not exists (
    select from pg_event_trigger e
    where o.class = 'pg_event_trigger'::regclass and e.oid = o.id and e.evtname = 'tidemill_routines')
order by 1;
