-- What fills a disk, as far as SQL can see it: write-ahead log that cannot go.
select 'error' as severity,
  format('The archiver fails since %s, at %s: write-ahead log piles up until the disk is full.',
    date_trunc('second', a.last_failed_time), a.last_failed_wal) as finding,
  'See the server''s log for what archive_command or archive_library says' as remedy
from pg_stat_archiver a
where a.last_failed_time > coalesce(a.last_archived_time, '-infinity')
  and current_setting('archive_mode') <> 'off'
union all
select case when s.wal_status = 'lost' then 'warning' else 'error' end,
  case when s.wal_status = 'lost' then format('The replication slot %s has lost its write-ahead log.', s.slot_name)
    else format('The replication slot %s keeps %s of write-ahead log.', s.slot_name, pg_size_pretty(w.kept)) end,
  case when s.active then 'Look why its consumer is behind; max_slot_wal_keep_size is a limit'
    else format('Start its consumer, or drop it: select pg_drop_replication_slot(%L)', s.slot_name) end
from pg_replication_slots s
cross join lateral (
  select case when not pg_is_in_recovery() then pg_wal_lsn_diff(pg_current_wal_lsn(), s.restart_lsn) end) w(kept)
where w.kept > 10::bigint * 1024 * 1024 * 1024 or s.wal_status in ('unreserved', 'lost')
