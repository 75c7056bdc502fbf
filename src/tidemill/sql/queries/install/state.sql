-- Whether there is anything to install, in one round trip.
select
  pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true),
  -- After a lock timeout the caller takes the long way, which is more patient.
  pg_catalog.set_config('lock_timeout', '300ms', true);
select
  array(select number from tidemill._migrations order by number),
  (select coalesce(json_object_agg(part, hash), '{}') from tidemill._installed);
