create or replace function tidemill.show_tablespaces(hypertable regclass) returns setof name
language sql stable set search_path = pg_catalog, pg_temp
as $$ select unnest((tidemill._hypertable(hypertable)).tablespaces) $$;
comment on function tidemill.show_tablespaces is
$$The tablespaces that new chunks of a hypertable go to, in their turn.

hypertable  the hypertable

Error: TS001 no hypertable.$$;
