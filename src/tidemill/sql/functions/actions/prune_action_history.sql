-- The built-in action 3: deletes old history.

-- It commits and so may have no SET clause: every name is qualified instead.
create or replace procedure tidemill.prune_action_history(job_id integer, config jsonb)
language plpgsql
as $$
declare
  batch constant integer := 5000;
  oldest pg_catalog.timestamptz;
  of_action integer;
  kept record;
begin
  perform tidemill.check_history_retention(config);
  oldest := pg_catalog.now() operator(pg_catalog.-) (config operator(pg_catalog.->>) 'drop_after')::interval;
  while tidemill._delete_old_runs(oldest, batch) operator(pg_catalog.>) 0 loop
    commit;
  end loop;

  while tidemill._delete_old_acts(
    pg_catalog.now() operator(pg_catalog.-) coalesce(config operator(pg_catalog.->>) 'drop_acts_after', '90 days')::interval,
    batch) operator(pg_catalog.>) 0
  loop
    commit;
  end loop;

  for of_action in select i from tidemill._action_ids_of_runs() i loop
    for kept in
      select true as successes, (config operator(pg_catalog.->>) 'max_successes_per_job')::integer as most
      union all
      select false, (config operator(pg_catalog.->>) 'max_failures_per_job')::integer
    loop
      while tidemill._delete_surplus_runs(of_action, kept.successes, kept.most, batch) operator(pg_catalog.>) 0 loop
        commit;
      end loop;
    end loop;
  end loop;
end
$$;
comment on procedure tidemill.prune_action_history is
$$Deletes old rows of tidemill.action_history; the built-in action 3 runs it every 6 hours.

job_id  the action's id; not used
config  drop_after (interval): runs that started longer ago are deleted; max_successes_per_job and
        max_failures_per_job (at least 10): how many runs of each action are kept, the newest ones.
        Runs with any outcome other than success count as failures. drop_acts_after (interval, 90 days if it is
        left out): rows of tidemill.acts that are older are deleted.

Runs without an end are kept. It commits after each 5,000 rows, so it cannot be called in a transaction.
Errors: those of tidemill.check_history_retention. Behaviour follows TimescaleDB's job 3.$$;

-- Before the next ANALYZE the planner may take a scan of the whole table for cheap. For each batch it is not.
create or replace function tidemill._delete_old_runs(before timestamptz, batch integer) returns integer
language sql set search_path = pg_catalog, pg_temp set enable_seqscan = off set enable_bitmapscan = off set enable_sort = off
as $$
  with gone as (
    delete from tidemill._action_runs r
    where r.id = any(array(
      select o.id from tidemill._action_runs o
      where o.started_at < before and o.outcome is not null
      order by o.started_at
      limit batch))
    returning 1
  )
  select count(*)::integer from gone
$$;
comment on function tidemill._delete_old_runs is
  'Deletes up to a batch of runs that started before a time and have ended; returns how many.';

create or replace function tidemill._delete_old_acts(until timestamptz, batch integer) returns integer
language sql set search_path = pg_catalog, pg_temp set enable_seqscan = off set enable_bitmapscan = off set enable_sort = off
as $$
  with gone as (
    delete from tidemill._acts a
    where a.id = any(array(select o.id from tidemill._acts o where o.at < until order by o.at limit batch))
    returning 1
  )
  select count(*)::integer from gone
$$;
comment on function tidemill._delete_old_acts is 'Deletes up to a batch of acts from before a time; returns how many.';

create or replace function tidemill._delete_surplus_runs(
  action_id integer, successes boolean, kept integer, batch integer
) returns integer
language sql set search_path = pg_catalog, pg_temp set enable_seqscan = off set enable_bitmapscan = off set enable_sort = off
as $$
  with gone as (
    delete from tidemill._action_runs r
    where r.id = any(array(
      select o.id from tidemill._action_runs o
      where o.action_id = _delete_surplus_runs.action_id and (o.outcome = 'success') = successes
      order by o.id desc
      limit batch offset kept))
    returning 1
  )
  select count(*)::integer from gone
$$;
comment on function tidemill._delete_surplus_runs is
  'Deletes up to a batch of an action''s successes, or of its other ended runs, and keeps the newest; returns how many.';

create or replace function tidemill._action_ids_of_runs() returns setof integer
language sql stable set search_path = pg_catalog, pg_temp
as $$
  -- From id to id by the index: there are few ids and many rows.
  with recursive ids (id) as (
    select min(action_id) from tidemill._action_runs
    union all
    select (select min(r.action_id) from tidemill._action_runs r where r.action_id > i.id)
    from ids i where i.id is not null
  )
  select id from ids where id is not null
$$;
comment on function tidemill._action_ids_of_runs is
  'Ids of all actions that have a history, deleted ones included.';
