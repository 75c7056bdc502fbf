-- Whether a part is laid, and whether this version is to lay it: never over what a newer one laid.
select
  hash is not null as laid,
  hash is distinct from %(hash)s and version <= %(version)s::integer[] as due
from tidemill._installed
where part = %(part)s;
