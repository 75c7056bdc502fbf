-- Runs that would never end: their worker, their server process or both are gone.

create or replace function tidemill._sweep_runs(at timestamptz default clock_timestamp())
returns table (run_id bigint, action_id integer, application_name text, outcome text, message text)
-- Without statistics the planner takes most rows for open runs.
language plpgsql set search_path = pg_catalog, pg_temp set enable_seqscan = off
as $$
#variable_conflict use_column
declare
  run record;
begin
  perform tidemill._close_left_runs();
  perform tidemill._pause_ownerless();
  perform tidemill._mend_starts(at);
  for run in
    select r.id, r.action_id, r.application_name, r.worker_id, r.pid,
           exists (select from tidemill._backend_of(r)) as goes_on,
           tidemill._server_started_at() > r.started_at as restarted
      from tidemill._action_runs r
      where r.outcome is null and not r.by_hand
        and not exists (
          select from tidemill._workers w
          where w.id = r.worker_id and not tidemill._is_lost(w)
            -- The clock may have stepped past the deadline, or only the heartbeat's connection was cut. A run that
            -- goes on shows that its worker lives: the server ends it soon after its client.
            and (w.lost_at is null and w.expires_at > at or exists (select from tidemill._backend_of(r))))
      for no key update of r skip locked
  loop
    -- Without its worker nothing can stop the run or learn its outcome: end the process, then close the row.
    continue when run.goes_on and not tidemill._end_backend(run.pid);
    run_id := run.id;
    action_id := run.action_id;
    application_name := run.application_name;
    message := case
      when run.restarted then format('the database server was restarted, and the worker %s with it', run.worker_id)
      else format('the worker %s was lost: killed, crashed, or cut off from the database', run.worker_id)
    end;
    begin
      select f.recorded into outcome from tidemill._finish_run(
        run.id, case when run.restarted then 'server_restarted' else 'worker_lost' end, at,
        message => _sweep_runs.message) f;
    exception when others then
      -- Left for the next sweep, so that it does not hold up the others.
      continue;
    end;
    return next;
  end loop;
  -- A run whose row was deleted by hand will never end.
  update tidemill._action_states s set run_id = null
    where s.run_id is not null and s.last_start < at - interval '1 minute'
      and not exists (select from tidemill._action_runs r where r.id = s.run_id);
end
$$;
comment on function tidemill._sweep_runs is
$$Ends the runs of workers that are gone, and returns them.

A server process that is still running without its worker is terminated first. Also pauses the actions
whose owner was dropped, and mends the next starts that a wrong clock has set.$$;

create or replace function tidemill._give_back_strays(worker_id text, known bigint[]) returns void
language sql set search_path = pg_catalog, pg_temp
as $$
  select tidemill._give_back_run(r.id) from tidemill._action_runs r
  where r.worker_id = _give_back_strays.worker_id and r.outcome is null and r.id <> all(known)
$$;
comment on function tidemill._give_back_strays is
  'Gives back runs that a worker started but never heard of, since its connection broke.';
