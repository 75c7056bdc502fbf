create or replace view tidemill.task_stats as
select
  s.identifier, s.bucket, s.width, s.done, s.failed, s.retried, s.cancelled, s.run_time, s.longest_run, s.wait_time,
  s.runs as run_histogram, s.waits as wait_histogram
from (
  select m.minute as bucket, interval '1 minute' as width, m.* from tidemill._task_minutes m
  union all
  select h.hour, interval '1 hour', h.* from tidemill._task_hours h) s;
comment on view tidemill.task_stats is
$$What became of the attempts of each task, by minute; after two days by hour, and after 30 days no more.

Workers count attempts that have ended, and add their counts with each heartbeat: so the minute is that of the heartbeat,
and the last seconds are missing. Attempts that were given back are not counted.

Element n of a histogram counts times from 2^(n-15) up to 2^(n-14) seconds; the first all shorter ones, the 32nd all longer.
Arrays end at their last count. tidemill.histogram_quantile reads them, tidemill.histogram_sum adds them up.$$;
comment on column tidemill.task_stats.bucket is 'When the minute or hour begins; hours in UTC.';
comment on column tidemill.task_stats.width is '1 minute or 1 hour.';
comment on column tidemill.task_stats.done is 'Attempts that ended well.';
comment on column tidemill.task_stats.failed is 'Attempts that failed, those that will be retried included.';
comment on column tidemill.task_stats.retried is 'Failed attempts with another one to follow.';
comment on column tidemill.task_stats.cancelled is 'Attempts that were cancelled, by their task or by somebody else.';
comment on column tidemill.task_stats.run_time is 'How long these attempts ran, in sum.';
comment on column tidemill.task_stats.longest_run is 'How long the longest one ran.';
comment on column tidemill.task_stats.wait_time is 'From run_at to the start, in sum.';
comment on column tidemill.task_stats.run_histogram is 'How long the attempts ran.';
comment on column tidemill.task_stats.wait_histogram is 'How long they waited.';
