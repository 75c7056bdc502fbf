-- Being in control: pauses, who did what, and the stop of a single worker.

create table tidemill._pauses (
  kind text not null,
  name text not null,
  paused_at timestamptz not null default clock_timestamp(),
  paused_by text not null,
  acts_as text,
  reason text,
  primary key (kind, name),
  constraint pauses_kind_check check (kind in ('task', 'queue', 'all'))
);
comment on table tidemill._pauses is 'What is paused. Private: read the view tidemill.pauses.';
comment on column tidemill._pauses.name is 'Of the task or queue; empty for all.';

-- What a claim reads: it finds the rows of its tasks and queues anyhow.
alter table tidemill._tasks add column paused_at timestamptz;
comment on column tidemill._tasks.paused_at is
  'Since when no job of the task starts, for its own pause or for that of everything: see tidemill._pauses.';
alter table tidemill._queues add column paused_at timestamptz;
comment on column tidemill._queues.paused_at is 'Since when no job of the queue starts: see tidemill._pauses.';
-- It is there beforehand: an insert would wait for others that insert it.
insert into tidemill._locks values ('pauses') on conflict do nothing;

create table tidemill._acts (
  id bigint generated always as identity primary key,
  at timestamptz not null default clock_timestamp(),
  xact xid8 not null default pg_current_xact_id(),
  who text not null,
  acts_as text,
  application_name text,
  what text not null,
  subjects text[] not null,
  subject_count bigint not null,
  reason text,
  before jsonb,
  after jsonb
);
comment on table tidemill._acts is 'Who did what. Private: read the view tidemill.acts.';
comment on column tidemill._acts.xact is 'By it a call that works in steps finds its own row again.';
create index _acts_at on tidemill._acts (at);

alter table tidemill._workers add column stop_asked text;
comment on column tidemill._workers.stop_asked is 'Who asked it to stop, and why; NULL: nobody did.';

drop function if exists tidemill._grant_actions_again();

-- It returns the action as it was, too.
drop function if exists tidemill._apply_alteration(
  regrole, tidemill._actions, oid, jsonb, timestamptz, boolean, text, timestamptz);
