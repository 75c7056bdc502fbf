-- The server process of a run: whether it exists, and how it is ended.

create or replace function tidemill._backend_of(run tidemill._action_runs) returns setof integer
language sql stable set search_path = pg_catalog, pg_temp
as $$
  -- The statistics are the cluster's: in a restored copy the process would be one of the original.
  select b.pid from pg_stat_activity b
  where b.pid = run.pid and b.datname = current_database()
    and (b.backend_start = run.backend_start or b.backend_start is null)
$$;
comment on function tidemill._backend_of is
  'The server process of a run, if it exists in this database. Some roles cannot see when it began; then its number alone decides.';

create or replace function tidemill._end_backend(pid integer) returns boolean
language plpgsql set search_path = pg_catalog, pg_temp
as $$
begin
  return pg_terminate_backend(pid, 1000);
exception when insufficient_privilege then
  return false;
end
$$;
comment on function tidemill._end_backend is
  'Terminates a server process, and returns whether it is gone within a second.';

create or replace function tidemill._server_started_at() returns timestamptz
language sql stable set search_path = pg_catalog, pg_temp
as $$
  -- The postmaster survives the crash of another server process; the statistics do not.
  select greatest(pg_postmaster_start_time(), (select b.stats_reset from pg_stat_bgwriter b))
$$;
comment on function tidemill._server_started_at is
  'When the server last started or recovered from the crash of one of its processes.';
