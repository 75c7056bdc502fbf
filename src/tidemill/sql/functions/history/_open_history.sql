create or replace function tidemill._open_history(keep smallint) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp
-- The engine waits for this, so it comes back later instead of waiting for another one that does the same.
set lock_timeout = '100ms'
as $$
#variable_conflict use_variable
declare
  root text;
  part text;
  k record;
  h tidemill._hypertables;
begin
  lock table tidemill._history_keeps in share row exclusive mode;
  if exists (select from tidemill._history_keeps u where u.keep = keep) then
    return;
  end if;
  select * into strict k from tidemill._keeps() l where l.keep = keep;
  foreach root in array '{_done_jobs,_ended_attempts}'::text[] loop
    part := format('tidemill.%s_%s', root, k.name);
    execute format('create table %s (like tidemill.%s including indexes) partition by range (finished_at)', part, root);
    -- A hypertable without a policy of its own: prune_job_history looks after all of history. Its chunks stand beside it.
    h.rows_table := part::regclass;
    h.time_column := 'finished_at';
    h.time_type := 'timestamptz';
    h.chunk_width := extract(epoch from k.chunk) * 1000000;
    h.chunks_schema := 'tidemill';
    h.id := null;
    insert into tidemill._hypertable_requests as q (h, verb) values (h, 'keep h') returning (q.h).id into h.id;
    perform tidemill._make_default(h, part::regclass);
    perform tidemill._ensure_chunk(h, tidemill._now_units(h.time_type) + n * h.chunk_width) from generate_series(0, 1) n;
    execute format('alter table tidemill.%s attach partition %s for values in (%s)', root, part, keep);
  end loop;
  insert into tidemill._history_keeps values (keep);
  insert into tidemill._actions
    (id, name, proc_schema, proc_name, owner, schedule_interval, initial_start, max_runtime, retry_period, config)
    values (4, 'Job History Retention', 'tidemill', 'prune_job_history', current_user::regrole, '1 hour',
      '2000-01-01 00:30+00', '1 hour', '5 minutes', '{}')
    on conflict do nothing;
  if found then
    insert into tidemill._action_states (action_id, next_start)
      values (4, date_bin('1 hour', clock_timestamp(), '2000-01-01 00:30+00') + interval '1 hour');
    perform tidemill._notify_actions();
  end if;
end
$$;
comment on function tidemill._open_history is 'Makes the partitions of a keep, which is used for the first time.';

create or replace function tidemill._declare_keeps(identifiers text[], keeps smallint[], with_payloads boolean[])
returns void
-- As _declare_limits.
language plpgsql security definer set search_path = pg_catalog, pg_temp set lock_timeout = '1s'
as $$
begin
  perform tidemill._open_history(k.keep) from (select distinct u from unnest(keeps) u where u > 0 order by u) k(keep);
  perform tidemill._task_id(d.identifier)
    from unnest(identifiers, keeps, with_payloads) d(identifier, keep, with_payload)
    where d.keep > 0 order by d.identifier;
  update tidemill._tasks t set keep = nullif(d.keep, 0), keeps_payload = d.with_payload
    from unnest(identifiers, keeps, with_payloads) d(identifier, keep, with_payload)
    where t.identifier = d.identifier and (t.keep, t.keeps_payload) is distinct from (nullif(d.keep, 0), d.with_payload);
end
$$;
comment on function tidemill._declare_keeps is
$$Notes how long the history of tasks is kept, for what is not settled by a worker. The last worker that starts is right.

Error 55P03: another transaction has held a lock for a second. Nothing is noted then.$$;
