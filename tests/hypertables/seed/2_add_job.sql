SELECT add_job(
  'backfill_on_schedule',
  '10 days',
  '{"staging_table":"backfill_event_data", "destination_hypertable":"event_data"}',
  NOW()
);
