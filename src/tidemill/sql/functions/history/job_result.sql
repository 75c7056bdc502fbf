create or replace function tidemill.job_result(
  job_id bigint, since timestamptz default '-infinity',
  out outcome text, out result json, out error text, out error_type text, out finished_at timestamptz
)
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
begin
  select h.outcome, h.result, h.error, h.error_type, h.finished_at into outcome, result, error, error_type, finished_at
    from tidemill.job_history h
    where h.id = job_id and h.finished_at >= coalesce(since, '-infinity') and h.outcome <> 'retried'
    order by h.finished_at desc limit 1;
end
$$;
comment on function tidemill.job_result is
$$How a job ended whose history is kept: one row, of NULLs if it has not ended, or no history of it is kept.

job_id  its id
since   a time before its end, such as when it was added: the search is faster the later it is; NULL: any

outcome is done, failed, cancelled or removed; result what the task returned, with keep_result. A failed job that is
retried by hand, and ends again, has several ends: this is the last one.$$;
