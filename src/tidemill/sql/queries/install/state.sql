-- Whether there is anything to install, in one round trip.
select
  set_config('search_path', 'pg_catalog, pg_temp', true),
  -- After a lock timeout the caller takes the long way. Without one it could wait forever.
  case current_setting('lock_timeout') when '0' then set_config('lock_timeout', '30s', true) end;
select
  array(select number from tidemill._migrations order by number),
  (select coalesce(json_object_agg(part, hash), '{}') from tidemill._installed);
