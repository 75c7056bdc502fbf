begin isolation level read committed;
set local search_path = pg_catalog, pg_temp;
-- While we wait for the lock of a table or a view, all who use it wait behind us: so give up soon, and try again.
set local lock_timeout = '300ms';
-- Behind a pooler the session has the settings of its role and database.
set local array_nulls = on;
set local check_function_bodies = off;
set local client_min_messages = warning;
set local quote_all_identifiers = off;
set local row_security = on;
set local standard_conforming_strings = on;
set local transform_null_equals = off;
-- One installer at a time in a database, by a lock that a role without rights on the table cannot take. Before
-- there is the table, nobody can make it beside us: the second one fails, and finds it when it starts again.
do $$
begin
  -- to_regclass raises an error for who may not use the schema; the check of owners tells such a role more.
  if exists (
    select from pg_class c join pg_namespace n on n.oid = c.relnamespace
    where n.nspname = 'tidemill' and c.relname = '_migrations') then
    lock table tidemill._migrations in share update exclusive mode;
  end if;
end
$$;
