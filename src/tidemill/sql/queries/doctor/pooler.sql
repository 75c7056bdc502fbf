-- Poolers make up the number of the server process that they tell their clients.
select 'note' as severity, 'A pooler stands between this machine and the database.' as finding,
  'In its transaction mode start workers with --no-listen, or let them connect past it' as remedy
where pg_backend_pid() <> %(pid)s::integer
