-- How a role asks for what it may not write itself, so that it is known who asks.
--
-- A face with the caller's rights inserts into a view. Nothing is stored: a trigger with the owner's rights does the
-- work, and gives back its results. The column who defaults to current_user, which is the caller's there and which
-- nobody may give: roles may insert into the other columns alone. The session's user and role would be no answer: an
-- index expression under ANALYZE, for instance, runs as the table's owner in a superuser's session.

create or replace function tidemill._who(who name) returns regrole
language sql stable set search_path = pg_catalog, pg_temp
as $$ select r.oid::regrole from pg_roles r where r.rolname = who $$;
comment on function tidemill._who is 'The role of a request''s column who.';

create or replace view tidemill._add_requests as
select
  null::name as who, null::tidemill._actions as a, null::oid as check_config, null::boolean as if_not_exists,
  null::text as noun, null::integer as action_id, null::text as check_call
where false;
comment on view tidemill._add_requests is 'Inserting calls tidemill._insert_action, which returns the last two columns.';

create or replace function tidemill._answer_add() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
declare
  last integer := (select i.last_value - case when i.is_called then 0 else 1 end from tidemill._action_ids i);
begin
  select i.action_id, i.check_call into new.action_id, new.check_call
    from tidemill._insert_action(
      tidemill._who(new.who), new.a, new.check_config, new.if_not_exists, new.noun) i;
  -- Else it was there already (if_not_exists).
  if new.action_id > last then
    perform tidemill._note_act(
        new.who, 'add_action', array[x.id::text], 1, after => jsonb_strip_nulls(tidemill._action_in_short(x)))
      from tidemill._actions x where x.id = new.action_id;
  end if;
  return new;
end
$$;

create or replace view tidemill._alter_requests as
select
  null::name as who, null::tidemill._actions as given, null::oid as check_config, null::jsonb as config_merge,
  null::timestamptz as new_start, null::boolean as if_exists, null::text as noun,
  null::tidemill._actions as a, null::timestamptz as starts, null::text as checked_by,
  null::name as application_name, null::text as check_call
where false;
comment on view tidemill._alter_requests is
  'Inserting calls tidemill._apply_alteration, which returns the columns from a on.';

create or replace function tidemill._answer_alter() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
declare
  altered record;
  before jsonb;
  after jsonb;
begin
  select * into altered from tidemill._apply_alteration(
    tidemill._who(new.who), new.given, new.check_config, new.config_merge, new.new_start, new.if_exists, new.noun);
  new.a := altered.a;
  new.starts := altered.starts;
  new.checked_by := altered.checked_by;
  new.application_name := altered.application_name;
  new.check_call := altered.check_call;
  before := tidemill._action_in_short(altered.before);
  after := tidemill._action_in_short(new.a);
  if before <> after or new.new_start is not null then
    perform tidemill._note_act(
      new.who, 'alter_action', array[(new.a).id::text], 1, null, tidemill._difference(before, after),
      jsonb_strip_nulls(coalesce(tidemill._difference(after, before), '{}')
        || jsonb_build_object('next_start', new.new_start)));
  end if;
  return new;
end
$$;

create or replace view tidemill._delete_requests as
select null::name as who, null::integer as action_id, null::text as noun
where false;
comment on view tidemill._delete_requests is 'Inserting calls tidemill._remove_action.';

create or replace function tidemill._answer_delete() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
declare
  a tidemill._actions;
begin
  select x.* into a from tidemill._actions x where x.id = new.action_id;
  perform tidemill._remove_action(tidemill._who(new.who), new.action_id, new.noun);
  perform tidemill._note_act(
    new.who, 'delete_action', array[new.action_id::text], 1, null, jsonb_strip_nulls(tidemill._action_in_short(a)));
  return new;
end
$$;

create or replace view tidemill._run_requests as
select
  null::name as who, null::integer as action_id, null::text as noun, null::text as refusal, null::text as stack,
  null::bigint as run_id, null::text as way, null::boolean as alone, null::text as call, null::text as shown,
  null::jsonb as config, null::bigint as job_id
where false;
comment on view tidemill._run_requests is
  'Inserting calls tidemill._begin_hand_run, which returns the columns from run_id on.';

create or replace function tidemill._answer_run() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
begin
  select b.run_id, b.way, b.alone, b.call, b.shown, b.config, b.job_id
    into new.run_id, new.way, new.alone, new.call, new.shown, new.config, new.job_id
    from tidemill._begin_hand_run(tidemill._who(new.who), new.action_id, new.noun, new.refusal, new.stack) b;
  perform tidemill._note_act(
    new.who, 'run_action', array[new.action_id::text], 1, after => jsonb_strip_nulls(jsonb_build_object(
      'run_id', new.run_id, 'job_id', new.job_id)));
  return new;
end
$$;

create or replace view tidemill._run_ends as
select
  null::name as who, null::bigint as run_id, null::text as outcome, null::text as sqlstate, null::text as message,
  null::text as detail, null::text as hint, null::text as context
where false;
comment on view tidemill._run_ends is
  'Inserting records the end of a run by hand, if this session runs it as the owner of its action.';

create or replace function tidemill._answer_run_end() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
begin
  if exists (
    select from tidemill._action_runs r
    where r.id = new.run_id and r.by_hand and r.pid = pg_backend_pid() and r.owner = tidemill._who(new.who))
  then
    perform tidemill._record_hand_run(
      new.run_id, new.outcome, clock_timestamp(), new.sqlstate, new.message, nullif(new.detail, ''),
      nullif(new.hint, ''), new.context);
  end if;
  return new;
end
$$;

create or replace view tidemill._owner_requests as
select null::name as who, null::integer as action_id, null::regrole as new_owner
where false;
comment on view tidemill._owner_requests is 'Inserting calls tidemill._change_owner.';

create or replace function tidemill._answer_owner() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
declare
  before text := (select x.owner::text from tidemill._actions x where x.id = new.action_id);
begin
  perform tidemill._change_owner(tidemill._who(new.who), new.action_id, new.new_owner);
  perform tidemill._note_act(
    new.who, 'set_action_owner', array[new.action_id::text], 1, null, jsonb_build_object('owner', before),
    jsonb_build_object('owner', new.new_owner::text));
  return new;
end
$$;

alter view tidemill._add_requests alter who set default current_user;
alter view tidemill._alter_requests alter who set default current_user;
alter view tidemill._delete_requests alter who set default current_user;
alter view tidemill._owner_requests alter who set default current_user;
alter view tidemill._run_requests alter who set default current_user;
alter view tidemill._run_ends alter who set default current_user;

create or replace trigger answer instead of insert on tidemill._add_requests
  for each row execute function tidemill._answer_add();
create or replace trigger answer instead of insert on tidemill._alter_requests
  for each row execute function tidemill._answer_alter();
create or replace trigger answer instead of insert on tidemill._delete_requests
  for each row execute function tidemill._answer_delete();
create or replace trigger answer instead of insert on tidemill._owner_requests
  for each row execute function tidemill._answer_owner();
create or replace trigger answer instead of insert on tidemill._run_requests
  for each row execute function tidemill._answer_run();
create or replace trigger answer instead of insert on tidemill._run_ends
  for each row execute function tidemill._answer_run_end();
