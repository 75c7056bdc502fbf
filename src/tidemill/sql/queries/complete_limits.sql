select l.name
from tidemill.limits l
where pg_catalog.starts_with(l.name, %(start)s)
order by l.name
limit 100
