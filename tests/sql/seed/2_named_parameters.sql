SELECT graphile_worker.add_job('reminder', run_at := NOW() + INTERVAL '2 days');
