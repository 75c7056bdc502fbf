-- For app.wait: how jobs ended that somebody waits for. Security definer, for readers: they learn what the view job_history
-- tells them as well, and the rows that they write say nothing but whom to tell of the end of a job that is there.

create or replace function tidemill._job_ends(job_ids bigint[], since timestamptz)
returns table (id bigint, outcome text, result text, error text, error_type text, is_kept boolean, identifier text)
language plpgsql stable security definer set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off
as $$
#variable_conflict use_column
begin
  return query
    select i.id,
      case
        when j.id is null then coalesce(d.outcome, e.outcome, 'gone')
        when j.locked_at is null and j.cancelled_after is not null then 'cancelled'
        when j.locked_at is null and j.attempts >= j.max_attempts then 'failed'
      end,
      d.result::text, coalesce(j.last_error, e.error), e.error_type, coalesce(j.keep, t.keep, 0) > 0, t.identifier
    from unnest(job_ids) i(id)
    left join tidemill._jobs j on j.id = i.id
    left join tidemill._tasks t on t.id = j.task_id
    left join lateral (
      select 'done' as outcome, x.result from tidemill._done_jobs x
      where x.id = i.id and x.finished_at >= since limit 1) d on j.id is null
    left join lateral (
      select x.outcome, x.error, x.error_type from tidemill._ended_attempts x
      where x.id = i.id and x.finished_at >= since
      order by x.finished_at desc limit 1) e on d.outcome is null;
end
$$;
comment on function tidemill._job_ends is
$$How jobs have ended; outcome: NULL: not yet, 'gone': nothing is known of it.

since    a time before the end of all of them
is_kept  of one that has not ended: whether history of it is kept, as far as the database knows$$;

create or replace function tidemill._wait_for(job_ids bigint[], channel text) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
begin
  -- Workers notify in the name of others: nobody may have them do it on a channel that means something else.
  if channel is null or channel !~ '^tidemill:ended:[0-9a-f]{1,32}$' then
    raise exception using errcode = 'invalid_parameter_value',
      message = format('%s is no channel to wait on', coalesce(quote_ident(left(channel, 128)), 'NULL'));
  end if;
  insert into tidemill._waiters (job_id, channel)
    select j.id, _wait_for.channel from tidemill._jobs j where j.id = any(job_ids)
    on conflict do nothing;
end
$$;
comment on function tidemill._wait_for is
  'Has the end of jobs told on a channel. A job may end meanwhile, so whoever calls this looks afterwards, and again later.';

create or replace function tidemill._wait_no_more(job_ids bigint[], channel text) returns void
language sql security definer set search_path = pg_catalog, pg_temp
as $$
  delete from tidemill._waiters w where w.job_id = any(job_ids) and w.channel = _wait_no_more.channel
$$;
