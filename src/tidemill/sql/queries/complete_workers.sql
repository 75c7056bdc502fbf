select w.id
from tidemill.workers w
where w.state operator(pg_catalog.<>) 'lost' and pg_catalog.starts_with(w.id, %(start)s)
order by w.id
limit 100
