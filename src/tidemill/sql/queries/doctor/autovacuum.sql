-- Autovacuum that was switched off.
select 'error' as severity, format('%s is off on this server: nothing removes dead rows, and claims get slower and slower.', g.name)
    as finding,
  format('alter system set %s = on; select pg_reload_conf()', g.name) as remedy
from pg_settings g
where g.name in ('autovacuum', 'track_counts') and g.setting = 'off'
union all
select 'error', format('Autovacuum is off for tidemill.%I.', c.relname),
  format('alter table tidemill.%I reset (autovacuum_enabled, toast.autovacuum_enabled)', c.relname)
from pg_class c
left join pg_class t on t.oid = c.reltoastrelid
where c.relnamespace = to_regnamespace('tidemill') and c.relkind = 'r'
  and exists (
    select from unnest(coalesce(c.reloptions, '{}') || coalesce(t.reloptions, '{}')) o(setting)
    where o.setting ~* '^autovacuum_enabled=(false|off|no|0|f|n)$')
union all
select 'warning', 'tidemill._jobs has lost its settings of autovacuum: by its defaults it comes too late for a queue.',
  'alter table tidemill._jobs set (autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 5000, '
    'autovacuum_vacuum_cost_delay = 0)'
from pg_class c
where c.oid = to_regclass('tidemill._jobs')
  and not exists (select from unnest(c.reloptions) o(setting) where o.setting like 'autovacuum\_vacuum\_scale\_factor=%')
