-- The schema, its functions and dialects against those that this program knows.
with ours as (
  select max(m) as newest from unnest(%(migrations)s::integer[]) m
),
theirs as (
  select max(number) as newest, max(number) filter (where breaking) as breaking
  from tidemill._migrations, ours
  where number > ours.newest
),
parts as (
  select e.key as part, i.part is not null as known, i.hash is not null as laid,
    i.hash is distinct from e.value #>> '{}' as differs,
    i.version > %(version)s::integer[] or exists (select from theirs where newest is not null) as newer
  from jsonb_each(%(hashes)s::jsonb) e
  left join tidemill._installed i on i.part = e.key
)
select 'error' as severity,
  format('The schema lacks migration %%s, which Tidemill %%s needs: workers of this version do not start with --no-migrate.',
    string_agg(m::text, ', ' order by m), %(program)s::text) as finding,
  'tidemill migrate' as remedy
from unnest(%(migrations)s::integer[]) m
where not exists (select from tidemill._migrations i where i.number = m)
having count(*) > 0
union all
select case when breaking is not null then 'error' else 'warning' end,
  format('The schema is at migration %%s, which Tidemill %%s does not know%%s.', newest, %(program)s::text,
    case when breaking is not null then ': it is breaking, so workers of this version refuse to run' else '' end),
  'Upgrade the Tidemill on this machine, and the workers: pip install --upgrade tidemill'
from theirs
where newest is not null
union all
select case when newer then 'note' else 'error' end,
  case
    when not laid then 'The functions and views of the schema were never laid.'
    when newer then format('The functions were laid by a newer version than %%s, the one of this program.', %(program)s::text)
    else format('The functions are those of another version than %%s, the one of this program.', %(program)s::text) end,
  case when newer then 'Upgrade the Tidemill on this machine: pip install --upgrade tidemill' else 'tidemill migrate' end
from parts
where part = 'functions' and differs
union all
select 'warning', format('The %%s was laid by another version.', part), 'tidemill migrate'
from parts
where part <> 'functions' and laid and differs and not newer
