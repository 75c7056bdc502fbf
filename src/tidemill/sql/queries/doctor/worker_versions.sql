-- Workers of another version than this program.
select 'note' as severity,
  format('%%s of Tidemill %%s; this program is %%s.',
    case when count(*) = 1 then 'A worker is' else count(*) || ' workers are' end, w.version, %(program)s::text) as finding,
  'Right during a deploy. Afterwards upgrade them, or this machine' as remedy
from tidemill.workers w
where w.state <> 'lost' and w.version <> %(program)s::text
group by w.version
