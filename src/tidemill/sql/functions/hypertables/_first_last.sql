-- What the aggregates first and last are made of. No state can hold a value of any type beside a time, so the usual
-- types have states of their own, and all others are kept as texts.

do $do$
declare
  s record;
  direction record;
  -- Times without a zone are kept as if they were UTC: their order is what counts.
  taken_time record;
begin
  for s in
    select format('tidemill.%I', t.typname) as state, format_type(v.atttypid, null) as value,
           format_type(a.atttypid, null) as at, t.typname
    from pg_type t
    join pg_attribute v on v.attrelid = t.typrelid and v.attname = 'value'
    join pg_attribute a on a.attrelid = t.typrelid and a.attname = 'at'
    where t.typnamespace = 'tidemill'::regnamespace and t.typname ~ '^_(timed|numbered)_'
  loop
    for direction in select * from (values ('first', '>='), ('last', '<=')) d (name, stays) loop
      for taken_time in
        select * from (values
          ('timestamptz', 'timestamp with time zone', '"time"'),
          ('timestamp', 'timestamp with time zone', 'pg_catalog.timezone(''UTC'', "time")'),
          ('bigint', 'bigint', '"time"')) t (type, kept, expression)
        where t.kept = s.at
      loop
        -- A state that is NULL has no time, so the first row is taken.
        if s.typname <> '_numbered_text' then
          execute format($create$
            create or replace function tidemill._%1$s_step(state %2$s, value %3$s, "time" %4$s) returns %2$s
            language plpgsql immutable parallel safe
            as $step$
            begin
              if "time" is null or %5$s operator(pg_catalog.%6$s) state.at then
                return state;
              end if;
              return row(value, %5$s);
            end
            $step$$create$,
            direction.name, s.state, s.value, taken_time.type, taken_time.expression, direction.stays);
          execute format('comment on function tidemill._%s_step(%s, %s, %s) is %L',
            direction.name, s.state, s.value, taken_time.type, 'Looks at one row.');
        end if;
        if s.value = 'text' then
          execute format($create$
            create or replace function tidemill._%1$s_step_of_any(state %2$s, value anyelement, "time" %3$s) returns %2$s
            language plpgsql stable parallel safe
            -- So that each text can be read again as the same value.
            set search_path = pg_catalog, pg_temp set datestyle = 'ISO, YMD' set intervalstyle = 'postgres' set extra_float_digits = 1
            as $step$
            begin
              if "time" is null or %4$s operator(pg_catalog.%5$s) state.at then
                return state;
              end if;
              return row(value::text, %4$s);
            end
            $step$$create$,
            direction.name, s.state, taken_time.type, taken_time.expression, direction.stays);
          execute format('comment on function tidemill._%s_step_of_any(%s, anyelement, %s) is %L',
            direction.name, s.state, taken_time.type, 'Looks at one row, whose value it keeps as a text.');
          execute format($create$
            create or replace function tidemill._picked_of_any(state %1$s, value anyelement, "time" %2$s) returns anyelement
            language plpgsql stable parallel safe
            set search_path = pg_catalog, pg_temp set datestyle = 'ISO, YMD' set intervalstyle = 'postgres' set extra_float_digits = 1
            as $picked$
            begin
              -- The value is NULL here, and has the type.
              value := state.value;
              return value;
            end
            $picked$$create$,
            s.state, taken_time.type);
          execute format('comment on function tidemill._picked_of_any(%s, anyelement, %s) is %L',
            s.state, taken_time.type, 'The value of the row that was picked, in its own type.');
        end if;
      end loop;
      execute format($create$
        create or replace function tidemill._%1$s_merge(state %2$s, other %2$s) returns %2$s
        language plpgsql immutable parallel safe
        as $merge$
        begin
          if other.at is null or other.at operator(pg_catalog.%3$s) state.at then
            return state;
          end if;
          return other;
        end
        $merge$$create$,
        direction.name, s.state, direction.stays);
      execute format('comment on function tidemill._%s_merge(%s, %s) is %L',
        direction.name, s.state, s.state, 'Puts together what two parallel workers have picked.');
    end loop;
    execute format('create or replace function tidemill._picked(state %s) returns %s language sql immutable parallel safe return (state).value',
      s.state, s.value);
    execute format('comment on function tidemill._picked(%s) is %L', s.state, 'The value of the row that was picked.');
  end loop;
end
$do$;

create or replace function tidemill._create_pick(which text, definition text, description text) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  s record;
  taken_time text;
  signature text;
begin
  for s in
    select format('tidemill.%I', t.typname) as state, format_type(v.atttypid, null) as value, a.atttypid::regtype::text as at
    from pg_type t
    join pg_attribute v on v.attrelid = t.typrelid and v.attname = 'value'
    join pg_attribute a on a.attrelid = t.typrelid and a.attname = 'at'
    where t.typnamespace = 'tidemill'::regnamespace and t.typname ~ '^_(timed|numbered)_'
  loop
    foreach taken_time in array case s.at when 'bigint' then array['bigint'] else array['timestamptz', 'timestamp'] end loop
      if s.at <> 'bigint' then
        execute format(definition, s.value, taken_time, s.state, '', '_picked', '');
        signature := format('tidemill.%I(%s, %s)', which, s.value, taken_time);
        execute format('comment on aggregate %s is %L', signature, description);
      end if;
      if s.value = 'text' then
        execute format(definition, 'anyelement', taken_time, s.state, '_of_any', '_picked_of_any', 'finalfunc_extra,');
        signature := format('tidemill.%I(anyelement, %s)', which, taken_time);
        execute format('comment on aggregate %s is %L', signature, description);
      end if;
    end loop;
  end loop;
end
$$;
comment on function tidemill._create_pick is 'Creates first or last for all types, by the definition of one.';
