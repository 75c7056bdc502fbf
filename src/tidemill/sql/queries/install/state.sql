-- Whether there is anything to install, in one round trip.
select
  pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true),
  -- After a lock timeout the caller takes the long way. Without one it could wait forever.
  case when pg_catalog.current_setting('lock_timeout') operator(pg_catalog.=) '0'
    then pg_catalog.set_config('lock_timeout', '30s', true) end;
select
  array(select number from tidemill._migrations order by number),
  (select coalesce(json_object_agg(part, hash), '{}') from tidemill._installed);
