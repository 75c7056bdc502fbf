CREATE OR REPLACE PROCEDURE backfill_on_schedule (job_id int, config jsonb)
LANGUAGE PLPGSQL
AS $$
DECLARE
  source_table regclass;
  destination_table regclass;
BEGIN
  SELECT jsonb_object_field_text (
    config, 'staging_table'
  )::text INTO STRICT source_table;
  SELECT jsonb_object_field_text (
    config, 'destination_hypertable'
  )::text INTO STRICT destination_table;

  IF source_table IS NULL THEN
    RAISE EXCEPTION 'Config must provide the source table';
  END IF;

  CALL decompress_backfill(
    staging_table=>source_table,
    destination_hypertable=>destination_table
  );
END
$$;
