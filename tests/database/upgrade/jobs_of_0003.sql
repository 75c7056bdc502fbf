-- Further jobs, beside those of jobs_of_0001.sql.

-- Its heartbeat's connection is this one, so it lives as long as the test.
insert into tidemill._workers (id, hostname, pid, version, concurrency, identifiers, expires_at, backend_pid)
  values ('alive', 'h', 1, '0', 1, '{t}', now() + interval '1 hour', pg_backend_pid());
insert into tidemill._workers (id, hostname, pid, version, concurrency, identifiers, expires_at, lost_at)
  values ('lost', 'h', 1, '0', 1, '{t}', now() - interval '1 hour', now() - interval '1 hour');

insert into tidemill._tasks (identifier) values ('unknown');
insert into tidemill._queues (queue_name, locked_at, locked_by, claim_token) values ('busy', now(), 'alive', 8);
insert into tidemill._jobs (task_id, payload, flags) values (1, '"flagged"', '{a,b}');
insert into tidemill._jobs (task_id, payload) values (2, '"of an unknown task"');
insert into tidemill._jobs (task_id, payload, queue_id) values (1, '"in a busy queue"', 3);
insert into tidemill._jobs
    (task_id, payload, attempts, max_attempts, key, withdrawn, last_error, locked_by, locked_at, claim_token)
  select 1, to_jsonb(payload), attempts, max_attempts, key, withdrawn, last_error, locked_by,
         now() - interval '1 hour', 8
  from (values
    ('leased with a key', 2, 25, 'l', null, 'was bad', 'lost'),
    ('leased for the last time', 3, 3, null, null, null, 'dead'),
    ('replaced', 25, 25, null, 'replaced', null, 'dead'),
    ('removed', 25, 25, null, 'removed', null, 'dead'),
    ('cancelled', 25, 25, null, 'cancelled', 'Cancelled', 'dead'),
    ('in good hands', 1, 25, 'g', null, null, 'alive')
  ) v (payload, attempts, max_attempts, key, withdrawn, last_error, locked_by);
