create or replace function tidemill.check_history_retention(config jsonb) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  cap text;
begin
  if config is null then
    raise exception using errcode = 'invalid_parameter_value',
      message = 'config cannot be NULL, and must contain drop_after';
  end if;
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
