-- Connections against what the server has.
with server as (
  select current_setting('max_connections')::integer - current_setting('superuser_reserved_connections')::integer
      - coalesce(current_setting('reserved_connections', true)::integer, 0) as most,
    (select count(*) from pg_stat_activity a where a.backend_type = 'client backend') as used,
    (select count(*) from pg_stat_activity a where a.backend_type = 'client backend' and a.datname = current_database()) as here,
    (select d.datconnlimit from pg_database d where d.datname = current_database()) as most_here,
    -- A worker's own, those of actions, and those of its tasks: see tidemill/budget.py.
    (select coalesce(sum(6 + 5 + 2 * greatest(10, 2 * w.concurrency)), 0) from tidemill._workers w
     where w.lost_at is null and w.expires_at > clock_timestamp()) as wanted,
    (select count(*) from tidemill._workers w where w.lost_at is null and w.expires_at > clock_timestamp()) as workers
)
select case when used >= most - 3 then 'error' else 'warning' end as severity,
  format('%s of the %s connections of this server are in use.', used, most) as finding,
  'Start workers with --max-connections, lower App(pool_size=...), use a pooler, or raise max_connections' as remedy
from server
where used >= 0.9 * most
union all
select 'error', format('%s of the %s connections of this database are in use.', here, most_here),
  format('alter database %I connection limit N; or start workers with --max-connections', current_database())
from server
where most_here > 0 and here >= 0.9 * most_here
union all
select 'note', format('Without --max-connections the %s workers may use up to %s connections, and the server has %s.', workers,
    wanted, most),
  'Start workers with --max-connections, so that their sum is below that'
from server
where wanted > most and used < 0.9 * most
