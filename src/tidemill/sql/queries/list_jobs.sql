select id, state, identifier, queue_name, payload, priority, run_at, attempts, max_attempts, last_error,
  created_at, updated_at, key, locked_at, locked_by, revision, flags, has_worker
from tidemill.jobs
where (%(state)s::text is null or state = %(state)s)
  and (%(task)s::text is null or identifier = %(task)s)
  and (%(queue)s::text is null or queue_name = %(queue)s)
  and (%(key)s::text is null or key = %(key)s)
order by id desc
limit %(limit)s
