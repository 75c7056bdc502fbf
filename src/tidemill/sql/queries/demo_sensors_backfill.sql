CREATE PROCEDURE backfill_readings(job_id INT, config JSONB) LANGUAGE PLPGSQL AS $$
BEGIN
  CALL tidemill.decompress_backfill('tidemill_demo.late_readings', 'tidemill_demo.readings');
END
$$;
