-- The newest migration above a number, and the newest breaking one.
select pg_catalog.max(number), pg_catalog.max(number) filter (where breaking)
from tidemill._migrations
where number operator(pg_catalog.>) %(known)s;
