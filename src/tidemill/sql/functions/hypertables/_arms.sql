-- The arms of a view: it is cut by time, so that the planner leaves out what a query does not ask for.

create or replace function tidemill._arms(h tidemill._hypertables, out low bigint, out high bigint) returns setof record
language sql stable set search_path = pg_catalog, pg_temp
as $$
  -- Three arms of each size: 1,000 chunks are 27 arms. None ends where the oldest chunk begins: below is nothing, and
  -- each arm with an end decodes the time of all of its rows.
  with recursive numbered as (
    select k.range_start, row_number() over (order by k.range_start desc) as n
    from tidemill._chunks k where k.hypertable_id = h.id and k.is_compressed
  ),
  ends as (
    -- They cost something, and only with this setting PostgreSQL leaves any out.
    select 1::bigint as n, 1 as arm where (select count(*) from numbered) > 1 and current_setting('constraint_exclusion') = 'on'
    union all
    select e.n + (1::bigint << ((e.arm - 1) / 3)), e.arm + 1 from ends e
    where e.n + (1::bigint << ((e.arm - 1) / 3)) < (select count(*) from numbered)
  )
  select b.range_start, lag(b.range_start) over (order by b.range_start desc nulls last)
  from (select k.range_start from numbered k join ends e using (n)
        where tidemill._bound_literal(h.time_type, k.range_start) <> 'minvalue'
        union all select null) b
$$;
comment on function tidemill._arms is
  'The ranges into which a view cuts the packed rows, growing with age, so that it leaves out what a query does not ask for.';

create or replace function tidemill._time_within(h tidemill._hypertables, expression text, low bigint, high bigint) returns text
language sql stable set search_path = pg_catalog, pg_temp
as $$
  select concat_ws(' and ',
    case when low is not null then format('%s >= %L::%s', expression, tidemill._time_text(h.time_type, low), h.time_type) end,
    case when high is not null then format('%s < %L::%s', expression, tidemill._time_text(h.time_type, high), h.time_type) end)
$$;
comment on function tidemill._time_within is 'A condition: that a time is in a range, whose ends may be NULL.';

create or replace function tidemill._cut_arms(h tidemill._hypertables) returns void
language plpgsql set search_path = pg_catalog, pg_temp set lock_timeout = '100ms'
as $$
declare
  arms constant bigint[] := array(select a.low from tidemill._arms(h) a where a.low is not null order by 1 desc);
begin
  if arms = h.arms then
    return;
  end if;
  execute format('create or replace view %s with (security_invoker = true) as %s', h.view, tidemill._all_rows(h));
  h.arms := arms;
  insert into tidemill._hypertable_requests (h, verb) values (h, 'keep h');
exception when lock_not_available or undefined_table or wrong_object_type or invalid_table_definition or insufficient_privilege then
  -- The old ones are right, too. A reader that is long in its transaction is not in the way of the others, and who has
  -- laid the view out anew meanwhile has cut it.
  return;
end
$$;
comment on function tidemill._cut_arms is 'Cuts the arms of a hypertable''s view anew, if its compressed chunks are others now, and nobody is in the way.';
