CREATE TABLE late_readings (LIKE tidemill_demo_rows.readings);
INSERT INTO late_readings
SELECT time + n * interval '30 s', sensor, temperature
FROM readings, generate_series(0, 1) n
WHERE sensor = 3 AND time < date_trunc('day', now(), 'UTC') - interval '4 days' AND (n = 1 OR extract(minute FROM time) = 0);
