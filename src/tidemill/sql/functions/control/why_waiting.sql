-- Security definer: it reads private tables, for roles that may read the views. It tells nothing of payloads.
create or replace function tidemill.why_waiting(job_id bigint)
returns table (reason text, message text, remedy text)
language plpgsql stable security definer set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
  j tidemill._jobs;
  task tidemill._tasks;
  queue tidemill._queues;
  p tidemill._pauses;
  knowing integer;
  free integer;
begin
  select o.* into j from tidemill._jobs o where o.id = why_waiting.job_id;
  if not found then
    select * into reason, message, remedy from tidemill._why_gone(why_waiting.job_id);
    return next;
    return;
  end if;
  select t.* into task from tidemill._tasks t where t.id = j.task_id;
  select q.* into queue from tidemill._queues q where q.id = j.queue_id;

  if j.locked_at is not null then
    select * into reason, message, remedy from tidemill._why_held(j);
  elsif j.cancelled_after is not null then
    reason := 'cancelled';
    message := format('It was cancelled on %s%s.', j.updated_at,
                      coalesce(substr(tidemill._first_line(j.last_error), length('Cancelled') + 1), ''));
    remedy := format('Bring it back: tidemill jobs retry %1$s, or select tidemill.reschedule_jobs(array[%1$s], attempts => 0).', j.id);
  elsif j.attempts >= j.max_attempts then
    reason := 'failed';
    -- One that failed for good before its last attempt has spent all; how many there were, history knows at most.
    message := format('It failed for good on %s%s: %s', j.updated_at,
                      (select format(', after %s of %s attempts', e.attempt, e.max_attempts) from tidemill._ended_attempts e
                       where e.id = j.id and e.outcome = 'failed' order by e.finished_at desc limit 1),
                      coalesce(tidemill._first_line(j.last_error), 'no error was noted'));
    remedy := format('Mend the cause, then: tidemill jobs retry %1$s, '
      'or select tidemill.reschedule_jobs(array[%1$s], run_at => now(), attempts => 0).', j.id);
  elsif task.paused_at is not null or queue.paused_at is not null then
    -- The one that will last is told: of its own pause before that of everything.
    select o.* into p from tidemill._pauses o
      where (o.kind, o.name) in (('task', task.identifier), ('queue', queue.queue_name), ('all', ''))
      order by o.kind = 'all', o.kind = 'queue' limit 1;
    reason := 'paused';
    message := tidemill._pause_in_words(p);
    remedy := format('Resume it: tidemill resume %s, or select tidemill.resume(%s).',
                     case when p.kind = 'all' then 'all' else p.kind || ' ' || tidemill._in_shell(p.name) end,
                     case when p.kind = 'all' then '''all''' else format('%L, %L', p.kind, p.name) end);
  elsif j.run_at > now() then
    reason := 'scheduled';
    message := case when j.attempts > 0
      then format('Attempt %s of %s failed (%s); the next one is due on %s.', j.attempts, j.max_attempts,
                  coalesce(tidemill._first_line(j.last_error), 'no error was noted'), j.run_at)
      else format('It is due on %s.', j.run_at) end;
    remedy := format('Run it now: tidemill jobs reschedule %1$s --in 0s, or select tidemill.reschedule_jobs(array[%1$s], run_at => now()).', j.id);
  else
    select w.reason, w.message, w.remedy into reason, message, remedy
      from tidemill._why_behind(j, queue) w where j.gate_id is null
      union all
      select w.reason, w.message, w.remedy from tidemill._why_limited(j) w where j.gate_id is not null;
  end if;
  if reason is not null then
    return next;
    return;
  end if;

  select count(*), coalesce(sum(greatest(w.concurrency - w.in_hand, 0)), 0) into knowing, free
    from tidemill._workers w
    where w.expires_at > clock_timestamp() and w.lost_at is null and not w.stopping
      and task.identifier = any(w.identifiers);
  if knowing = 0 then
    reason := 'no_worker';
    message := format('No worker that runs knows the task "%s".', task.identifier);
    remedy := 'Start a worker that has it (tidemill worker); or the name is a typo: then cancel the job.';
  elsif free = 0 then
    reason := 'busy';
    message := format('It is ready; but %s of the task, all that run, have no slot free.', tidemill._counted(knowing, 'worker'));
    remedy := 'Wait, start more workers, or raise --concurrency; a smaller priority number starts it before others.';
  else
    reason := 'ready';
    message := format('It is ready, and %s may take it at any moment, unless it carries a flag that all of them leave alone. '
                      'While it runs in an express batch, it is shown as ready, too.', tidemill._counted(knowing, 'worker'));
  end if;
  return next;
end
$$;
comment on function tidemill.why_waiting is
$$Why a job does not run: one row with the reason as a word, a message, and the remedy (NULL if none is needed).

reason  gone (done, removed, or unknown; history tells which, where it is kept), running, claimed (waits in its worker's hand), lost (its worker is), cancelled,
        failed, paused, scheduled, queue_busy (a job of its named queue runs), queue_order (others come first in
        it), limited (its limit is full, or has no token yet), no_worker, busy, or ready

The first that holds, in this order. Not known to the database: which flags workers leave alone.$$;

create or replace function tidemill._why_gone(job_id bigint, out reason text, out message text, out remedy text)
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
declare
  last record;
begin
  reason := 'gone';
  select h.outcome, h.finished_at, h.attempt, h.max_attempts, h.error into last
    from tidemill.job_history h where h.id = job_id order by h.finished_at desc limit 1;
  if not found then
    message := format('There is no job %s: it is done and no history of it is kept (any longer), was removed, or never was.',
                      coalesce(job_id::text, 'NULL'));
    return;
  elsif last.outcome = 'done' then
    message := format('It is done since %s, in attempt %s of %s.', last.finished_at, last.attempt, last.max_attempts);
  elsif last.outcome = 'removed' then
    message := format('It was removed on %s, before it was done.', last.finished_at);
  else
    message := format('It was removed some time after %s, when it had %s%s.', last.finished_at,
                      case last.outcome when 'cancelled' then 'been cancelled' when 'failed' then 'failed for good' else 'failed' end,
                      coalesce(': ' || tidemill._first_line(last.error), ''));
  end if;
  remedy := format('See what is kept of it: select * from tidemill.job_history where id = %s.', job_id);
end
$$;

create or replace function tidemill._in_shell(word text) returns text
language sql immutable set search_path = pg_catalog, pg_temp
as $$ select case when word ~ '^[A-Za-z0-9_./:@-]+$' then word else '''' || replace(word, '''', '''' || chr(92) || '''''') || '''' end $$;
comment on function tidemill._in_shell is 'A word as a command of a shell takes it.';

create or replace function tidemill._why_held(j tidemill._jobs, out reason text, out message text, out remedy text)
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
begin
  if tidemill._lease_ended(j.locked_at, j.locked_by) then
    reason := 'lost';
    message := format('Its worker %s is lost; another one frees it at its next sweep, within seconds.', j.locked_by);
    remedy := 'If no worker runs, start one.';
  elsif exists (select from tidemill._unstarted u where u.claim_token = j.claim_token) then
    reason := 'claimed';
    message := format('Worker %s has it in hand since %s, and starts it when a slot is free.', j.locked_by, j.locked_at);
  else
    reason := 'running';
    message := format('It runs in worker %s since %s%s.', j.locked_by, j.locked_at,
                      case when j.withdrawn is not null then '; it was asked to stop, or will not be tried again' else '' end);
    remedy := format('To stop it: tidemill jobs cancel %1$s, or select tidemill.cancel_jobs(array[%1$s]).', j.id);
  end if;
end
$$;

create or replace function tidemill._why_limited(
  j tidemill._jobs, out reason text, out message text, out remedy text
)
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
declare
  g record;
begin
  select * into g from tidemill._gate_state(j.gate_id);
  if g.in_use >= g.concurrency then
    reason := 'limited';
    message := format('Its limit "%s" lets %s run at once, and %s %s%s.', g.limit_name,
                      tidemill._counted(g.concurrency, 'job'),
                      case g.in_use when 1 then 'one does: job' else g.in_use || ' do: jobs' end,
                      array_to_string(g.holders, ', '), case when g.in_use > 10 then ' and others' else '' end);
    remedy := 'Wait for them, or raise the limit.';
  elsif g.next_token is not null then
    reason := 'limited';
    message := format('Its limit "%s" lets %s start in %s; the next one may on %s.', g.limit_name,
                      tidemill._counted(g.rate, 'job'), g.period, g.next_token);
    remedy := 'Wait, or raise the rate.';
  end if;
end
$$;

create or replace function tidemill._why_behind(
  j tidemill._jobs, queue tidemill._queues, out reason text, out message text, out remedy text
)
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
declare
  most constant integer := 1000;
  before integer;
  first_id bigint;
  first_task integer;
  task tidemill._tasks;
  runs bigint;
begin
  if queue.id is null then
    return;
  end if;
  if queue.locked_at is not null and not tidemill._lease_ended(queue.locked_at, queue.locked_by) then
    select o.id into runs from tidemill._jobs o
      where o.locked_by = queue.locked_by and o.queue_id = queue.id order by o.priority, o.run_at, o.id limit 1;
    reason := 'queue_busy';
    message := format('Its named queue "%s" runs one job at a time, and worker %s runs %s since %s.', queue.queue_name,
                      queue.locked_by, coalesce('job ' || runs, 'one of its jobs'), queue.locked_at);
    remedy := 'Wait for it. Jobs that may run beside each other need no named queue.';
    return;
  end if;
  -- In the words of the indexes _jobs_due_queued and _jobs_later_of_queue. Of both so many at most.
  with others as materialized (
    (select o.* from tidemill._jobs o
     where o.queue_id = queue.id and o.locked_at is null and o.attempts < o.max_attempts and o.run_at <= o.created_at
       and o.run_at <= now() and (o.priority, o.run_at, o.id) < (j.priority, j.run_at, j.id)
     order by o.priority, o.run_at, o.id limit most)
    union all
    (select l.* from (
       select o.* from tidemill._jobs o
       where o.queue_id = queue.id and o.locked_at is null and o.attempts < o.max_attempts and o.run_at > o.created_at
         and o.run_at <= now()
       order by o.run_at, o.id limit 10 * most) l
     where (l.priority, l.run_at, l.id) < (j.priority, j.run_at, j.id)
     limit most)
  )
  select least(count(*), most), (array_agg(o.id order by o.priority, o.run_at, o.id))[1],
         (array_agg(o.task_id order by o.priority, o.run_at, o.id))[1]
    into before, first_id, first_task from others o;
  if before = 0 then
    return;
  end if;
  select t.* into task from tidemill._tasks t where t.id = first_task;
  reason := 'queue_order';
  message := format('%s before it in its named queue "%s"; the first is job %s (%s)%s.',
                    case when before = 1 then 'One job comes' when before = most then most || ' jobs or more come'
                      else before || ' jobs come' end,
                    queue.queue_name, first_id, task.identifier,
                    coalesce(', whose task is paused since ' || task.paused_at, ''));
  remedy := format('Ask why that one waits: select * from tidemill.why_waiting(%s).', first_id);
end
$$;

create or replace function tidemill._pause_in_words(p tidemill._pauses) returns text
language sql stable set search_path = pg_catalog, pg_temp
as $$
  select format('%s is paused since %s by %s%s%s',
                case p.kind when 'all' then 'Everything' when 'queue' then format('The named queue "%s"', p.name)
                  else format('The task "%s"', p.name) end,
                p.paused_at, p.paused_by, coalesce(' (for ' || p.acts_as || ')', ''), coalesce(': ' || p.reason, '.'))
$$;

create or replace function tidemill._first_line(value text) returns text
language sql immutable set search_path = pg_catalog, pg_temp
as $$ select left(split_part(value, E'\n', 1), 300) $$;

create or replace function tidemill._counted(number integer, noun text) returns text
language sql immutable set search_path = pg_catalog, pg_temp
as $$ select format('%s %s%s', number, noun, case when number = 1 then '' else 's' end) $$;
