create or replace function tidemill.step_bulk_act(
  bulk_act_id bigint, most integer default 1000, out state text, out progress real, out changed bigint[], out passed_over jsonb
)
language plpgsql set search_path = pg_catalog, pg_temp
as $$
begin
  insert into tidemill._operator_requests as q (verb, ids, options)
    values ('step_bulk_act', array[bulk_act_id], jsonb_build_object('most', most))
    returning q.state, q.progress, q.ids, q.passed_over into state, progress, changed, passed_over;
end
$$;
comment on function tidemill.step_bulk_act is
$$Changes the next jobs of a bulk act, and returns what it did. Call it again, each time in a transaction of its own, while state is
running; any operator may go on with what another has begun. Each batch is an act of whoever calls this.

bulk_act_id  what tidemill.begin_bulk_act has returned
most         how many jobs to change; 1 to 10000, default 1000

state        running, or done; aborted if somebody has called tidemill.abort_bulk_act
progress     0 to 1
changed      the ids of the jobs that it changed
passed_over  the ids of those that it did not, by reason: running, locked (in a transaction of somebody else, perhaps an
             express batch), gone (done or removed), changed (after the cut-off), failed or cancelled already

It waits for no job. Errors: 42704 an unknown id, 22023.$$;

create or replace function tidemill._step_bulk_act(
  who name, bulk_act_id bigint, most integer, out state text, out progress real, out changed bigint[], out passed_over jsonb
)
language plpgsql set search_path = pg_catalog, pg_temp
set enable_seqscan = off set enable_bitmapscan = off
as $$
#variable_conflict use_column
declare
  examined constant integer := 10000;
  b tidemill._bulk_acts;
  found_ids bigint[];
  seen integer;
  reached bigint;
  ids bigint[];
begin
  if coalesce(most, 0) not between 1 and 10000 then
    raise exception using errcode = 'invalid_parameter_value', message = format('most is %s; it is 1 to 10000', coalesce(most::text, 'null'));
  end if;
  b := tidemill._locked_bulk_act(bulk_act_id);
  changed := '{}';
  passed_over := '{}';
  if b.state in ('planned', 'running') then
    -- First where to look up to: a limit behind the joins to the names would sort all jobs.
    select max(w.id), count(*) into reached, seen
      from (
        select j.id from tidemill._jobs j where j.id > b.reached_id and j.id <= b.last_id order by j.id limit examined
      ) w;
    found_ids := array(
      select j.id from tidemill.jobs j
      where j.id > b.reached_id and j.id <= reached and tidemill._is_for_bulk_act(
        b, j.state, j.identifier, j.queue_name, j.retrying, j.last_error, j.updated_at)
      order by j.id
      limit most + 1);
    if cardinality(found_ids) > most then
      found_ids := found_ids[:most];
      reached := found_ids[most];
    elsif seen < examined then
      reached := b.last_id;
    end if;

    if found_ids <> '{}' then
      -- Nobody changes these from here on. Those that others hold are passed over.
      ids := array(
        select j.id from tidemill._jobs j where j.id = any(found_ids) order by j.id for update skip locked);
      -- What they are now: they may have changed before they were locked.
      ids := array(
        select j.id from tidemill.jobs j
        where j.id = any(ids) and tidemill._is_for_bulk_act(
          b, j.state, j.identifier, j.queue_name, j.retrying, j.last_error, j.updated_at));
      changed := tidemill._bulk_change(who, b, ids);
      passed_over := tidemill._bulk_passed_over(b, found_ids, ids, changed);
    end if;
    update tidemill._bulk_acts a set
        reached_id = reached, changed = a.changed + cardinality(_step_bulk_act.changed),
        passed_over = tidemill._bulk_sum(a.passed_over, _step_bulk_act.passed_over),
        state = case when reached >= a.last_id then 'done' else 'running' end,
        started_at = coalesce(a.started_at, now()), moved_at = clock_timestamp(),
        finished_at = case when reached >= a.last_id then clock_timestamp() end
      where a.id = b.id
      returning a.* into b;
  end if;
  select v.state, v.progress into state, progress from tidemill.bulk_acts v where v.id = b.id;
end
$$;
create or replace function tidemill._locked_bulk_act(bulk_act_id bigint) returns tidemill._bulk_acts
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  b tidemill._bulk_acts;
begin
  select a.* into b from tidemill._bulk_acts a where a.id = bulk_act_id for update;
  if not found then
    raise exception using errcode = 'undefined_object', message = format('there is no bulk act %s', coalesce(bulk_act_id::text, 'whose id is null')),
      hint = 'See them: select * from tidemill.bulk_acts. They are kept for 90 days.';
  end if;
  return b;
end
$$;
comment on function tidemill._locked_bulk_act is 'A bulk act, which is this transaction''s from now on; the steps of one come one after the other.';

create or replace function tidemill._bulk_change(who name, b tidemill._bulk_acts, ids bigint[]) returns bigint[]
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  step constant integer := 1000;
  q tidemill._operator_requests;
  changed bigint[] := '{}';
begin
  q.who := who;
  case b.act
    when 'retry' then
      q.verb := 'reschedule_jobs';
      q.run_at := now();
      q.attempts := 0;
    when 'cancel' then
      q.verb := 'cancel_jobs';
      q.reason := b.options ->> 'reason';
    when 'remove' then
      q.verb := 'complete_jobs';
    when 'reschedule' then
      q.verb := 'reschedule_jobs';
      q.run_at := (b.options ->> 'run_at')::timestamptz;
      q.priority := (b.options ->> 'priority')::integer;
      q.attempts := (b.options ->> 'attempts')::integer;
      q.max_attempts := (b.options ->> 'max_attempts')::integer;
  end case;
  -- In steps, since an array holds less than 1 GB, and jobs may be large.
  for start in 1 .. cardinality(ids) by step loop
    q.ids := ids[start:start + step - 1];
    q := tidemill._act_on_jobs(q);
    changed := changed || array(select j.id from unnest(q.jobs) j);
    q.jobs := null;
  end loop;
  return array(select c.id from unnest(changed) c(id) order by c.id);
end
$$;
comment on function tidemill._bulk_change is
  'Does what a bulk act does to these jobs, as an act of whoever carries it out, and returns the ids of those that changed.';

create or replace function tidemill._bulk_passed_over(
  b tidemill._bulk_acts, found_ids bigint[], ids bigint[], changed bigint[]
) returns jsonb
language sql set search_path = pg_catalog, pg_temp
as $$
  select coalesce(jsonb_object_agg(r.reason, r.ids), '{}')
  from (
    select w.reason, jsonb_agg(w.id order by w.id) as ids
    from (
      select f.id, case
        when j.id is null then 'gone'
        when j.state = 'running' then 'running'
        when not tidemill._is_for_bulk_act(
          b, j.state, j.identifier, j.queue_name, j.retrying, j.last_error, j.updated_at) then 'changed'
        when not f.id = any(ids) then 'locked'
        when b.act = 'cancel' and j.state in ('failed', 'cancelled') then j.state
        else 'locked' end as reason
      from unnest(found_ids) f(id)
      left join tidemill.jobs j on j.id = f.id
      where not f.id = any(changed)
    ) w
    group by w.reason
  ) r
$$;
comment on function tidemill._bulk_passed_over is
$$The ids of the found jobs that a bulk act did not change, by reason.

ids  those of them that this transaction holds$$;

create or replace function tidemill._bulk_sum(so_far jsonb, more jsonb) returns jsonb
language sql immutable set search_path = pg_catalog, pg_temp
as $$
  select so_far || coalesce(jsonb_object_agg(m.key, jsonb_build_object(
    'jobs', coalesce((so_far -> m.key ->> 'jobs')::bigint, 0) + jsonb_array_length(m.value),
    'first', (
      select jsonb_agg(f.id order by f.place)
      from jsonb_array_elements(coalesce(so_far -> m.key -> 'first', '[]') || m.value) with ordinality f(id, place)
      where f.place <= 20))), '{}')
  from jsonb_each(more) m
$$;
comment on function tidemill._bulk_sum is 'For each reason how many jobs were passed over, and the first 20, with those of one more step.';
