create or replace view tidemill.limits as
select
  coalesce(l.name, t.identifier) as name,
  t.identifier as task,
  l.concurrency,
  l.rate,
  l.period,
  l.burst,
  array_to_string(l.per, '.') as per,
  (select count(*)::integer from (
    select from tidemill._jobs j
    where j.gate_id >= l.id::bigint << 40 and j.gate_id < (l.id::bigint + 1) << 40 and j.locked_at is not null
    limit 1000) running) as in_use,
  (select count(*)::integer from (
    select from tidemill._jobs j
    where j.gate_id >= l.id::bigint << 40 and j.gate_id < (l.id::bigint + 1) << 40
      and j.locked_at is null and j.attempts < j.max_attempts
    limit 1000) waiting) as waiting,
  array(select x.identifier from tidemill._limit_tasks u join tidemill._tasks x on x.id = u.task_id
        where u.limit_id = l.id order by x.identifier) as tasks,
  l.changed_at
from tidemill._limits l
left join tidemill._tasks t on t.id = l.task_id
where l.removed_at is null;
comment on view tidemill.limits is 'Limits: those of tidemill.set_limit, and those that tasks have in their code.';
comment on column tidemill.limits.name is 'The name; of a task''s own limit the name of the task.';
comment on column tidemill.limits.task is 'The task whose own limit it is, as its code has it; NULL: made by tidemill.set_limit.';
comment on column tidemill.limits.concurrency is 'How many of its jobs run at once, over all workers; NULL: any number.';
comment on column tidemill.limits.rate is 'How many start in a period; NULL: any number.';
comment on column tidemill.limits.burst is 'How many start at once after a pause, at most.';
comment on column tidemill.limits.per is 'The field of the payload whose values have the limit each for itself; NULL: all jobs share it.';
comment on column tidemill.limits.in_use is 'Its jobs that are leased to workers, counted up to 1,000; per key, those of all keys together.';
comment on column tidemill.limits.waiting is 'Its jobs that wait, due or not, counted up to 1,000.';
comment on column tidemill.limits.tasks is 'Tasks whose jobs were added under it.';
comment on column tidemill.limits.changed_at is 'When it was made or last changed.';
