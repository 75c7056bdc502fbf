-- breaking: workers from before it do not look for limited jobs, which would wait for ever.
-- Limits: how many jobs run at once, and how many start in a time.

create table tidemill._limits (
  id integer generated always as identity primary key,
  name text unique,
  task_id integer unique,
  concurrency integer check (concurrency >= 1),
  rate integer check (rate >= 1),
  period interval,
  burst integer check (burst >= 1),
  per_second double precision,
  per text[],
  removed_at timestamptz,
  changed_at timestamptz not null default now(),
  constraint limits_name_or_task check ((name is null) <> (task_id is null))
);
comment on table tidemill._limits is 'Limits, by name or of one task. Private: read the view tidemill.limits.';
comment on column tidemill._limits.task_id is 'The task whose own limit it is: workers keep it as the code has it.';
comment on column tidemill._limits.per is 'Where the key is found in a payload; NULL: all jobs share one gate.';
comment on column tidemill._limits.per_second is 'Tokens a second: rate divided by period.';
comment on column tidemill._limits.removed_at is
  'It holds nobody up any more. The row stays, since jobs have its number in their gates; by its name it comes back.';

alter table tidemill._tasks add limit_id integer;
comment on column tidemill._tasks.limit_id is 'The limit of all jobs that are added to the task; NULL: none.';
alter table tidemill._tasks add gate_from bigint;
comment on column tidemill._tasks.gate_from is
  'Behind this id there may be jobs that were added before the task had its limit; NULL: none. See tidemill._gate_waiting.';

-- Which tasks have jobs under a limit: whoever frees a place has each of them looked at.
create table tidemill._limit_tasks (
  limit_id integer not null,
  task_id integer not null,
  primary key (limit_id, task_id)
);
comment on table tidemill._limit_tasks is 'Tasks whose jobs were ever added under a limit.';

-- A gate is one limit, or one limit and key: the bits from 40 on are the limit's number, those below the hash of the key.
alter table tidemill._jobs add gate_id bigint;
comment on column tidemill._jobs.gate_id is 'The gate that the job must pass; NULL: it has no limit. See tidemill._gate_id.';

create table tidemill._gates (
  id bigint primary key,
  tokens double precision,
  filled_at timestamptz
) with (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 500);
comment on table tidemill._gates is
  'Gates that a claim has met. Who takes jobs of a gate locks its row; producers never touch it.';
comment on column tidemill._gates.tokens is 'What was in the bucket at filled_at; NULL: it was full.';

-- Unlogged: after a crash of the server the walk over all gates finds what a visit would have.
create unlogged table tidemill._visits (
  task_id integer not null,
  at timestamptz not null,
  gate_id bigint not null
) with (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000, autovacuum_vacuum_cost_delay = 0);
comment on table tidemill._visits is
  'When a worker that knows the task should look at a gate. It says "look", never what is so; there may be several.';
create index _visits_due on tidemill._visits (task_id, at);

-- Limited jobs stand in indexes of their own, and in none of the others.
drop index tidemill._jobs_ready;
create index _jobs_ready on tidemill._jobs (priority, run_at, id)
  where queue_id is null and gate_id is null and locked_at is null and attempts < max_attempts;
drop index tidemill._jobs_tried;
create index _jobs_tried on tidemill._jobs (priority, run_at, id)
  where queue_id is null and gate_id is null and locked_at is null and attempts < max_attempts
    and (key is not null or attempts > 0);
create index _jobs_gated on tidemill._jobs (gate_id, task_id, priority, run_at, id)
  where gate_id is not null and locked_at is null and attempts < max_attempts;
create index _jobs_gate_leased on tidemill._jobs (gate_id)
  where gate_id is not null and locked_at is not null;

-- The planner reads an index that never had a row each time, and remembers it of others: so each gets one, for a moment.
insert into tidemill._jobs (id, task_id, gate_id) overriding system value values (0, 0, 0);
update tidemill._jobs set locked_at = now() where id = 0;
delete from tidemill._jobs where id = 0;

-- These get one more parameter, so they are dropped, and what others were granted is granted again once they are laid.

create table tidemill._kept_grants (
  function text not null,
  grantee oid not null,
  is_grantable boolean not null,
  primary key (function, grantee)
);
comment on table tidemill._kept_grants is
  'Rights on functions that a migration dropped to change their parameters, until tidemill._grant_again grants them.';

do $$
declare
  changed constant oid[] := array_remove(array[
    to_regprocedure('tidemill.add_job(text, json, text, timestamptz, integer, text, integer, text[], text)')::oid,
    to_regprocedure('tidemill.add_jobs(tidemill.job_spec[], boolean, text)')::oid], null);
  built text;
begin
  -- What is written as SQL in its body, as a view, or as a default is bound to the function itself, and not to its name.
  select string_agg(distinct pg_describe_object(d.classid, d.objid, d.objsubid), ', ') into built
    from pg_depend d
    where d.refclassid = 'pg_proc'::regclass and d.refobjid = any(changed) and d.deptype <> 'i';
  if built is not null then
    raise exception using errcode = 'dependent_objects_still_exist',
      message = format('tidemill.add_job and tidemill.add_jobs get a parameter more, and these are built on them: %s', built),
      hint = 'Drop these, run tidemill migrate, and make them again: calls stay as they are. Functions whose body is a '
        'quoted text are not affected.';
  end if;
  insert into tidemill._kept_grants
    -- Several roles may have granted the same.
    select p.proname, g.grantee, bool_or(g.is_grantable)
    from pg_proc p cross join aclexplode(p.proacl) g
    where p.oid = any(changed) and g.grantee not in (0, p.proowner)
    group by 1, 2;
end
$$;
drop function if exists tidemill.add_job(text, json, text, timestamptz, integer, text, integer, text[], text);
drop function if exists tidemill.add_jobs(tidemill.job_spec[], boolean, text);
drop function if exists tidemill._add_jobs(tidemill.job_spec[], text[]);
drop function if exists tidemill._add_keyed_jobs(tidemill.job_spec[], text[]);
drop function if exists tidemill._check_specs(tidemill.job_spec[], text[]);
