create or replace function tidemill.grant_role(role text, to_role regrole) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  r record;
begin
  perform tidemill._check_role(role, to_role, 'to_role');
  -- Two sessions that grant rights on one object at once fail.
  perform tidemill._lock('grants');
  for r in select * from tidemill._rights_of(role) loop
    execute format('grant %s on %s to %s', r.privileges, r.object, to_role);
  end loop;
  perform tidemill._note_act(current_user, 'grant_role', array[role, to_role::text], 1);
end
$$;
comment on function tidemill.grant_role is
$$Gives a role of PostgreSQL a role of Tidemill. For the owner of the schema tidemill to call.

role     reader (the views), producer (adds jobs, and reads none), operator (reads, and changes jobs, queues,
         workers, pauses and limits), worker (runs jobs, but no actions), or actions (adds and runs actions of its own)
to_role  who gets it; it may have several

It is given again whenever functions are laid anew. Take it back with tidemill.revoke_role, or drop owned by.
Errors: 22023 an unknown role, NULL, or the owner of the schema; 42704 a role that is not there; 42501; 55P03 another
session grants or revokes for over 10 seconds.$$;

create or replace function tidemill._check_role(role text, grantee regrole, parameter text) returns void
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
begin
  if role is null or not role = any(tidemill._roles()) then
    raise exception using errcode = 'invalid_parameter_value',
      message = format('role %s is unknown', coalesce('"' || left(role, 128) || '"', 'NULL')),
      hint = format('Use %s.', array_to_string(tidemill._roles(), ', '));
  elsif grantee is null then
    raise exception using errcode = 'invalid_parameter_value', message = format('%s cannot be NULL', parameter),
      hint = 'Name a role of PostgreSQL.';
  elsif not exists (select from pg_roles r where r.oid = grantee) then
    -- A number is a regrole, too, whether there is such a role or not.
    raise exception using errcode = 'undefined_object', message = format('the role with OID %s does not exist', grantee::oid),
      hint = 'Name a role of PostgreSQL.';
  elsif grantee = (select n.nspowner from pg_namespace n where n.nspname = 'tidemill') then
    raise exception using errcode = 'invalid_parameter_value',
      message = format('"%s" owns the schema tidemill', grantee), hint = 'It may do everything, and that cannot be changed.';
  end if;
end
$$;

create or replace function tidemill._roles() returns text[]
language sql immutable set search_path = pg_catalog, pg_temp
as $$ select '{reader,producer,operator,worker,actions}'::text[] $$;
comment on function tidemill._roles is 'The roles of grant_role.';

-- EXECUTE on these tells who has which role: by it grants are given again, and PostgreSQL takes it along when the role
-- is renamed, dropped or restored. Of the role actions it is add_action.
create or replace function tidemill._is_reader() returns void language sql set search_path = pg_catalog, pg_temp as 'select';
create or replace function tidemill._is_producer() returns void language sql set search_path = pg_catalog, pg_temp as 'select';
create or replace function tidemill._is_operator() returns void language sql set search_path = pg_catalog, pg_temp as 'select';
create or replace function tidemill._is_worker() returns void language sql set search_path = pg_catalog, pg_temp as 'select';

create or replace function tidemill._rights_of(role text) returns table (object text, privileges text)
language sql stable set search_path = pg_catalog, pg_temp
as $$
  with included (role) as (
    select _rights_of.role
    union all
    -- Who operates has to see; who runs jobs adds others, too.
    select unnest(case _rights_of.role when 'operator' then '{reader}' when 'worker' then '{reader,producer}' end::text[])
  ),
  routines (role, name) as (
    select 'reader', unnest('{next_runs,why_waiting,job_result,histogram_quantile,histogram_sum,_job_counts,_wait_for,_job_ends,_wait_no_more}'::name[])
    union all select 'producer', unnest('{add_job,add_jobs}'::name[])
    union all select 'operator', unnest(tidemill._functions_for_operators())
    union all select 'worker', unnest(tidemill._functions_for_workers())
    union all select 'actions', unnest(tidemill._functions_for_actions())
    -- Of the role itself, not of those that it includes.
    union all select _rights_of.role, ('_is_' || _rights_of.role)::name
  ),
  relations (role, name, privileges) as (
    select 'reader', unnest('{jobs,job_history,limits,tasks,task_stats,workers,pauses,acts,grants,bulk_acts,actions,action_stats,action_history,action_errors,hypertables,
      chunks,compression_settings}'::name[]), 'select'
    union all select 'actions', unnest('{actions,action_stats,action_history,action_errors}'::name[]), 'select'
    union all select 'worker', w.name, w.privileges from tidemill._relations_for_workers() w
  )
  select 'schema tidemill', 'usage'
  union
  select d.object, d.privileges from included i cross join lateral tidemill._dialect_rights_of(i.role) d
  union
  select 'routine ' || p.oid::regprocedure, 'execute'
  from included i join routines r on r.role = i.role
  join pg_proc p on p.pronamespace = 'tidemill'::regnamespace and p.proname = r.name
  union
  select case c.relkind when 'S' then 'sequence ' else 'table ' end || c.oid::regclass, r.privileges
  from included i join relations r on r.role = i.role
  join pg_class c on c.relnamespace = 'tidemill'::regnamespace and c.relname = r.name
  union
  -- All columns but the one that says who asks.
  select 'table ' || c.oid::regclass,
         format('insert (%1$s), select (%1$s)', string_agg(quote_ident(a.attname), ', ' order by a.attnum))
  from included i
  join pg_class c on c.relnamespace = 'tidemill'::regnamespace
    and c.relname = any(case i.role when 'actions' then tidemill._requests_for_actions()
                          when 'operator' then '{_operator_requests}' end::name[])
  join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped and a.attname <> 'who'
  group by c.oid
$$;
comment on function tidemill._rights_of is 'What a role of Tidemill may do, as the objects and privileges of GRANT.';

create or replace function tidemill._dialect_rights_of(role text) returns table (object text, privileges text)
language sql stable set search_path = pg_catalog, pg_temp
as $$
  with wrappers (role, schema, name) as (
    select 'producer', 'graphile_worker', unnest('{add_job,add_jobs}'::name[])
    union all select 'operator', 'graphile_worker', unnest(
      '{remove_job,complete_jobs,permanently_fail_jobs,reschedule_jobs,force_unlock_workers,_row}'::name[])
    -- The views call it with the rights of their reader.
    union all select 'reader', 'graphile_worker', '_flags_object'
    union all select 'actions', 'public', unnest('{add_job,alter_job,delete_job,run_job}'::name[])
    union all select 'hypertables', 'public', p.proname from pg_proc p
      where p.pronamespace = to_regnamespace('public') and p.proname not in ('add_job', 'alter_job', 'delete_job', 'run_job')
  ),
  -- Another system may have these names.
  ours as (
    select n.oid, n.nspname, n.nspowner from pg_namespace n
    where n.nspname = 'graphile_worker' and n.nspowner = (select t.nspowner from pg_namespace t where t.nspname = 'tidemill')
      and starts_with(obj_description(n.oid, 'pg_namespace'), 'Laid by Tidemill')
  )
  select format('schema %I', o.nspname), 'usage'
  from ours o where exists (select from wrappers w where w.role = _dialect_rights_of.role and w.schema = o.nspname)
  union
  select 'routine ' || p.oid::regprocedure, 'execute'
  from wrappers w
  join pg_proc p on p.pronamespace = to_regnamespace(w.schema) and p.proname = w.name
    and p.proowner = (select t.nspowner from pg_namespace t where t.nspname = 'tidemill')
  where w.role = _dialect_rights_of.role
    and (p.pronamespace in (select o.oid from ours o) or starts_with(obj_description(p.oid, 'pg_proc'), 'Laid by Tidemill'))
  union
  select 'table ' || c.oid::regclass, 'select'
  from ours o join pg_class c on c.relnamespace = o.oid and c.relkind = 'v' and c.relowner = o.nspowner
  where _dialect_rights_of.role = 'reader'
$$;
comment on function tidemill._dialect_rights_of is
  'What a role of Tidemill may do under the names of other systems, where these are laid; hypertables is that of grant_hypertables.';

create or replace function tidemill._functions_for_operators() returns name[]
language sql immutable
as $$
  select array[
    'complete_jobs', 'permanently_fail_jobs', 'reschedule_jobs', 'cancel_jobs', 'remove_job', 'force_unlock_workers',
    'stop_worker', 'pause', 'resume', 'set_on_failure', '_operate_on_jobs',
    'begin_bulk_act', 'step_bulk_act', 'run_bulk_act', 'abort_bulk_act', 'set_limit', 'remove_limit',
    'cleanup', 'check_cleanup', '_cleanup_before', '_cleanup_queues', '_delete_ended_jobs', '_delete_unused_queues',
    '_has_unit'
  ]::name[]
$$;
comment on function tidemill._functions_for_operators is
  'What an operator calls: the public functions, which ask by _operator_requests, and those that these call with its rights.';

create or replace function tidemill._functions_for_workers() returns name[]
language sql immutable
as $$
  select array[
    '_bounded_error', '_cancelled_jobs', '_caution', '_claim_jobs', '_claim_queued_jobs', '_complete_jobs',
    '_declare_listener', '_deregister_worker', '_draw_tokens', '_express_is_safe', '_fail_jobs', '_has_large_payloads',
    '_heartbeat', '_is_lost', '_is_worker_id', '_lease_ended', '_lock_jobs', '_lock_queued_jobs', '_notify_workers',
    '_register_worker', '_release_leases', '_release_queues', '_return_jobs', '_return_unknown_jobs', '_settle_batch', '_slot_of_job',
    '_start_jobs', '_suspect_workers', '_sweep_leases', '_task_ids', '_task_ids_with_paused', '_unknown_lease',
    -- History, counters, progress, metrics: these write with the owner's rights.
    '_complete_kept_jobs', '_settle_kept_batch', '_keep_ended', '_keeps_history', '_declare_keeps', '_open_history',
    '_count_attempts', '_roll_up_counts', '_note_seen_tasks', '_show_progress', '_forget_progress', '_publish_tasks',
    '_figures',
    -- Limits: the claim and what goes with it, as well.
    '_claim_limited_jobs', '_walk_gates', '_declare_limits', '_gate_waiting', '_visits_of_ended', '_notify_limited'
  ]::name[]
$$;
comment on function tidemill._functions_for_workers is 'What a worker calls that is not the owner: it runs jobs, and no actions.';

create or replace function tidemill._relations_for_workers() returns table (name name, privileges text)
language sql immutable
as $$
  values ('_jobs'::name, 'select, update, delete'),
    -- Not the pause, which is an operator's act.
    ('_queues', 'select, update (locked_at, locked_by, claim_token)'),
    ('_tasks', 'select'),
    -- Not who has asked for a stop, which is another.
    ('_workers', 'select, insert (id, hostname, pid, version, concurrency, identifiers, expires_at, backend_pid),
      update (identifiers, heartbeat_at, expires_at, backend_pid, in_hand, stopping, suspected_at, lost_at, is_freed), delete'),
    ('_listeners', 'select, insert, delete'),
    ('_unstarted', 'select, insert, update, delete'),
    ('_visits', 'select, insert'),
    ('_progress', 'select'),
    ('_limit_tasks', 'select'),
    ('_limits', 'select'),
    ('_claim_tokens', 'usage'),
    -- Whether the schema fits.
    ('_migrations', 'select'),
    ('_installed', 'select')
$$;
comment on function tidemill._relations_for_workers is
  'What a worker that is not the owner reads and writes. Nothing by which it would get rights that it lacks: no action.';

create or replace function tidemill._grant_dialects() returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  r record;
begin
  for r in
    select x.object, x.privileges, g.grantee from tidemill.grants g, tidemill._rights_of(g.role) x
    where x.object in (select d.object from unnest(tidemill._roles()) u(role), tidemill._dialect_rights_of(u.role) d)
    union
    select d.object, d.privileges, h.grantee
    from tidemill._roles_with_hypertables() h, tidemill._dialect_rights_of('hypertables') d
  loop
    execute format('grant %s on %s to %s', r.privileges, r.object, r.grantee);
  end loop;
end
$$;
comment on function tidemill._grant_dialects is 'Gives everybody who has a role what it gives in dialects. For after one was laid.';

create or replace function tidemill._grant_roles_again() returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  r record;
begin
  -- Older versions gave workers all columns of these.
  for r in select g.grantee from tidemill.grants g where g.role = 'worker' loop
    execute format('revoke insert, update on tidemill._workers, tidemill._queues from %s', r.grantee);
  end loop;
  for r in
    select x.object, x.privileges, g.grantee from tidemill.grants g, tidemill._rights_of(g.role) x
  loop
    execute format('grant %s on %s to %s', r.privileges, r.object, r.grantee);
  end loop;
end
$$;
comment on function tidemill._grant_roles_again is
  'Gives everybody who has a role what this version''s functions need. For after they were laid.';
