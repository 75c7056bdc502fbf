create or replace view tidemill.pauses as
select p.kind, case when p.kind <> 'all' then p.name end as name, p.paused_at, p.paused_by, p.acts_as, p.reason
from tidemill._pauses p;
comment on view tidemill.pauses is 'What is paused: tasks, named queues, everything.';
comment on column tidemill.pauses.kind is 'task, queue or all';
comment on column tidemill.pauses.name is 'Of the task or queue; NULL for all.';
comment on column tidemill.pauses.paused_by is 'The role that asked for it.';
comment on column tidemill.pauses.acts_as is 'For whom that session said that it acted: its setting tidemill.acts_as.';

create or replace view tidemill.acts as
select a.id, a.at, a.who, a.acts_as, a.application_name, a.what, a.subjects, a.subject_count, a.reason, a.before, a.after
from tidemill._acts a;
comment on view tidemill.acts is
  'Who changed jobs, queues, limits, actions, hypertables, workers or roles: a row for each call that changed something. Kept for 90 days.';
comment on column tidemill.acts.who is 'The role that called: its name at that time.';
comment on column tidemill.acts.acts_as is
  'For whom the session said that it acted: its setting tidemill.acts_as. A claim of the session, which nobody checks.';
comment on column tidemill.acts.what is 'The function that was called.';
comment on column tidemill.acts.subjects is
  'What was changed, as ids or names: the first 100. For a pause the kind and the name, for a role the role and the grantee.';
comment on column tidemill.acts.subject_count is 'How many were changed in all.';
comment on column tidemill.acts.before is
  'What was changed, as it was: of jobs the first ten, of actions what the call changed. Without payloads; of a config a hash.';
comment on column tidemill.acts.after is 'The same afterwards; NULL for what is gone.';

create or replace view tidemill.grants as
select case p.proname when 'add_action' then 'actions' else substr(p.proname, 5) end as role, g.grantee::regrole as grantee
from pg_proc p
cross join lateral aclexplode(p.proacl) g
where p.pronamespace = 'tidemill'::regnamespace
  and p.proname in ('_is_reader', '_is_producer', '_is_operator', '_is_worker', 'add_action')
  and g.grantee not in (0, p.proowner);
comment on view tidemill.grants is 'Which roles have which roles of tidemill.grant_role.';
comment on column tidemill.grants.role is 'reader, producer, operator, worker or actions';
comment on column tidemill.grants.grantee is 'The role of PostgreSQL.';
