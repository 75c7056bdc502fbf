-- The filters by which jobs are found, on the command line and by bulk acts. NULL leaves no job out.

-- In SQL, so that it is inlined into the statements that find jobs; they are read by any search path.
create or replace function tidemill._job_passes(
  state text, identifier text, queue_name text, retrying boolean, last_error text, updated_at timestamptz,
  of_state text, of_task text, of_queue text, is_retrying boolean, with_error text, since timestamptz, before timestamptz
) returns boolean
language sql stable
as $$
  select (of_state is null or state operator(pg_catalog.=) of_state)
    and (of_task is null or identifier operator(pg_catalog.=) of_task)
    and (of_queue is null or queue_name operator(pg_catalog.=) of_queue)
    and (is_retrying is not true or retrying)
    and (with_error is null
      or pg_catalog.strpos(pg_catalog.lower(last_error), pg_catalog.lower(with_error)) operator(pg_catalog.>) 0)
    and (since is null or updated_at operator(pg_catalog.>=) since)
    and (before is null or updated_at operator(pg_catalog.<) before)
$$;
comment on function tidemill._job_passes is
  'Whether a row of the view jobs passes a filter: its columns come first, then the filter.';
