select to_regclass('tidemill._migrations') is not null;
