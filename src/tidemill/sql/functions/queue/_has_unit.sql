create or replace function tidemill._has_unit(given text) returns boolean
language sql immutable set search_path = pg_catalog, pg_temp
as $$
  -- A clock as 00:05 says what it is, and 0 is the same in every unit.
  select given !~* '^[[:space:]]*[-+]?[0-9.]+(e[-+]?[0-9]+)?[[:space:]]*$' or given ~ '^[[:space:]]*[-+]?[0.]+[[:space:]]*$'
$$;
comment on function tidemill._has_unit is
  'Whether an interval says what it counts: PostgreSQL takes a number alone for seconds, while days may be meant.';
