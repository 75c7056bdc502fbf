-- Readings of sensors: a chunk for each day, and all that looks after them.

CREATE TABLE readings (
  time timestamptz NOT NULL,
  sensor integer NOT NULL,
  temperature double precision,
  PRIMARY KEY (sensor, time)
);
SELECT FROM tidemill.create_hypertable('readings', 'time', chunk_time_interval => interval '1 day');
SELECT tidemill.enable_compression('readings', segmentby => 'sensor');
SELECT tidemill.add_compression_policy('readings', compress_after => interval '1 day');
SELECT tidemill.add_retention_policy('readings', drop_after => interval '1 year');

-- What comes late waits here, since its days may be compressed. All staged rows go at once.
CREATE TABLE late_readings (time timestamptz NOT NULL, sensor integer NOT NULL, temperature double precision);

CREATE PROCEDURE backfill_readings(action_id integer, config jsonb) LANGUAGE plpgsql AS $$
BEGIN
  CALL tidemill.decompress_backfill('late_readings', 'readings');
END
$$;
SELECT tidemill.add_action('backfill_readings', '10 minutes', name => 'Late readings');

-- An hour of a sensor is one row, for charts. Hours of late readings are written anew.
CREATE TABLE hourly_readings (
  hour timestamptz NOT NULL,
  sensor integer NOT NULL,
  average double precision,
  least double precision,
  greatest double precision,
  readings bigint NOT NULL,
  PRIMARY KEY (sensor, hour)
);

CREATE PROCEDURE write_hours(action_id integer, config jsonb) LANGUAGE plpgsql AS $$
DECLARE
  written bigint;
BEGIN
  INSERT INTO hourly_readings AS h
  SELECT tidemill.time_bucket('1 hour', r.time), r.sensor,
         avg(r.temperature), min(r.temperature), max(r.temperature), count(*)
  FROM readings r
  WHERE r.time >= now() - (config ->> 'window')::interval
  GROUP BY 1, 2
  ON CONFLICT (sensor, hour) DO UPDATE
  SET average = excluded.average, least = excluded.least, greatest = excluded.greatest, readings = excluded.readings
  WHERE h.readings <> excluded.readings;
  GET DIAGNOSTICS written = ROW_COUNT;
  RAISE NOTICE '% hours written', written;
END
$$;
SELECT tidemill.add_action('write_hours', schedule => '5 * * * *', config => '{"window": "30 days"}', name => 'Hours');
