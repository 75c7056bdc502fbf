select pg_get_userbyid(nspowner) from pg_namespace where nspname = 'tidemill';
