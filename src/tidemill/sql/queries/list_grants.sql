select role, grantee::pg_catalog.text as name from tidemill.grants order by role, name
