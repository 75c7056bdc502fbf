-- The rules for a job's arguments: _job_fits checks them, _refuse_job raises the error that explains.
-- The errors keep the names of constraints that the table had: users may ask for them.

create or replace function tidemill._refuse_job(
  identifier text, queue_name text, max_attempts integer, job_key text, priority integer, flags text[],
  place text default ''
) returns void
language plpgsql immutable
as $$
begin
  if identifier is null then
    raise exception using errcode = 'not_null_violation',
      message = format('identifier must not be null%s', place),
      hint = 'Name the task that a worker shall run.',
      schema = 'tidemill', table = '_tasks', column = 'identifier';
  elsif length(identifier) > 128 then
    raise exception using errcode = 'check_violation',
      message = format('identifier has %s characters, at most 128 are allowed%s: "%s..."',
                       length(identifier), place, left(identifier, 40)),
      hint = 'Use a shorter task name.',
      schema = 'tidemill', table = '_tasks', constraint = 'tasks_identifier_check';
  elsif length(queue_name) > 128 then
    raise exception using errcode = 'check_violation',
      message = format('queue_name has %s characters, at most 128 are allowed%s: "%s..."',
                       length(queue_name), place, left(queue_name, 40)),
      hint = 'Use a shorter queue name, for instance a hash of the long one.',
      schema = 'tidemill', table = '_queues', constraint = 'job_queues_queue_name_check';
  elsif length(job_key) not between 1 and 512 then
    raise exception using errcode = 'check_violation',
      message = format('job_key has %s characters, 1 to 512 are allowed%s: "%s"',
                       length(job_key), place, left(job_key, 40)),
      hint = 'Use NULL for a job without a key, or a hash of a long key.',
      schema = 'tidemill', table = '_jobs', constraint = 'jobs_key_check';
  elsif max_attempts not between -32768 and 32767 then
    raise exception using errcode = 'numeric_value_out_of_range',
      message = format('max_attempts %s is out of range%s', max_attempts, place),
      hint = 'Use 1 to 32767.';
  elsif max_attempts < 1 then
    raise exception using errcode = 'check_violation',
      message = format('max_attempts %s is below 1%s', max_attempts, place),
      hint = 'Use 1 for a job that is never retried.',
      schema = 'tidemill', table = '_jobs', constraint = 'jobs_max_attempts_check';
  elsif priority not between -32768 and 32767 then
    raise exception using errcode = 'numeric_value_out_of_range',
      message = format('priority %s is out of range%s', priority, place),
      hint = 'Use -32768 to 32767; smaller runs first.';
  elsif array_ndims(flags) > 1 then
    raise exception using errcode = 'invalid_parameter_value',
      message = format('flags has %s dimensions, 1 is allowed%s', array_ndims(flags), place),
      hint = 'Give a plain list of flags.';
  elsif array_position(flags, null) is not null then
    raise exception using errcode = 'invalid_parameter_value',
      message = format('flags must not contain null%s', place),
      hint = 'Leave the null out of the array.';
  elsif cardinality(flags) > 100 then
    raise exception using errcode = 'invalid_parameter_value',
      message = format('flags has %s entries, at most 100 are allowed%s', cardinality(flags), place),
      hint = 'Flags say which workers leave a job alone; what belongs to one job belongs into its payload.';
  elsif not tidemill._flags_fit(flags) then
    raise exception using errcode = 'invalid_parameter_value',
      message = (select format('flags has one of %s characters, at most 128 are allowed%s: "%s..."',
                               length(f), place, left(f, 40))
                 from unnest(flags) f where length(f) > 128 limit 1),
      hint = 'Use a shorter flag.';
  end if;
end
$$;

create or replace function tidemill._job_fits(
  identifier text, queue_name text, max_attempts integer, job_key text, priority integer, flags text[]
) returns boolean
language sql immutable
as $$
  select identifier is not null
    and length(identifier) <= 128
    and (queue_name is null or length(queue_name) <= 128)
    and (max_attempts is null or max_attempts between 1 and 32767)
    and (job_key is null or length(job_key) between 1 and 512)
    and (priority is null or priority between -32768 and 32767)
    and (flags is null or tidemill._flags_fit(flags))
$$;

-- In PL/pgSQL, so that _job_fits has no subquery, and PostgreSQL inlines it.
create or replace function tidemill._flags_fit(flags text[]) returns boolean
language plpgsql immutable
as $$
begin
  -- A claim compares each flag of a job with each one that its worker leaves alone.
  return array_ndims(flags) > 1 is not true and array_position(flags, null) is null
    and cardinality(flags) <= 100
    and not exists (select from unnest(flags) f where length(f) > 128);
end
$$;

create or replace function tidemill._check_job_key_mode(job_key_mode text, place text) returns void
language plpgsql immutable
as $$
begin
  if job_key_mode not in ('replace', 'preserve_run_at', 'unsafe_dedupe') then
    raise exception using errcode = 'GWBKM',
      message = format('job_key_mode "%s" is unknown%s', left(job_key_mode, 128), place),
      hint = 'Use replace, preserve_run_at or unsafe_dedupe.';
  end if;
end
$$;

-- In PL/pgSQL for its kept plans: see _job_row.
create or replace function tidemill._normal_flags(flags text[]) returns text[]
language plpgsql immutable strict
as $$
begin
  return case when cardinality(flags) > 0
    then array(select distinct f from unnest(flags) f order by f) end;
end
$$;
comment on function tidemill._normal_flags is 'The flags sorted and without repeats; NULL if there are none.';
