select
  current_user::pg_catalog.text,
  pg_catalog.has_table_privilege('tidemill.jobs', 'select');
