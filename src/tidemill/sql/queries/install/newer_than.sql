-- The newest migration above a number, and the newest breaking one.
select max(number), max(number) filter (where breaking)
from tidemill._migrations
where number > %(known)s;
