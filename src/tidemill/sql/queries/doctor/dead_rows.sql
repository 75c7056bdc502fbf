-- Hot tables that vacuum does not keep up with.
select 'warning' as severity,
  format('tidemill.%I has %s dead rows beside %s live ones; %s.', s.relname, to_char(s.n_dead_tup, 'FM999,999,999,999'),
    to_char(s.n_live_tup, 'FM999,999,999,999'),
    coalesce('autovacuum was there at ' || date_trunc('second', s.last_autovacuum), 'autovacuum was never there')) as finding,
  format('Look at old_snapshot and autovacuum first; then: vacuum tidemill.%I', s.relname) as remedy
from pg_stat_user_tables s
where s.schemaname = 'tidemill' and s.n_dead_tup > 200000 and s.n_dead_tup > 2 * s.n_live_tup
order by s.n_dead_tup desc
