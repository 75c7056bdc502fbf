create or replace function tidemill.check_history_retention(config jsonb) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  cap text;
  age text;
begin
  if config is null then
    raise exception using errcode = 'invalid_parameter_value',
      message = 'config cannot be NULL, and must contain drop_after';
  end if;
  foreach age in array array['drop_after', 'drop_acts_after'] loop
    if not tidemill._has_unit(config ->> age) then
      raise exception using errcode = 'invalid_parameter_value', message = format('%s is %s, which has no unit', age, config ->> age),
        hint = format('Write "%1$s days" or "%1$s seconds".', trim(config ->> age));
    end if;
  end loop;
  if (config ->> 'drop_after')::interval is null then
    raise exception using errcode = 'invalid_parameter_value',
      message = 'drop_after interval not provided';
  end if;
  perform (config ->> 'drop_acts_after')::interval;
  foreach cap in array array['max_successes_per_job', 'max_failures_per_job'] loop
    if config ->> cap is null then
      raise exception using errcode = 'invalid_parameter_value', message = cap || ' not provided';
    end if;
  end loop;
  foreach cap in array array['max_successes_per_job', 'max_failures_per_job'] loop
    if (config ->> cap)::integer < 10 then
      raise exception using errcode = 'invalid_parameter_value', message = cap || ' has to be at least 10';
    end if;
  end loop;
end
$$;
comment on function tidemill.check_history_retention is
$$Checks the config of the action that prunes the history: see tidemill.prune_action_history.

Errors: 22023 with a message that names the key, 22007 or 22P02 for a value that is no interval or integer.
Messages follow TimescaleDB.$$;
