-- Bulk acts that nobody goes on with.
select 'note' as severity,
  format('The bulk act %s (%s of jobs with %s) stands still at %s %% since %s.', b.id, b.act, b.filter,
    round((100 * b.progress)::numeric), date_trunc('second', b.moved_at)) as finding,
  format('Go on: tidemill bulk run %s; or end it: tidemill bulk abort %s', b.id, b.id) as remedy
from tidemill.bulk_acts b
where b.state = 'running' and b.moved_at < clock_timestamp() - interval '10 minutes'
order by b.id
limit 20
