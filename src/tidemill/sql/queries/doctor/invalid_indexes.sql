-- Indexes that a build has left unfinished: they cost writes, and no query uses them.
select 'warning' as severity, format('The index %s of %s is invalid.', i.indexrelid::regclass, i.indrelid::regclass) as finding,
  case when c.relname ~ '_cc(new|old)\d*$' then format('drop index concurrently %s', i.indexrelid::regclass)
    else format('reindex index concurrently %s', i.indexrelid::regclass) end as remedy
from pg_index i
join pg_class c on c.oid = i.indexrelid
where not (i.indisvalid and i.indisready and i.indislive)
  and (c.relnamespace = to_regnamespace('tidemill')
    or i.indrelid in (select h.rows_table from tidemill._hypertables h union all select k.relation from tidemill._chunks k)
      -- The index of a partitioned table is invalid until each partition has its own.
      and c.relkind = 'i')
  and not exists (select from pg_stat_progress_create_index p where p.relid = i.indrelid)
order by 2
limit 20
