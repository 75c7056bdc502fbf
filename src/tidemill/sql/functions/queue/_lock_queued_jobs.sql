-- Finding the jobs of named queues, as _lock_jobs.sql finds all others. There may be a queue for
-- each customer, so a claim never walks over queues of which no job is due.

create or replace function tidemill._lock_queued_jobs(
  identifiers text[],
  quick text[],
  express boolean,
  max_jobs integer,
  forbidden_flags text[],
  after_queue bigint,
  per_queue integer,
  after_run_at timestamptz default null,
  after_id bigint default 0,
  later_first boolean default false,
  most_looks integer default null
) returns setof tidemill._claimed_job
language plpgsql set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan
set enable_seqscan = off set enable_bitmapscan = off set enable_sort = off
set enable_hashjoin = off set enable_mergejoin = off set jit = off
as $$
#variable_conflict use_column
declare
  -- A job of a paused task holds its queue up. Of these the numbers have a minus, so that no job has one of them.
  task_ids constant integer[] := tidemill._task_ids_with_paused(identifiers);
  known_ids constant integer[] := array(select abs(t.id) from unnest(task_ids) t(id) where t.id is not null);
  paused_ids constant integer[] := array(select -t.id from unnest(task_ids) t(id) where t.id < 0);
  quick_ids constant integer[] := array_remove(tidemill._task_ids(quick), null);
  -- Workers that do not know of the walk by time go from queue to queue alone.
  all_queues constant boolean := after_run_at is null;
  bytes integer := 8 * 1024 * 1024;
  -- Where some are large, queues are taken in steps that are longer the smaller the jobs of the last one were.
  are_large constant boolean := max_jobs * per_queue > 1 and tidemill._has_large_payloads();
  stride integer := 1;
  room integer := max_jobs;
  walk text;
  looks integer;
  step integer;
  seen integer;
  -- The queues to look at, and of the walk by time the jobs that led there.
  found_queues bigint[];
  queue_ids bigint[];
  run_ats timestamptz[];
  ids bigint[];
  last_queue bigint;
  most integer;
  -- Those of them that are locked, with the ids of the jobs to take of each: an array, written as text.
  locked_queues bigint[];
  locked_names text[];
  locked_runs text[];
  queue_count integer;
  taken bigint[] := '{}';
  more text;
  job tidemill._claimed_job;
  jobs cursor for
    select r.id, identifiers[array_position(task_ids, r.task_id)], r.payload::text, r.priority, r.run_at,
           r.attempts + 1::smallint, r.max_attempts, r.created_at, r.key, r.revision, r.flags,
           r.keep, r.trace, q.id, q.queue_name, null::bigint
    from unnest(locked_queues, locked_names, locked_runs) as q(id, queue_name, run)
    cross join lateral unnest(q.run::bigint[]) as i(id)
    cross join lateral (
      -- Exactly these jobs: if some have ended meanwhile, those behind them may be for the other lane.
      select j.*
      from tidemill._jobs j
      -- The id has to match the primary key; the rest is as below, for what changed before the lock.
      where j.id = i.id and j.queue_id is not distinct from q.id
        and j.locked_at is null and j.attempts < j.max_attempts
        and j.run_at <= now() and j.task_id = any(task_ids)
        and (j.key is null and j.attempts = 0 and j.task_id = any(quick_ids)) = express
        and (forbidden_flags is null or j.flags is null or not j.flags && forbidden_flags)
      for update of j skip locked
    ) r;
begin
  if known_ids <@ paused_ids then
    -- As in _lock_jobs: there is nothing to look for.
    if not all_queues then
      return next row(null, null, null, null, '-infinity', null, null, null, null, null, null, null, null,
                      0, null, 0)::tidemill._claimed_job;
    end if;
    return;
  end if;
  foreach walk in array
    case when all_queues then '{queues}' when later_first then '{times,queues}' else '{queues,times}' end::text[]
  loop
    looks := coalesce(most_looks, 2147483647);
    step := case when are_large then stride else room end;
    while room > 0 and looks > 0 loop
      step := least(step, looks);
      if walk = 'queues' then
        -- From queue to queue. The conditions have to match the indexes _jobs_due_queued and _jobs_later_queued.
        with recursive heads(queue_id) as (
          select after_queue
          union all
          select least(
            (select j.queue_id from tidemill._jobs j
             where j.queue_id is not null and j.locked_at is null and j.attempts < j.max_attempts
               and j.run_at <= j.created_at and j.queue_id > h.queue_id
             order by j.queue_id limit 1),
            case when all_queues then
              (select j.queue_id from tidemill._jobs j
               where j.queue_id is not null and j.locked_at is null and j.attempts < j.max_attempts
                 and j.run_at > j.created_at and j.queue_id > h.queue_id
               order by j.queue_id limit 1)
            end)
          from heads h where h.queue_id is not null
        )
        select array_agg(h.queue_id)
          into found_queues
          from (select h.queue_id from heads h where h.queue_id is not null offset 1 limit step) h;
        seen := coalesce(cardinality(found_queues), 0);
        after_queue := case when seen = step then found_queues[seen] else 0 end;
        exit when seen = 0;
      else
        -- From job to job, in the order in which they are due. The conditions have to match the index _jobs_later.
        select array_agg(j.queue_id), array_agg(j.run_at), array_agg(j.id)
          into queue_ids, run_ats, ids
          from (
            select j.queue_id, j.run_at, j.id from tidemill._jobs j
            where j.queue_id is not null and j.locked_at is null and j.attempts < j.max_attempts
              and j.run_at > j.created_at and j.run_at <= now() and (j.run_at, j.id) > (after_run_at, after_id)
            order by j.run_at, j.id limit step
          ) j;
        seen := coalesce(cardinality(queue_ids), 0);
        after_run_at := coalesce(run_ats[step], '-infinity');
        after_id := coalesce(ids[step], 0);
        exit when seen = 0;
        select array_agg(q.id order by q.place)
          into found_queues
          from (select q.id, min(q.place) as place from unnest(queue_ids) with ordinality as q(id, place)
                group by q.id) q;
      end if;
      most := case when are_large then least(stride, room) else room end;

      select array_agg(f.id), array_agg(f.queue_name), array_agg(f.run::text), count(*)
        into locked_queues, locked_names, locked_runs, queue_count
        from (
          -- Lateral keeps the rotation: a join may take the heads in any order.
          select f.id, f.queue_name, f.run
          from unnest(found_queues) as h(queue_id)
          cross join lateral (
            select q.id, q.queue_name, n.run
            from tidemill._queues q
            cross join lateral (
              -- Jobs at the head of the queue up to the first one for the other lane, or of a paused task: order
              -- within a queue is exact.
              select (array_agg(c.id))
                       [:coalesce(min(c.place) filter (where c.is_express <> express or c.is_paused) - 1,
                                  count(*))::integer] as run
              from (
                select j.id, j.key is null and j.attempts = 0 and j.task_id = any(quick_ids) as is_express,
                       j.task_id = any(paused_ids) as is_paused,
                       row_number() over () as place
                from (
                  select j.id, j.key, j.attempts, j.task_id from (
                    (select j.id, j.key, j.attempts, j.task_id, j.priority, j.run_at
                     from tidemill._jobs j
                     -- The first two lines have to match the index _jobs_due_queued.
                     where j.queue_id = h.queue_id and j.locked_at is null and j.attempts < j.max_attempts
                       and j.run_at <= j.created_at
                       and j.run_at <= now() and j.task_id = any(known_ids)
                       and (forbidden_flags is null or j.flags is null or not j.flags && forbidden_flags)
                     order by j.priority, j.run_at, j.id
                     limit per_queue)
                    union all
                    (select l.id, l.key, l.attempts, l.task_id, l.priority, l.run_at
                     from (
                       -- Level by level, so that jobs for later at an urgent priority are skipped. From the fifth
                       -- level on there may be thousands of them: those that are due are sorted.
                       with recursive levels(priority, depth) as (
                         (select j.priority, 1 from tidemill._jobs j
                          where j.queue_id = h.queue_id and j.locked_at is null and j.attempts < j.max_attempts
                            and j.run_at > j.created_at
                          order by j.priority limit 1)
                         union all
                         select (select j.priority from tidemill._jobs j
                                 where j.queue_id = h.queue_id and j.locked_at is null and j.attempts < j.max_attempts
                                   and j.run_at > j.created_at and j.priority > l.priority
                                 order by j.priority limit 1), l.depth + 1
                         from levels l where l.priority is not null and l.depth < 5
                       )
                       select j.id, j.key, j.attempts, j.task_id, j.priority, j.run_at
                       from levels l
                       cross join lateral (
                         (select j.id, j.key, j.attempts, j.task_id, j.priority, j.run_at
                          from tidemill._jobs j
                          -- The first two lines have to match the index _jobs_later_queued.
                          where j.queue_id = h.queue_id and j.locked_at is null and j.attempts < j.max_attempts
                            and j.run_at > j.created_at and j.priority = l.priority and l.depth < 5
                            and j.run_at <= now() and j.task_id = any(known_ids)
                            and (forbidden_flags is null or j.flags is null or not j.flags && forbidden_flags)
                          order by j.run_at, j.id
                          limit per_queue)
                         union all
                         (select j.id, j.key, j.attempts, j.task_id, j.priority, j.run_at
                          from (
                            select j.id, j.key, j.attempts, j.task_id, j.priority, j.run_at
                            from tidemill._jobs j
                            -- The first two lines have to match the index _jobs_later_of_queue.
                            where j.queue_id = h.queue_id and j.locked_at is null and j.attempts < j.max_attempts
                              and j.run_at > j.created_at and j.run_at <= now()
                              and j.priority >= l.priority and l.depth = 5 and j.task_id = any(known_ids)
                              and (forbidden_flags is null or j.flags is null or not j.flags && forbidden_flags)
                            order by j.run_at, j.id
                          ) j
                          order by j.priority, j.run_at, j.id
                          limit per_queue)
                       ) j
                       limit per_queue
                     ) l)
                  ) j
                  order by j.priority, j.run_at, j.id
                  limit per_queue
                ) j
              ) c
            ) n
            where q.id = h.queue_id and q.locked_at is null and q.paused_at is null and cardinality(n.run) > 0 and q.id <> all(taken)
            for no key update of q skip locked
          ) f
          limit most
        ) f;

      if queue_count > 0 then
        open jobs;
        if not are_large then
          return query execute format('fetch all from %I', jobs);
        else
          -- One by one, as in _lock_jobs.
          while bytes > 0 loop
            fetch jobs into job;
            exit when not found;
            return next job;
            bytes := bytes - octet_length(job.payload);
          end loop;
        end if;
        close jobs;
      end if;
      if bytes <= 0 then
        more := 'more';
      end if;
      taken := taken || locked_queues;
      room := case when more is null then room - queue_count else 0 end;
      if more is not null or queue_count = most then
        -- What is behind the last of them was not looked at.
        last_queue := case when more is null then locked_queues[most] else job.queue_id end;
        if walk = 'queues' then
          after_queue := last_queue;
        else
          after_run_at := run_ats[array_position(queue_ids, last_queue)];
          after_id := ids[array_position(queue_ids, last_queue)];
        end if;
      else
        exit when seen < step;
        looks := looks - step;
      end if;
      stride := case when bytes > 4 * 1024 * 1024 then least(2 * stride, 50) else 1 end;
      -- Some may be busy.
      step := case when are_large and queue_count > 0 then stride else 50 end;
    end loop;
  end loop;
  if not all_queues then
    return next row(null, more, null, null, after_run_at, null, null, null, null, null, null, null, null,
                    after_queue, null, after_id)::tidemill._claimed_job;
  end if;
end
$$;
comment on function tidemill._lock_queued_jobs is
$$Locks free named queues, in rotation, with up to per_queue due jobs of each.

express       true: queues that begin with a new job without a key, of a quick task, with the jobs of
              that kind at their head; false: all other queues
after_queue   where to go on among queues with a job that was due when it was added
after_run_at, after_id
              and where among jobs that became due later, in the order of run_at and id;
              NULL: from after_queue on among all queues, and without the last row
later_first   go on among the latter first
most_looks    how many queues, and how many jobs of the latter, to look at in vain; NULL: any number
The last row is no job. It has the places where to go on (-infinity and 0: from the beginning), and its
identifier is `more` if the search ended for the size of the payloads.$$;
