select nspname from pg_namespace
where nspowner = current_user::regrole
  and starts_with(obj_description(oid, 'pg_namespace'), 'Laid by Tidemill');
