insert into tidemill._installed (part, version, hash)
values (%(part)s, %(version)s::integer[], %(hash)s)
on conflict (part) do update
set version = excluded.version, hash = excluded.hash, installed_at = clock_timestamp();
