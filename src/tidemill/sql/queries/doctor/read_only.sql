-- A database that takes no writes.
select 'error' as severity, 'This server is a standby: no job can be added or run here.' as finding,
  'Connect to the primary; name all servers and add target_session_attrs=read-write to the connection string' as remedy
where pg_is_in_recovery()
union all
select 'error', 'The database is set to read only (default_transaction_read_only), as hosts do when a disk is full.',
  'Make room on the disk or ask the host; then: '
    || format('alter database %I reset default_transaction_read_only', current_database())
where not pg_is_in_recovery() and current_setting('default_transaction_read_only') = 'on'
