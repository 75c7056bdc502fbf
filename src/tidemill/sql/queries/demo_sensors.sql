CREATE TABLE readings (
  time timestamptz NOT NULL, sensor integer NOT NULL, temperature double precision, PRIMARY KEY (sensor, time)
);
INSERT INTO readings
SELECT t, sensor, round((20 + sensor + 5 * sin(extract(epoch FROM t) / 13751))::numeric, 1)
FROM generate_series(1, 10) sensor,
     generate_series(date_trunc('day', now(), 'UTC') - interval '7 days',
                     date_trunc('day', now(), 'UTC') - interval '1 minute', '1 minute') t;
SELECT tidemill.create_hypertable('readings', 'time', chunk_time_interval => interval '1 day', migrate_data => true);
