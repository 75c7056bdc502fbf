-- The claim of limited jobs. It comes to the gates that visits name, never to those that merely have jobs: behind a full
-- limit a million may wait. Hot: tests pin its plans, and the planner may not use statistics.

create or replace function tidemill._claim_limited_jobs(
  worker_id text,
  identifiers text[],
  max_jobs integer,
  forbidden_flags text[],
  start_now integer default 2147483647,
  group_size integer default 1,
  most_visits integer default 200
) returns setof tidemill._claimed_job
language plpgsql security definer set search_path = pg_catalog, pg_temp set plan_cache_mode = force_generic_plan
set lock_timeout = '100ms' set enable_seqscan = off set enable_bitmapscan = off set enable_sort = off
set enable_hashjoin = off set enable_mergejoin = off set jit = off
as $$
#variable_conflict use_column
declare
  task_ids constant integer[] := tidemill._task_ids(identifiers);
  unlimited constant integer := 2147483647;
  -- What is visited: each task and gate once; tasks take turns, and of each what has been due for longest comes first.
  due_tasks integer[];
  due_gates bigint[];
  due_ats timestamptz[];
  -- The gates that this claim holds, and for each: how many may start by its concurrency, and by its tokens; what is in
  -- its bucket, and when the next whole token will be after these; how many are taken.
  mine bigint[];
  missing bigint[];
  rooms integer[];
  tokens_left integer[];
  buckets double precision[];
  next_tokens timestamptz[];
  takens integer[];
  looked_at timestamptz;
  -- The jobs that are taken, and the place of each one's gate.
  ids bigint[];
  gates integer[];
  gate integer;
  is_cut boolean;
  bytes bigint := 0;
  claim_tokens bigint[];
begin
  if current_setting('transaction_isolation') <> 'read committed' then
    -- Each statement would see what the first one saw, and count too few leases.
    raise exception using errcode = 'invalid_transaction_state',
      message = format('limited jobs cannot be claimed in a transaction that is %s',
                       current_setting('transaction_isolation')),
      hint = 'Begin it with isolation level read committed.';
  end if;
  with chosen as materialized (
    select v.place
    -- In any order, or a task with many visits would keep those behind it waiting.
    from (select u.id from unnest(task_ids) as u(id) order by random()) t
    cross join lateral (
      select v.ctid as place from tidemill._visits v
      where v.task_id = t.id and v.at <= now()
      order by v.at
      limit most_visits
      for update skip locked
    ) v
    limit most_visits
  ),
  visited as (
    delete from tidemill._visits v using chosen c where v.ctid = c.place returning v.task_id, v.gate_id, v.at
  )
  select array_agg(v.task_id order by v.turn, v.luck), array_agg(v.gate_id order by v.turn, v.luck),
         array_agg(v.at order by v.turn, v.luck)
    into due_tasks, due_gates, due_ats
    from (
      select v.task_id, v.gate_id, min(v.at) as at, random() as luck,
             row_number() over (partition by v.task_id order by min(v.at)) as turn
      from visited v group by v.task_id, v.gate_id
    ) v;

  if due_gates is not null then
    -- No other claim may take jobs of these until this one has committed. None waits for another.
    select coalesce(array_agg(g.id order by d.place), '{}')
      into mine
      from (select d.id, min(d.place) as place from unnest(due_gates) with ordinality as d(id, place)
            group by d.id order by 2) d
      cross join lateral (
        select g.id from tidemill._gates g where g.id = d.id for no key update skip locked
      ) g;
    select array_agg(d.id order by d.id)
      into missing
      from (select distinct u.id from unnest(due_gates) as u(id)) d
      where d.id <> all(mine) and not exists (select from tidemill._gates g where g.id = d.id);
    if missing is not null then
      begin
        with made as (
          insert into tidemill._gates (id) select u.id from unnest(missing) as u(id) on conflict do nothing returning id
        )
        select case when count(*) = 0 then mine else array(
            select g.id from unnest(mine || array_agg(m.id)) as g(id) order by array_position(due_gates, g.id)) end
          into mine
          from made m;
      exception when lock_not_available then
        -- Another claim is making one of them, and takes long: they are visited again.
        null;
      end;
    end if;
    looked_at := clock_timestamp();

    -- A new statement, which sees the leases of whoever held these gates before: in one with the locks it would not.
    -- In the order of mine, beside which these stand: the join may come to the gates in any other.
    select array_agg(c.room order by m.place), array_agg(t.whole order by m.place), array_agg(b.bucket order by m.place),
           array_agg(looked_at + (1 - (b.bucket - t.whole)) / l.per_second * interval '1 second'
             + interval '1 millisecond' order by m.place)
      into rooms, tokens_left, buckets, next_tokens
      from unnest(mine) with ordinality as m(id, place)
      cross join lateral (
        select g.tokens, g.filled_at from tidemill._gates g where g.id = m.id
      ) g
      -- A limit that is gone holds nobody up.
      left join lateral (
        select l.concurrency, l.per_second, l.burst from tidemill._limits l where l.id = (m.id >> 40)::integer
      ) l on true
      cross join lateral (
        -- Leases are counted, up to the limit: a number that is kept could be wrong.
        select case when l.concurrency is null then unlimited else greatest(0, l.concurrency - (
          select count(*)::integer from (
            select from tidemill._jobs j where j.gate_id = m.id and j.locked_at is not null limit l.concurrency
          ) held)) end as room
      ) c
      cross join lateral (
        -- After a clock was put back the time since then is none.
        select case when l.per_second is not null then least(l.burst, coalesce(g.tokens, l.burst)
          + coalesce(greatest(0, extract(epoch from looked_at - g.filled_at)), 0)::float8 * l.per_second) end as bucket
      ) b
      cross join lateral (
        select case when l.per_second is null then unlimited else greatest(0, floor(b.bucket + 1e-9))::integer end as whole
      ) t;

    select array_agg(r.id), array_agg(r.place::integer)
      into ids, gates
      from (
        select r.id, m.place
        from unnest(mine, rooms, tokens_left) with ordinality as m(id, room, whole, place)
        cross join lateral (
          -- What is free is free for all tasks of the limit together.
          select q.id
          from tidemill._limit_tasks t
          cross join lateral (
            select j.id, j.priority, j.run_at
            from (
              -- Level by level, so that jobs for later at an urgent priority are skipped.
              with recursive levels(priority) as (
                (select j.priority from tidemill._jobs j
                 where j.gate_id = m.id and j.task_id = t.task_id and j.locked_at is null and j.attempts < j.max_attempts
                 order by j.priority limit 1)
                union all
                select (select j.priority from tidemill._jobs j
                        where j.gate_id = m.id and j.task_id = t.task_id and j.locked_at is null
                          and j.attempts < j.max_attempts and j.priority > l.priority
                        order by j.priority limit 1)
                from levels l where l.priority is not null
              )
              select l.priority from levels l where l.priority is not null
            ) l
            cross join lateral (
              select j.id, j.priority, j.run_at
              from tidemill._jobs j
              -- The first line has to match the index _jobs_gated, the next one its columns.
              where j.gate_id = m.id and j.locked_at is null and j.attempts < j.max_attempts
                and j.task_id = t.task_id and j.priority = l.priority and j.run_at <= now()
                and (forbidden_flags is null or j.flags is null or not j.flags && forbidden_flags)
              order by j.run_at, j.id
              limit least(max_jobs, m.room, m.whole)
              for update of j skip locked
            ) j
            limit least(max_jobs, m.room, m.whole)
          ) q
          where t.limit_id = (m.id >> 40)::integer and t.task_id = any(task_ids)
          order by q.priority, q.run_at, q.id
          limit least(max_jobs, m.room, m.whole)
        ) r
        where least(m.room, m.whole) > 0
        limit max_jobs
      ) r;
    is_cut := coalesce(cardinality(ids), 0) >= max_jobs;

    takens := array_fill(0, array[coalesce(cardinality(mine), 0)]);
    if ids is not null then
      if max_jobs > 1 and tidemill._has_large_payloads() then
        for nr in 1 .. cardinality(ids) loop
          bytes := bytes + (select octet_length(j.payload::text) from tidemill._jobs j where j.id = ids[nr]);
          if bytes >= 8 * 1024 * 1024 then
            is_cut := true;
            ids := ids[:nr];
            gates := gates[:nr];
            exit;
          end if;
        end loop;
      end if;
      foreach gate in array gates loop
        takens[gate] := takens[gate] + 1;
      end loop;

      start_now := least(start_now, cardinality(ids));
      claim_tokens := tidemill._draw_tokens(worker_id, (cardinality(ids) - start_now + group_size - 1) / group_size);
      claim_tokens := array_fill(claim_tokens[1], array[start_now]) || array(
        select claim_tokens[2 + (f.place - start_now - 1) / group_size]
        from generate_series(start_now + 1, cardinality(ids)) f(place));
      return query
        with leased as (
          update tidemill._jobs j set
              attempts = j.attempts + 1, locked_at = now(), locked_by = worker_id, claim_token = claim_tokens[f.place]
            from unnest(ids) with ordinality as f(id, place) where j.id = f.id
            returning j.*, f.place
        )
        select l.id, identifiers[array_position(task_ids, l.task_id)], l.payload::text, l.priority, l.run_at, l.attempts,
               l.max_attempts, l.created_at, l.key, l.revision, l.flags, l.keep, l.trace, null::bigint, null::text,
               l.claim_token
        from leased l order by l.place;
    end if;

    -- A token is spent when its job is claimed. From a time that lies ahead no bucket would fill.
    update tidemill._gates g set tokens = m.bucket - m.taken, filled_at = looked_at
      from unnest(mine, buckets, takens) as m(id, bucket, taken)
      where g.id = m.id and m.bucket is not null and (m.taken > 0 or g.filled_at > looked_at);

    -- Who has to be visited again; not a gate that is full: the end of one of its jobs inserts a visit.
    insert into tidemill._visits (task_id, at, gate_id)
      select d.task_id, d.again, d.gate_id
      from (
        select d.task_id, d.gate_id, case
            -- Another claim is at it.
            when d.place is null then now() + interval '20 milliseconds'
            when takens[d.place] >= rooms[d.place] then null
            when takens[d.place] >= tokens_left[d.place] then next_tokens[d.place]
            -- There were too many gates, or this one has too many jobs: those that got nothing come first.
            when is_cut then case takens[d.place] when 0 then d.at else looked_at end
            when forbidden_flags is not null then (
              -- It may be for another worker to take.
              select looked_at + interval '1 second'
              from (
                select j.flags from tidemill._jobs j
                where j.gate_id = d.gate_id and j.locked_at is null and j.attempts < j.max_attempts
                  and j.task_id = d.task_id
                order by j.priority, j.run_at, j.id
                limit 100
              ) j
              where j.flags && forbidden_flags
              limit 1)
            end as again
        from (select d.*, array_position(mine, d.gate_id) as place
              from unnest(due_tasks, due_ats, due_gates) as d(task_id, at, gate_id)) d
      ) d
      where d.again is not null;
  end if;

  return query
    select null::bigint, null::text, null::text, null::smallint, min(v.at), null::smallint, null::smallint, now(),
           null::text, null::integer, null::text[], null::smallint, null::text, null::bigint, null::text, null::bigint
    from unnest(task_ids) as t(id)
    cross join lateral (
      select v.at from tidemill._visits v where v.task_id = t.id order by v.at limit 1
    ) v;
end
$$;
comment on function tidemill._claim_limited_jobs is
$$Leases limited jobs of these tasks to a worker, as many as their limits leave free, and counts an attempt of each.

start_now, group_size  as in _claim_jobs
most_visits            how many visits to serve
Jobs of one gate are taken in order; tasks and gates take turns. It must be called in a transaction of its own, so that
no gate stays locked for longer than this. The last row is no job: its run_at is when the next visit is due (NULL: none is known),
its created_at is the time now.$$;
