-- The least interval is a second now. Shorter ones kept workers from everything else.
update tidemill._actions set schedule_interval = '1 second' where schedule_interval < '1 second';

alter table tidemill._action_states add column must_run boolean not null default false;
comment on column tidemill._action_states.must_run is
  'next_start was asked for, or repeats a run that the worker''s stop ended: it is no slot that can be missed.';

-- By it owners of routines take turns: when the last run of each one began.
create index _action_runs_turns on tidemill._action_runs (owner, started_at)
  where task is null and not by_hand and outcome is distinct from 'skipped';
