create table tidemill._locks (
  name text primary key
);
comment on table tidemill._locks is
  'Rows to lock: see tidemill._lock. Any role may take an advisory lock, and a row here only those with rights on the table.';

-- By it owners are looked through that were dropped.
create index _actions_owner on tidemill._actions (owner);

-- Who the caller is, is no longer asked of the session: these functions get the caller as an argument now, and roles
-- that were granted actions may not call them any more. Beside the new ones they would stay open to those roles.

drop function if exists tidemill._caller() cascade;
drop function if exists tidemill._as_caller_may_see(tidemill._jobs) cascade;
drop function if exists tidemill._may_manage(regrole) cascade;
drop function if exists tidemill._refuse_read_only(text) cascade;
drop function if exists tidemill._find_action(integer, text, text) cascade;
drop function if exists tidemill._insert_action(tidemill._actions, oid, boolean, text, timestamptz) cascade;
drop function if exists tidemill._action_of_name(text) cascade;
drop function if exists tidemill._apply_alteration(
  tidemill._actions, oid, jsonb, timestamptz, boolean, text, timestamptz) cascade;
drop function if exists tidemill._begin_hand_run(integer, text, text, text) cascade;
