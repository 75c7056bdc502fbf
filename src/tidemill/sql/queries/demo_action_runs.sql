select id, started_at, by_hand, outcome, rtrim(output, e'\n') as output
from tidemill.action_history
where action_id = %(id)s
order by id
