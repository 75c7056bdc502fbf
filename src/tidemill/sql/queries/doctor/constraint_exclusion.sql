-- Queries through the views of hypertables, which leave out chunks only with this setting.
select 'note' as severity,
  format('constraint_exclusion is %s, so queries of some time alone look at every arm of the view of %s.',
    current_setting('constraint_exclusion'),
    case when count(*) = 1 then min(h.view::text) else count(*) || ' hypertables with compression' end) as finding,
  format('alter database %I set constraint_exclusion = on', current_database()) as remedy
from tidemill._hypertables h
where h.segments is not null and h.is_transparent and current_setting('constraint_exclusion') <> 'on'
having count(*) > 0
