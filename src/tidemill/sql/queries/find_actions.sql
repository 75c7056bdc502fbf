select w.word, a.id, a.id::text = w.word as by_id
from unnest(%(words)s::text[]) as w (word)
join tidemill.actions a on a.id::text = w.word or a.name = w.word
order by a.id
