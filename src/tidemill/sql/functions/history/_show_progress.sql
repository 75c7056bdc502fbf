create or replace function tidemill._show_progress(told json, gone json) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp set lock_timeout = '1s'
as $$
begin
  -- A crash of the server may forget the last second of it: the jobs will tell again.
  perform set_config('synchronous_commit', 'off', true);
  insert into tidemill._progress as p (job_id, claim_token, fraction, message, told_at)
    select t.id, t.token, t.fraction, t.message, now()
    from json_to_recordset(told) t (id bigint, token bigint, fraction real, message text)
    order by t.id
    on conflict (job_id) do update set
      claim_token = excluded.claim_token, fraction = excluded.fraction, message = excluded.message, told_at = now();
  delete from tidemill._progress p
    using json_to_recordset(gone) g (id bigint, token bigint)
    where p.job_id = g.id and p.claim_token = g.token;
end
$$;
comment on function tidemill._show_progress is
  'Writes what running jobs of a worker have told since it did so last, and deletes that of jobs that have ended.';

create or replace function tidemill._forget_progress() returns void
language sql security definer set search_path = pg_catalog, pg_temp set lock_timeout = '100ms'
as $$
  delete from tidemill._progress p where p.job_id = any(array(
    select o.job_id from tidemill._progress o
    where o.told_at < now() - interval '10 minutes'
      and not exists (select from tidemill._jobs j where j.id = o.job_id and j.claim_token = o.claim_token)
    order by o.job_id limit 5000 for update skip locked))
$$;
comment on function tidemill._forget_progress is 'Deletes what jobs of lost workers have left. Workers call it once an hour.';
