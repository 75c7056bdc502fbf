-- What keeps vacuum from removing dead rows: then claims walk them, and get slower and slower.
select case when now() - a.xact_start > interval '1 hour' then 'error' else 'warning' end as severity,
  format('The session %s (role %s%s) has a transaction open%s%s, so vacuum removes no row that was deleted since then.',
    a.pid, coalesce(a.usename, '?'), ', ' || nullif(a.application_name, ''),
    ' since ' || date_trunc('second', a.xact_start), ', and is ' || a.state) as finding,
  format('End it, if it may end: select pg_terminate_backend(%s). Against idle ones set '
    'idle_in_transaction_session_timeout for its role', a.pid) as remedy
from pg_stat_activity a
where a.datname = current_database() and a.pid <> pg_backend_pid()
  and (a.backend_xmin is not null or a.backend_xid is not null)
  and a.backend_type not in ('autovacuum worker', 'walsender')
  and coalesce(a.query, '') !~* '^\s*vacuum'
  -- Without the right to see since when, by what has happened meanwhile.
  and coalesce(now() - a.xact_start > interval '10 minutes', age(coalesce(a.backend_xmin, a.backend_xid)) > 1000000)
union all
select 'error', format('The prepared transaction %L of the role %s waits since %s for its COMMIT PREPARED, so vacuum removes '
    'no row that was deleted since then.', p.gid, p.owner, date_trunc('second', p.prepared)),
  format('Commit it, or: rollback prepared %L', p.gid)
from pg_prepared_xacts p
where p.database = current_database() and p.prepared < now() - interval '10 minutes'
union all
select 'warning', format('The replication slot %s (%s) holds vacuum back: %s transactions have begun since its snapshot.',
    s.slot_name, case when s.active then 'in use' else 'not in use' end, age(s.xmin)),
  case when s.active then 'Look why its consumer is behind'
    else format('Start its consumer, or drop it: select pg_drop_replication_slot(%L)', s.slot_name) end
from pg_replication_slots s
where s.xmin is not null and age(s.xmin) > 1000000
union all
select 'warning', format('The standby %s holds vacuum back, by hot_standby_feedback: %s transactions have begun since its '
    'oldest snapshot.', coalesce(nullif(r.application_name, ''), r.pid::text), age(r.backend_xmin)),
  'End the long query on that standby, or set hot_standby_feedback = off there'
from pg_stat_replication r
where r.backend_xmin is not null and age(r.backend_xmin) > 1000000
