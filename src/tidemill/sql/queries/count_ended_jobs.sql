-- How many jobs failed for good or were cancelled longer ago; counted only so far.
select pg_catalog.count(*)
from (
  select from tidemill.jobs
  where (state operator(pg_catalog.=) 'failed' or state operator(pg_catalog.=) 'cancelled')
    and updated_at operator(pg_catalog.<) (pg_catalog.now() operator(pg_catalog.-) %(age)s::interval)
  limit %(most)s
) j
