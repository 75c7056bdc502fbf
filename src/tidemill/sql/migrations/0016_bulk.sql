-- Bulk acts: changes of many jobs that pass a filter, carried out in batches.

create table tidemill._bulk_acts (
  id bigint generated always as identity primary key,
  act text not null,
  filter jsonb not null,
  options jsonb not null,
  state text not null default 'planned',
  asked_by text not null,
  application_name text,
  created_at timestamptz not null default clock_timestamp(),
  cutoff timestamptz not null,
  first_id bigint not null,
  last_id bigint not null,
  reached_id bigint not null,
  matching integer not null,
  changed bigint not null default 0,
  passed_over jsonb not null default '{}',
  started_at timestamptz,
  moved_at timestamptz,
  finished_at timestamptz,
  constraint bulk_acts_act_check check (act in ('retry', 'cancel', 'remove', 'reschedule')),
  constraint bulk_acts_state_check check (state in ('planned', 'running', 'done', 'aborted'))
);
comment on table tidemill._bulk_acts is 'Changes of many jobs by a filter. Private: read the view tidemill.bulk_acts.';
comment on column tidemill._bulk_acts.cutoff is 'Jobs that were added or changed after it are not taken.';
comment on column tidemill._bulk_acts.reached_id is 'Jobs up to this id have had their turn.';
comment on column tidemill._bulk_acts.passed_over is 'For each reason: how many jobs, and the ids of the first.';
