-- By these it is told whether a function that has the name of an action's routine or check now may take its place.
alter table tidemill._actions
  add column proc_owner regrole,
  add column check_oid oid,
  add column check_owner regrole,
  add column added_by regrole;
comment on column tidemill._actions.proc_oid is
  'The routine when it was last found: by it a renamed one is found again. See tidemill._found_routine.';
comment on column tidemill._actions.proc_owner is
  'Who owned the routine when it was last found: another function of the same owner may take its name and place.';
comment on column tidemill._actions.check_oid is 'The check when it was last found, as proc_oid.';
comment on column tidemill._actions.check_owner is 'Who owned the check when it was last found, as proc_owner.';
comment on column tidemill._actions.added_by is 'By if_not_exists it is found again, also after it was given to another owner.';

update tidemill._actions set added_by = owner;
update tidemill._actions a set proc_owner = p.proowner
  from pg_proc p
  join pg_namespace n on n.oid = p.pronamespace
  where p.oid = a.proc_oid and n.nspname = a.proc_schema and p.proname = a.proc_name;
update tidemill._actions a set check_oid = p.oid, check_owner = p.proowner
  from pg_proc p
  join pg_namespace n on n.oid = p.pronamespace
  where n.nspname = a.check_schema and p.proname = a.check_name and p.prokind = 'f'
    -- jsonb
    and p.proargtypes = '3802';

-- Each owner gets a function of its own: an open transaction of one held up the grants to all others.
drop function if exists tidemill._owns_actions() cascade;

-- It takes a number instead.
drop function if exists tidemill._check_call(tidemill._actions);
