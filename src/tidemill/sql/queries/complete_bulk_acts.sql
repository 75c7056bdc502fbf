select b.id::pg_catalog.text
from tidemill.bulk_acts b
where b.state operator(pg_catalog.=) any ('{planned,running}') and pg_catalog.starts_with(b.id::pg_catalog.text, %(start)s)
order by b.id desc
limit 100
