-- Whether this role has the rights of the owner of the schema: without them it could run actions as others, or read them.
select pg_catalog.pg_has_role(n.nspowner, 'USAGE') from pg_catalog.pg_namespace n
where n.nspname operator(pg_catalog.=) 'tidemill'
