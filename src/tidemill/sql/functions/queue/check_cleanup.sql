create or replace function tidemill.check_cleanup(config jsonb) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  failed_after constant text := config ->> 'failed_after';
  told constant text := left(failed_after, 128);
  unknown text;
begin
  if config is not null and jsonb_typeof(config) <> 'object' then
    raise exception using errcode = 'invalid_parameter_value', message = 'config is no object',
      hint = 'Use for instance {"failed_after": "30 days", "queues": true}.';
  end if;
  select k into unknown from jsonb_object_keys(coalesce(config, '{}')) k where k not in ('failed_after', 'queues') limit 1;
  if unknown is not null then
    raise exception using errcode = 'invalid_parameter_value', message = format('config has an unknown key: %s', left(unknown, 128)),
      hint = 'Known are failed_after and queues.';
  end if;
  if not tidemill._has_unit(failed_after) then
    raise exception using errcode = 'invalid_parameter_value', message = format('failed_after is %s, which has no unit', told),
      hint = format('Write "%1$s days" or "%1$s seconds".', trim(told));
  end if;
  if failed_after::interval < interval '0' then
    raise exception using errcode = 'invalid_parameter_value',
      message = format('failed_after is %s, which lies ahead', told), hint = 'Use for instance 30 days.';
  end if;
  begin
    perform now() - failed_after::interval;
  exception when datetime_field_overflow then
    raise exception using errcode = 'invalid_parameter_value',
      message = format('failed_after is %s, which is longer ago than any date', told),
      hint = 'Use for instance 30 days, or null to keep these jobs.';
  end;
  if config ? 'queues' and jsonb_typeof(config -> 'queues') <> 'boolean' then
    raise exception using errcode = 'invalid_parameter_value', message = format('queues is %s', left((config -> 'queues')::text, 128)),
      hint = 'It is true or false.';
  end if;
end
$$;
comment on function tidemill.check_cleanup is
$$Checks the config of tidemill.cleanup, for an action that runs it.

Errors: 22023 with a message that names the key, 22007 for a value that is no interval.$$;
