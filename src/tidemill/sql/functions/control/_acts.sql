-- Who did what: one row for each call that changed something, written by those functions alone.

create or replace function tidemill._note_act(
  who name, what text, subjects text[], subject_count bigint, reason text default null,
  before jsonb default null, after jsonb default null, act bigint default null
) returns bigint
language plpgsql set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_variable
declare
  most constant integer := 100;
  noted bigint;
begin
  -- Of a call that works in steps, or that stands for one that does.
  update tidemill._acts a set
      subjects = (a.subjects || subjects)[:most], subject_count = a.subject_count + subject_count
    where a.id = act and a.xact = pg_current_xact_id() and a.who = who and a.what = what
    returning a.id into noted;
  if not found then
    insert into tidemill._acts as a
        (who, acts_as, application_name, what, subjects, subject_count, reason, before, after)
      values (who, tidemill._acts_as(), nullif(current_setting('application_name'), ''), what,
              subjects[:most], subject_count, left(nullif(reason, ''), 1000),
              tidemill._bounded_json(before), tidemill._bounded_json(after))
      returning a.id into noted;
  end if;
  return noted;
end
$$;
comment on function tidemill._note_act is
$$Writes an act, and returns its id.

who       the caller's role: see _requests.sql
subjects  what was changed: the first 100 of subject_count are kept
act       the id of an act of the same call, which grows by these$$;

create or replace function tidemill._is_run_of_own_routine() returns boolean
language sql stable set search_path = pg_catalog, pg_temp
as $$
  -- A run by hand is somebody's act. The session of another run is the worker's: nobody else can call anything there.
  select exists (
    select from tidemill._action_runs r
    where r.outcome is null and not r.by_hand and r.proc_schema = 'tidemill' and r.pid = pg_backend_pid()
      -- A run may have been left by a session whose number is ours now. When ours began is hidden from us where another
      -- role has logged in.
      and coalesce(
        r.backend_start = (select b.backend_start from pg_stat_activity b where b.pid = pg_backend_pid()), true))
$$;
comment on function tidemill._is_run_of_own_routine is
  'Whether a worker runs a routine of Tidemill''s own in this session, as an action: then the history tells of what it does.';

create or replace function tidemill._acts_as() returns text
language sql stable set search_path = pg_catalog, pg_temp
as $$ select nullif(left(current_setting('tidemill.acts_as', true), 200), '') $$;
comment on function tidemill._acts_as is 'For whom the session says that it acts: a claim of its own.';

create or replace function tidemill._bounded_json(value jsonb) returns jsonb
language sql immutable strict set search_path = pg_catalog, pg_temp
as $$
  select case when octet_length(value::text) <= 8000 then value
    else jsonb_build_object('cut', left(value::text, 2000)) end
$$;
comment on function tidemill._bounded_json is 'A JSON value, or the beginning of its text if it is large.';

create or replace function tidemill._in_short(jobs tidemill.job[]) returns jsonb
language sql stable set search_path = pg_catalog, pg_temp
as $$
  select jsonb_agg(jsonb_build_object(
    'id', j.id, 'task', j.identifier, 'state', j.state, 'priority', j.priority, 'run_at', j.run_at,
    'attempts', j.attempts, 'max_attempts', j.max_attempts))
  from unnest(jobs[:10]) j
$$;
comment on function tidemill._in_short is 'The first ten of these jobs for an act: without what users gave them.';

create or replace function tidemill._stored_in_short(job_ids bigint[]) returns jsonb
language sql stable set search_path = pg_catalog, pg_temp
as $$
  select tidemill._in_short(array(
    select tidemill._job_row(j) from tidemill._jobs j where j.id = any(job_ids[:10]) order by j.id))
$$;

create or replace function tidemill._difference(a jsonb, b jsonb) returns jsonb
language sql immutable set search_path = pg_catalog, pg_temp
as $$ select jsonb_object_agg(x.key, x.value) from jsonb_each(a) x where x.value is distinct from b -> x.key $$;
comment on function tidemill._difference is 'What the object a has otherwise than b.';

create or replace function tidemill._action_in_short(a tidemill._actions) returns jsonb
language sql stable set search_path = pg_catalog, pg_temp
as $$
  -- A config may be the payload of jobs: whether it was changed is told, not what it is.
  select to_jsonb(a) - '{cron_fields,config,proc_oid,check_oid,created_at,added_by}'::text[]
    || jsonb_build_object('config', md5(a.config::text), 'owner', a.owner::text)
$$;
comment on function tidemill._action_in_short is 'An action for an act; of its config a hash alone.';
