-- Functions and views of ours that somebody has dropped.
select 'error' as severity,
  'Functions or views of the schema tidemill are gone: ' || string_agg(n.name, ', ' order by n.name) as finding,
  'Lay them again: update tidemill._installed set hash = '''' where part = ''functions''; then: tidemill migrate' as remedy
from unnest(%(objects)s::text[]) n(name)
where not exists (select from pg_proc p where p.pronamespace = to_regnamespace('tidemill') and p.proname = n.name)
  and not exists (select from pg_class c where c.relnamespace = to_regnamespace('tidemill') and c.relname = n.name)
  -- Another version's may have other names.
  and exists (select from tidemill._installed i where i.part = 'functions' and i.hash = %(hashes)s::jsonb ->> 'functions')
having count(*) > 0
