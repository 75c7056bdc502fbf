SELECT * FROM timescaledb_information.jobs;
