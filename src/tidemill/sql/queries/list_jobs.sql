-- Times are cut to the years that Python knows. Payloads may be large, so they are read only on request.
select id, state, identifier, queue_name, case when %(payloads)s::boolean then payload::text end as payload,
  priority, least(greatest(run_at, '0001-01-02Z'), '9999-12-30Z') as run_at, attempts, max_attempts, last_error,
  created_at, updated_at, key, locked_at, locked_by, revision, flags, has_worker
from tidemill.jobs
where (%(id)s::bigint is null or id = %(id)s)
  and (%(state)s::text is null or state = %(state)s)
  and (%(task)s::text is null or identifier = %(task)s)
  and (%(queue)s::text is null or queue_name = %(queue)s)
  and (%(key)s::text is null or key = %(key)s)
order by id desc
limit %(limit)s
