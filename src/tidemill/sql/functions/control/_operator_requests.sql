-- How an operator asks for what it may not write itself, and who it is: as in actions/_requests.sql. There is one view
-- for all of it, since the role operator may do all of it.

create or replace view tidemill._operator_requests as
select
  null::name as who, null::text as verb, null::bigint[] as ids, null::text[] as names, null::text as reason,
  null::timestamptz as run_at, null::integer as priority, null::integer as attempts, null::integer as max_attempts,
  null::bigint as act, null::tidemill.job[] as jobs, null::boolean as changed,
  null::jsonb as filter, null::jsonb as options, null::tidemill._limits as wanted,
  null::text as state, null::real as progress, null::jsonb as passed_over, null::integer as count, null::text as because
where false;
comment on view tidemill._operator_requests is
$$Inserting calls the private function of the public function verb, and notes the act.

act   where a call works in steps: the one of its first step, which is returned
ids   of jobs; of step_bulk_act and abort_bulk_act that of the bulk act. Those that step_bulk_act has changed, and the id
      that begin_bulk_act has given, are returned in it
jobs, changed, state, progress, passed_over, count, because
      what the function returns$$;
alter view tidemill._operator_requests alter who set default current_user;

create or replace function tidemill._answer_operator() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
begin
  new.jobs := null;
  new.changed := null;
  case new.verb
    when 'complete_jobs', 'permanently_fail_jobs', 'reschedule_jobs', 'cancel_jobs', 'remove_job' then
      new := tidemill._act_on_jobs(new);
    when 'begin_bulk_act' then
      new.ids := array[tidemill._begin_bulk_act(new.who, new.names[1], new.filter, new.options)];
    when 'step_bulk_act' then
      select s.state, s.progress, s.changed, s.passed_over into new.state, new.progress, new.ids, new.passed_over
        from tidemill._step_bulk_act(new.who, new.ids[1], (new.options ->> 'most')::integer) s;
    when 'abort_bulk_act' then
      new.changed := tidemill._abort_bulk_act(new.who, new.ids[1]);
    when 'delete_ended_jobs' then
      select d.deleted, array[d.reached] into new.count, new.ids
        from tidemill._drop_ended_jobs(new.who, new.run_at, new.ids[1], (new.options ->> 'most')::integer) d;
    when 'delete_unused_queues' then
      select d.deleted, d.because into new.count, new.because
        from tidemill._drop_unused_queues(
          new.who, (new.options ->> 'most')::integer, (new.options ->> 'most_bytes')::bigint,
          (new.options ->> 'tries')::integer) d;
    when 'set_limit' then
      perform tidemill._set_limit(
        new.who, new.names[1], (new.wanted).concurrency, (new.wanted).rate, (new.wanted).period, (new.wanted).burst,
        new.names[2]);
    when 'remove_limit' then
      perform tidemill._remove_limit(new.who, new.names[1]);
    when 'force_unlock_workers' then
      perform tidemill._unlock_workers(new.who, new.names);
    when 'stop_worker' then
      perform tidemill._stop_worker(new.who, new.names[1], new.reason);
    when 'pause' then
      new.changed := tidemill._pause(new.who, new.names[1], new.names[2], new.reason);
    when 'resume' then
      new.changed := tidemill._resume(new.who, new.names[1], new.names[2]);
    when 'set_on_failure' then
      perform tidemill._set_on_failure(new.who, new.names[1]);
    else
      raise exception using errcode = 'invalid_parameter_value', message = format('there is no act %s', left(new.verb, 128));
  end case;
  return new;
end
$$;

create or replace function tidemill._act_on_jobs(q tidemill._operator_requests) returns tidemill._operator_requests
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  before jsonb;
begin
  case q.verb
    when 'complete_jobs' then
      select c.jobs, c.before into q.jobs, before from tidemill._complete_idle_jobs(q.ids) c;
    when 'permanently_fail_jobs' then
      select c.jobs, c.before into q.jobs, before from tidemill._fail_idle_jobs(q.ids, q.reason) c;
    when 'reschedule_jobs' then
      select c.jobs, c.before into q.jobs, before
        from tidemill._reschedule_idle_jobs(q.ids, q.run_at, q.priority, q.attempts, q.max_attempts) c;
    when 'cancel_jobs' then
      select c.jobs, c.before into q.jobs, before from tidemill._cancel_open_jobs(q.ids, q.reason) c;
    when 'remove_job' then
      select c.jobs, c.before into q.jobs, before from tidemill._remove_keyed_job(q.names[1]) c;
  end case;
  if cardinality(q.jobs) > 0 then
    q.act := tidemill._note_act(
      q.who, q.verb, array(select j.id::text from unnest(q.jobs) j), cardinality(q.jobs), q.reason, before,
      case when q.verb not in ('complete_jobs', 'remove_job') or (q.jobs[1]).state = 'running'
        then tidemill._in_short(q.jobs) end,
      q.act);
  end if;
  return q;
end
$$;
comment on function tidemill._act_on_jobs is 'Changes jobs as a request wants it, and notes the act of who asks; returns it with what was changed.';

create or replace trigger answer instead of insert on tidemill._operator_requests
  for each row execute function tidemill._answer_operator();

create or replace function tidemill._operate_on_jobs(
  verb text, job_ids bigint[], reason text default null, run_at timestamptz default null,
  priority integer default null, attempts integer default null, max_attempts integer default null
) returns setof tidemill.job
language plpgsql set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
declare
  step constant integer := 1000;
  ids constant bigint[] := array(select i from unnest(job_ids) i order by i);
  asked record;
  act bigint;
begin
  -- In steps, since an array holds less than 1 GB, and jobs may be large. At least one: it checks the arguments.
  for start in 1 .. greatest(cardinality(ids), 1) by step loop
    insert into tidemill._operator_requests as q (verb, ids, reason, run_at, priority, attempts, max_attempts, act)
      values (verb, ids[start:start + step - 1], reason, run_at, priority, attempts, max_attempts, act)
      returning q.jobs, q.act into asked;
    act := asked.act;
    return query select (j).* from unnest(asked.jobs) j;
  end loop;
end
$$;
comment on function tidemill._operate_on_jobs is 'Asks for an act on jobs, as the caller; returns the jobs that were changed.';
