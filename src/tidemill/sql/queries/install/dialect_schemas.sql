select nspname from pg_namespace
where starts_with(obj_description(oid, 'pg_namespace'), 'Laid by Tidemill');
