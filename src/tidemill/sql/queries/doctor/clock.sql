-- Clocks that differ, or that were put back.
select 'warning' as severity,
  format('The clock of this machine and that of the database differ by %%s.', justify_interval(date_trunc('second',
    clock_timestamp() - %(now)s::timestamptz))) as finding,
  'Tidemill goes by that of the database alone, but log lines and times from Python do not: set both by NTP' as remedy
where abs(extract(epoch from clock_timestamp() - %(now)s::timestamptz)) > 5
union all
select 'warning',
  format('The clock of the database was put back by about %%s: a heartbeat or an action''s last start lies ahead of it.',
    justify_interval(date_trunc('second', a.ahead))),
  'Workers and actions go on by themselves. See that NTP steers the clock of the server, and that it does not step'
from (
  select max(t.at) - clock_timestamp() as ahead
  from (select w.heartbeat_at from tidemill._workers w
        union all select s.decided_at from tidemill._action_states s) t(at)
) a
where a.ahead > interval '5 seconds'
