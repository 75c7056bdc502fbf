alter table tidemill._jobs add cancelled_after smallint;
comment on column tidemill._jobs.cancelled_after is
  'How many attempts a cancelled job had begun; NULL: not cancelled. Its attempts are max_attempts, so that no claim finds it.';

-- The one that is laid instead has one more parameter, with a default: older workers call it, too.
drop function if exists tidemill._fail_jobs(text, bigint[], bigint[], text[], interval[], boolean[], text[]);
