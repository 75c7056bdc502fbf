select id, at, who, acts_as, application_name, what, subjects, subject_count, reason, before, after
from tidemill.acts
where (%(what)s::pg_catalog.text is null or what operator(pg_catalog.=) %(what)s)
  and (%(who)s::pg_catalog.text is null or who operator(pg_catalog.=) %(who)s)
  and (%(subject)s::pg_catalog.text is null or %(subject)s operator(pg_catalog.=) any(subjects))
  and (%(since)s::pg_catalog.timestamptz is null or at operator(pg_catalog.>=) %(since)s)
  and (%(within)s::interval is null or at operator(pg_catalog.>=) (pg_catalog.now() operator(pg_catalog.-) %(within)s::interval))
order by id desc
limit %(limit)s
