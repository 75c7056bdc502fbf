-- Which actions are due, in which order they have their turn, and taking them.

-- In SQL and without a SET clause, so that PostgreSQL inlines it.
create or replace function tidemill._due_actions(tasks boolean, at timestamptz)
returns table (action_id integer, turn bigint, waits_since timestamptz)
language sql stable
as $$
  select d.action_id, d.turn,
    -- A worker may take one routine at a time: then its owner comes after those who were waiting already.
    greatest(d.next_start, case when d.turn = 1 and not tasks then (
      select least(r.started_at, at) from tidemill._action_runs r
      where r.owner = d.owner and r.task is null and not r.by_hand and r.outcome is distinct from 'skipped'
      order by r.started_at desc limit 1) end) as waits_since
  from (
    select s.action_id, s.next_start, a.owner,
      row_number() over (partition by a.owner order by s.next_start, s.action_id) as turn
    from tidemill._action_states s
    join tidemill._actions a on a.id = s.action_id
    where s.run_id is null and s.next_start <= at and a.scheduled and (a.task is not null) = tasks
      -- A worker leaves routines of roles that it may not become to others. If none comes, the run fails.
      and (tasks or pg_catalog.pg_has_role(session_user, a.owner::oid, 'MEMBER')
        or coalesce(nullif(s.next_start, '-infinity'), a.created_at) < at - interval '10 seconds')
  ) d
  order by d.turn, waits_since, d.action_id
$$;
comment on function tidemill._due_actions is
$$Due task actions, or due routines, in the order in which they are taken: by turn, waits_since and action_id.

Owners take turns: first comes each owner's longest due action, then each owner's second one, and so on.
Of routines, the first ones are ordered by the later of when they became due and when their owner's last
run began. So an owner whose actions are always due holds up nobody else's.$$;

create or replace function tidemill._take_due(tasks boolean, most integer, at timestamptz)
returns setof tidemill._due_task
language plpgsql set search_path = pg_catalog, pg_temp
set enable_seqscan = off set enable_bitmapscan = off set enable_hashjoin = off set enable_mergejoin = off
as $$
begin
  if tasks then
    return query
      select a, s, tidemill._slot_of(a, s, at)
      from tidemill._due_actions(true, at) d
      join tidemill._action_states s on s.action_id = d.action_id
      join tidemill._actions a on a.id = d.action_id
      where s.run_id is null and s.next_start <= at and a.scheduled
      -- The order in which they come, so that only those that are taken are read here.
      order by d.turn, d.waits_since, d.action_id
      limit most
      -- The action is not locked: a pause at this very moment may come too late, as it would a moment later.
      for no key update of s skip locked;
  else
    return query
      select a, s, tidemill._slot_of(a, s, at)
      from tidemill._due_actions(false, at) d
      join tidemill._action_states s on s.action_id = d.action_id
      join tidemill._actions a on a.id = d.action_id
      where s.run_id is null and s.next_start <= at and a.scheduled
      -- The order in which they come, so that only those that are taken are read here.
      order by d.turn, d.waits_since, d.action_id
      limit most
      -- Both rows are locked: a transaction that pauses or deletes the action sees the run, or comes first.
      for no key update of s, a skip locked;
  end if;
end
$$;
comment on function tidemill._take_due is
  'Locks due task actions, or due routines, in the order of tidemill._due_actions and up to `most` of them; passes over locked ones.';
