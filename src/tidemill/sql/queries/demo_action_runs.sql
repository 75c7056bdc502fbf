select id, started_at, by_hand, outcome, pg_catalog.rtrim(output, e'\n') as output
from tidemill.action_history
where action_id operator(pg_catalog.=) %(id)s
order by id
