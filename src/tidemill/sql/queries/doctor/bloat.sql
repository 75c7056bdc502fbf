-- Tables and indexes that are far larger than what is in them.
select 'warning' as severity,
  format('The index tidemill.%I has %s for %s live rows.', i.relname, pg_size_pretty(z.bytes),
    to_char(s.n_live_tup, 'FM999,999,999,999')) as finding,
  format('reindex index concurrently tidemill.%I', i.relname) as remedy
from pg_stat_user_tables s
join pg_index x on x.indrelid = s.relid
join pg_class i on i.oid = x.indexrelid
cross join lateral (select pg_relation_size(x.indexrelid)) z(bytes)
where s.schemaname = 'tidemill' and z.bytes > 128 * 1024 * 1024 and z.bytes > 1000 * greatest(s.n_live_tup, 1000)
union all
select 'warning',
  format('The table tidemill.%I has %s for %s live rows.', s.relname, pg_size_pretty(z.bytes),
    to_char(s.n_live_tup, 'FM999,999,999,999')),
  format('At a quiet time, since it locks the table for as long as it takes: vacuum full tidemill.%I; or use pg_repack', s.relname)
from pg_stat_user_tables s
cross join lateral (select pg_relation_size(s.relid)) z(bytes)
where s.schemaname = 'tidemill' and z.bytes > 256 * 1024 * 1024 and z.bytes > 20000 * greatest(s.n_live_tup, 1000)
