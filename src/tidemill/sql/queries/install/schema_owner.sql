select pg_catalog.pg_get_userbyid(nspowner) from pg_catalog.pg_namespace where nspname operator(pg_catalog.=) 'tidemill';
