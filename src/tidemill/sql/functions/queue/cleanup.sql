-- It commits and so may have no SET clause: every name is qualified instead.
create or replace procedure tidemill.cleanup(job_id integer default null, config jsonb default null)
language plpgsql
as $$
declare
  before pg_catalog.timestamptz;
  batch record;
  reached bigint := 0;
  jobs bigint := 0;
  queues bigint := 0;
begin
  perform tidemill.check_cleanup(config);
  before := tidemill._cleanup_before(config);
  if before is not null then
    loop
      select d.deleted, d.reached into batch from tidemill._delete_ended_jobs(before, reached) d;
      commit;
      jobs := jobs operator(pg_catalog.+) batch.deleted;
      reached := batch.reached;
      exit when reached is null;
    end loop;
    raise notice 'jobs that had failed or were cancelled: % deleted', jobs;
  end if;

  if tidemill._cleanup_queues(config) then
    -- Of this transaction there must be no snapshot yet.
    commit;
    set transaction isolation level read committed;
    loop
      select d.deleted, d.because into batch from tidemill._delete_unused_queues() d;
      commit;
      queues := queues operator(pg_catalog.+) batch.deleted;
      exit when batch.deleted operator(pg_catalog.=) 0;
      set transaction isolation level read committed;
    end loop;
    raise notice 'named queues without jobs: % deleted%', queues, coalesce(', the rest stays: ' operator(pg_catalog.||) batch.because, '');
  end if;
end
$$;
comment on procedure tidemill.cleanup is
$$Deletes jobs that failed for good or were cancelled long ago, and named queues without jobs. An action can run it.

job_id  the action's id; not used
config  failed_after (interval, default 30 days): jobs that failed or were cancelled longer ago are deleted; null keeps them.
        queues (default true): whether named queues without jobs are deleted

It commits after each batch, so it cannot be called in a transaction, and waits for nobody: what others hold stays for the next
time. Tasks stay: see the manual. Errors: those of tidemill.check_cleanup.$$;

create or replace function tidemill._cleanup_before(config jsonb) returns timestamptz
language sql stable set search_path = pg_catalog, pg_temp
as $$
  select case when not coalesce(config ? 'failed_after', false) then now() - interval '30 days'
    else now() - (config ->> 'failed_after')::interval end
$$;
comment on function tidemill._cleanup_before is 'Jobs that failed before are to be deleted; NULL: none.';

create or replace function tidemill._cleanup_queues(config jsonb) returns boolean
language sql immutable set search_path = pg_catalog, pg_temp
as $$ select coalesce((config ->> 'queues')::boolean, true) $$;
comment on function tidemill._cleanup_queues is 'Whether named queues without jobs are to be deleted.';

create or replace function tidemill._delete_ended_jobs(
  before timestamptz, after_id bigint, most integer default 1000, out deleted integer, out reached bigint
)
language plpgsql set search_path = pg_catalog, pg_temp
as $$
begin
  insert into tidemill._operator_requests as q (verb, run_at, ids, options)
    values ('delete_ended_jobs', before, array[after_id], jsonb_build_object('most', most))
    returning q.count, q.ids[1] into deleted, reached;
end
$$;
comment on function tidemill._delete_ended_jobs is
$$Deletes jobs that failed for good or were cancelled before a time, and returns how many, and the id up to which it looked: NULL
at the end.

after_id  begins behind this id
most      how many to delete$$;

create or replace function tidemill._drop_ended_jobs(
  who name, before timestamptz, after_id bigint, most integer, out deleted integer, out reached bigint
)
language plpgsql set search_path = pg_catalog, pg_temp
set enable_seqscan = off set enable_bitmapscan = off set enable_sort = off
as $$
#variable_conflict use_variable
declare
  examined constant integer := 10000;
  ids bigint[];
  seen integer;
begin
  -- By ranges of ids, since jobs that have failed stand in no index of their own.
  select array_agg(w.id order by w.id) filter (where w.has_ended), max(w.id), count(*) into ids, reached, seen
    from (
      select j.id, j.locked_at is null and j.attempts >= j.max_attempts and j.updated_at < before as has_ended
      from tidemill._jobs j where j.id > after_id order by j.id limit examined
    ) w;
  if cardinality(ids) > most then
    ids := ids[:most];
    reached := ids[most];
  elsif seen < examined then
    reached := null;
  end if;
  ids := array(
    select j.id from tidemill._jobs j
    where j.id = any(ids) and j.locked_at is null and j.attempts >= j.max_attempts and j.updated_at < before
    order by j.id
    for update skip locked);
  if tidemill._keeps_history() then
    perform tidemill._keep_removed(ids);
  end if;
  delete from tidemill._jobs j where j.id = any(ids);
  get diagnostics deleted = row_count;
  perform tidemill._note_cleanup(who, ids::text[], before);
end
$$;

create or replace function tidemill._note_cleanup(who name, subjects text[], before timestamptz default null) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
begin
  -- Runs of the action are in the history of actions.
  if cardinality(subjects) > 0 and not tidemill._is_run_of_own_routine() then
    perform tidemill._note_act(
      who, 'cleanup', subjects, cardinality(subjects), null,
      case when before is not null then jsonb_build_object('failed_before', before) end);
  end if;
end
$$;
comment on function tidemill._note_cleanup is 'Writes the act of one batch of cleanup that was called by hand.';

create or replace function tidemill._delete_unused_queues(
  most integer default 5000, most_bytes bigint default 67108864, tries integer default 10,
  out deleted integer, out because text
)
language plpgsql set search_path = pg_catalog, pg_temp
as $$
begin
  -- Whoever asks may make it gentler, and not hold up the others for longer.
  insert into tidemill._operator_requests as q (verb, options)
    values ('delete_unused_queues', jsonb_build_object(
      'most', least(most, 5000), 'most_bytes', least(most_bytes, 67108864), 'tries', least(tries, 10)))
    returning q.count, q.because into deleted, because;
end
$$;
comment on function tidemill._delete_unused_queues is
$$Deletes named queues without jobs, and returns how many; because says why it left some.

most        how many to delete
most_bytes  does nothing where the table of jobs is larger
tries       how often it tries to be let in

It holds up all who add jobs to named queues, or claim them, for a moment, and waits for a tenth of a second in each try.$$;

create or replace function tidemill._drop_unused_queues(
  who name, most integer, most_bytes bigint, tries integer, out deleted integer, out because text
)
language plpgsql set search_path = pg_catalog, pg_temp set lock_timeout = '100ms'
as $$
#variable_conflict use_column
declare
  names text[];
begin
  deleted := 0;
  if current_setting('transaction_isolation') <> 'read committed' then
    raise exception using errcode = 'invalid_transaction_state', message = 'queues are deleted in transactions that are read committed';
  end if;
  -- The lock that follows must be a short one.
  if pg_relation_size('tidemill._jobs') > most_bytes then
    because := format('the table of jobs has more than %s, and all of it would have to be looked at', pg_size_pretty(most_bytes));
    return;
  end if;
  if not exists (select from tidemill._queues q where q.locked_by is null
                 and not exists (select from tidemill._jobs j where j.queue_id = q.id))
  then
    return;
  end if;
  -- Whoever adds a job to a queue looks for its row, and so keeps a lock on this table until the job is seen. Once we
  -- have ours, there is no such transaction, and those that come look after our commit. One whose snapshot is older
  -- finds a row that is gone: see _queue_id.
  for turn in 1 .. tries loop
    begin
      lock table tidemill._queues in access exclusive mode;
      exit;
    exception when lock_not_available then
      if turn = tries then
        because := 'an open transaction has added jobs to a named queue';
        return;
      end if;
      -- Meanwhile those who wait behind us go first: claims, which hold it for moments, and adds.
      perform pg_sleep(0.05 + 0.1 * random());
    end;
  end loop;
  with used as materialized (
    select distinct j.queue_id from tidemill._jobs j where j.queue_id is not null
  ),
  unused as materialized (
    select q.id from tidemill._queues q
    where q.locked_by is null and not exists (select from used u where u.queue_id = q.id)
    limit most
  ),
  gone as (
    delete from tidemill._queues q using unused u where q.id = u.id returning q.queue_name
  )
  select count(*), array_agg('queue ' || g.queue_name order by g.queue_name) into deleted, names from gone g;
  perform tidemill._note_cleanup(who, names);
end
$$;
