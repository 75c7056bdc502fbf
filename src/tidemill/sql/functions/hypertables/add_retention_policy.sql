create or replace function tidemill.add_retention_policy(
  relation regclass,
  drop_after anycompatible default null,
  if_not_exists boolean default false,
  schedule_interval interval default null,
  initial_start timestamptz default null,
  timezone text default null,
  drop_created_before interval default null
) returns integer
language plpgsql set search_path = pg_catalog, pg_temp
as $$
begin
  if (drop_after is null) = (drop_created_before is null) then
    raise exception using errcode = '22023', message = 'need to specify one of "drop_after" or "drop_created_before"',
      hint = 'For instance drop_after => interval ''3 months''.';
  end if;
  return tidemill._add_policy('retention', relation,
    jsonb_strip_nulls(jsonb_build_object('drop_after', drop_after::text, 'drop_created_before', drop_created_before::text)),
    if_not_exists, coalesce(schedule_interval, '1 day'), initial_start, timezone);
end
$$;
comment on function tidemill.add_retention_policy is
$$Drops the chunks of a hypertable when they are old, on a schedule; returns the id of the action that does it.

relation             the hypertable
drop_after           chunks that end before now minus this interval are dropped; for a whole-number time, a number: chunks
                     that end before the newest time minus it
if_not_exists        true: where there is such a policy, a notice (a warning if it differs), and -1
schedule_interval    how often; default 1 day
initial_start        the first start; default now
timezone             of the schedule; default UTC
drop_created_before  instead of drop_after: chunks that were made before now minus this interval

Errors: TS001 no hypertable, 42501 not its owner, 42710 there is such a policy, 22023 no or two limits, or one that does
not fit the time. Behaviour follows TimescaleDB's function of that name.$$;

create or replace function tidemill._add_policy(
  kind text, relation regclass, limits jsonb, if_not_exists boolean, schedule_interval interval,
  initial_start timestamptz, timezone text
) returns integer
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  h tidemill._hypertables := tidemill._hypertable(relation);
  config constant jsonb := jsonb_build_object('hypertable_id', h.id) || limits;
  there record;
begin
  perform tidemill._check_owner(h.rows_table);
  perform tidemill._check_limit(h, l.value) from jsonb_each_text(limits) l
    where l.key in ('drop_after', 'compress_after', 'move_after');
  if (limits ->> 'drop_created_before')::interval < interval '0' then
    raise exception using errcode = '22023', message = 'drop_created_before lies ahead', hint = 'Give a positive interval.';
  end if;
  select p.* into there from tidemill._policy(kind, h.id) p;
  if there.id is not null then
    if not if_not_exists then
      raise exception using errcode = '42710', message = format('%s policy already exists for hypertable "%s"', kind, tidemill._bare_name(relation)),
        hint = format('Change it with alter_action(%s, ...), or give if_not_exists => true.', there.id);
    elsif there.config = config then
      raise notice '% policy already exists for hypertable "%", skipping', kind, tidemill._bare_name(relation);
    else
      raise warning '% policy already exists for hypertable "%"', kind, tidemill._bare_name(relation)
        using detail = format('Its config is %s.', there.config), hint = format('Change it with alter_action(%s, ...).', there.id);
    end if;
    return -1;
  end if;
  return tidemill.add_action(
    ('tidemill.policy_' || kind)::regproc, schedule_interval, config, initial_start => initial_start,
    fixed_schedule => initial_start is not null, timezone => timezone, 
    -- A name and the number of its action have 63 bytes together.
    name => tidemill._with_suffix(format('%s Policy of %s', initcap(kind), tidemill._qualified_name(relation))::name, '', 50),
    max_runtime => '0', retry_period => case kind when 'compression' then interval '1 hour' else interval '5 minutes' end);
end
$$;
comment on function tidemill._add_policy is 'Adds the action of a policy of this kind: chunks, compression, reorder, retention or tiering.';

create or replace function tidemill._policy(kind text, hypertable_id integer, out id integer, out config jsonb)
language sql stable set search_path = pg_catalog, pg_temp
as $$
  select a.id, a.config from tidemill.actions a
  -- With quotes or without, as the session has it.
  where to_regproc(a.routine) = to_regproc('tidemill.policy_' || _policy.kind)
    and a.config ->> 'hypertable_id' = _policy.hypertable_id::text
    -- Anybody may add an action with such a config.
    and pg_has_role(a.owner, (select c.relowner from tidemill._hypertables h join pg_class c on c.oid = h.rows_table
                              where h.id = _policy.hypertable_id), 'usage')
  order by a.id limit 1
$$;
comment on function tidemill._policy is 'The action that is a policy of this kind on a hypertable; NULL if there is none.';

create or replace function tidemill._check_limit(h tidemill._hypertables, given text) returns void
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
begin
  if h.time_type in ('int2'::regtype, 'int4'::regtype, 'int8'::regtype) then
    if given::bigint < 0 then
      raise exception using errcode = '22023', message = format('"%s" lies ahead', given), hint = 'Give a positive number.';
    end if;
  elsif not tidemill._has_unit(given) then
    raise exception using errcode = '22023', message = format('"%s" has no unit', given),
      hint = format('Write ''%1$s days'' or ''%1$s seconds''.', trim(given));
  elsif given::interval < interval '0' then
    raise exception using errcode = '22023', message = format('"%s" lies ahead', given), hint = 'Give a positive interval.';
  end if;
exception when invalid_text_representation or invalid_datetime_format or datetime_field_overflow then
  raise exception using errcode = '22023', message = format('"%s" does not fit a time of the type %s', given, h.time_type),
    hint = case when h.time_type in ('int2'::regtype, 'int4'::regtype, 'int8'::regtype) then 'Give a whole number.'
                else 'Give an interval, such as ''3 months''.' end;
end
$$;
comment on function tidemill._check_limit is 'Raises 22023 unless an age fits the time of a hypertable.';

create or replace function tidemill._older_than(h tidemill._hypertables, age text) returns text
language plpgsql stable set search_path = pg_catalog, pg_temp set datestyle = 'ISO' set timezone = 'UTC'
as $$
declare
  newest text;
begin
  if h.time_type in ('int2'::regtype, 'int4'::regtype, 'int8'::regtype) then
    -- There is no clock for it, so it counts from the newest row.
    execute format('select (max(%I)::numeric - %L)::text from %s', h.time_column, age, coalesce(h.view, h.rows_table)) into newest;
    return newest;
  end if;
  return (now() - age::interval)::text;
end
$$;
comment on function tidemill._older_than is 'The time that lies so far back, as text; NULL if a hypertable of whole numbers is empty.';
