SELECT graphile_worker.add_job(
  $1,
  payload := $2,
  queue_name := $3,
  run_at := NOW() + ($4 * INTERVAL '1 second'),
  max_attempts := $5
);
