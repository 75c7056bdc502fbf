-- Whether a part is laid, and whether this version must lay it; never over a newer version's.
-- A version is newer by its number or, between releases, by a migration that this one does not know.
select
  hash is not null as laid,
  hash is distinct from %(hash)s
    and version <= %(version)s::integer[]
    and not exists (select from tidemill._migrations where number > %(known)s) as due
from tidemill._installed
where part = %(part)s;
