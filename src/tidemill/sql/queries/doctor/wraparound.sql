-- Numbers of transactions that run out, where vacuum does not freeze old rows.
select case when d.used > 1600000000 then 'error' else 'warning' end as severity,
  format('The database %s is %s %s away from its end: then PostgreSQL takes no more writes.', current_database(),
    to_char(2147483647 - d.used, 'FM999,999,999,999'), d.what) as finding,
  'Look at old_snapshot; then, as a superuser or the owner of the tables: vacuum (freeze)' as remedy
from (
  select age(b.datfrozenxid) as used, 'transactions' as what from pg_database b where b.datname = current_database()
  union all
  select mxid_age(b.datminmxid), 'multixacts' from pg_database b where b.datname = current_database()
) d
where d.used > 1000000000
union all
select 'warning', format('tidemill.%I was not frozen for %s transactions.', c.relname, to_char(age(c.relfrozenxid), 'FM999,999,999,999')),
  format('vacuum (freeze) tidemill.%I', c.relname)
from pg_class c
where c.relnamespace = to_regnamespace('tidemill') and c.relkind in ('r', 't', 'm') and age(c.relfrozenxid) > 1000000000
