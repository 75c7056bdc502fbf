-- Who may hold a lock on the schema: sessions with locks on its tables and views that wait for none themselves.
select format('server process %s (role "%s", application "%s"%s)', a.pid, a.usename, a.application_name,
              ', in a transaction since ' || a.xact_start)
from pg_stat_activity a
where a.datname = current_database() and a.pid <> pg_backend_pid()
  and exists (
    select from pg_locks l
    join pg_class c on c.oid = l.relation
    join pg_namespace n on n.oid = c.relnamespace
    join pg_database d on d.oid = l.database
    where l.pid = a.pid and l.granted and d.datname = current_database()
      and n.nspname in ('tidemill', 'graphile_worker', 'timescaledb_information', '_timescaledb_config'))
  and not exists (select from pg_locks l where l.pid = a.pid and not l.granted)
order by a.xact_start, a.pid
limit 5;
