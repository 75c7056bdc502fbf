select pg_catalog.to_regclass('tidemill._migrations') is not null;
