-- Jobs in every state that migration 0001 knows. The leases are those of a dead worker.
insert into tidemill._tasks (identifier) values ('t');
insert into tidemill._queues (queue_name) values ('free');
insert into tidemill._queues (queue_name, locked_at, locked_by, claim_token)
  values ('held', now(), 'dead', 7);
insert into tidemill._workers (id, hostname, pid, version, concurrency, identifiers, expires_at)
  values ('dead', 'h', 1, '0', 1, '{t}', now() - interval '1 hour');
insert into tidemill._jobs (task_id, payload) values (1, '"ready"');
insert into tidemill._jobs (task_id, payload, run_at) values (1, '"scheduled"', now() + interval '1 hour');
insert into tidemill._jobs (task_id, payload, key) values (1, '"keyed"', 'k');
insert into tidemill._jobs (task_id, payload, queue_id) values (1, '"queued"', 1);
insert into tidemill._jobs (task_id, payload, attempts, last_error) values (1, '"retried"', 3, 'was bad');
insert into tidemill._jobs (task_id, payload, attempts, max_attempts, last_error)
  values (1, '"failed"', 25, 25, 'is bad');
insert into tidemill._jobs (task_id, payload, attempts, locked_at, locked_by, claim_token)
  values (1, '"leased"', 1, now() - interval '1 hour', 'dead', 7);
insert into tidemill._jobs (task_id, payload, queue_id, attempts, locked_at, locked_by, claim_token)
  values (1, '"leased in a queue"', 2, 1, now() - interval '1 hour', 'dead', 7);
