create or replace function tidemill.add_column(
  hypertable regclass, column_name name, data_type text, default_value text default null
) returns void
language plpgsql set search_path = pg_catalog, pg_temp set lock_timeout = '5s'
as $$
declare
  h tidemill._hypertables := tidemill._hypertable(hypertable);
  c record;
begin
  perform tidemill._check_owner_itself(h.rows_table, 'add a column to');
  perform tidemill._check_parts_of_column(h, column_name, data_type);
  h := tidemill._locked_whole(h);
  execute format('alter table %s add column %I %s default %L', h.rows_table, column_name, data_type, default_value);
  perform tidemill._note_hypertable_act(h, 'add_column', null, jsonb_build_object('column', column_name, 'type', data_type));
  if h.segments is null then
    return;
  end if;
  if exists (select from tidemill._not_packed_types(h.rows_table) n where n.name = column_name) then
    raise exception using errcode = '0A000', message = format('the column "%s" has a type that does not come back as it was', column_name),
      hint = 'Values of it cannot be packed: take another type.';
  end if;
  select k.* into c from tidemill._columns(h.rows_table) k where k.name = column_name;
  if default_value is null then
    -- A domain may refuse it.
    execute format('select null::%s', c.type);
  end if;
  execute format('alter table %s %s', h.segments,
    tidemill._segment_columns(c.name, c.type, c.collate_as, c.family, 'add column '));
  if c.family in ('word', 'text') then
    perform tidemill._keep_words_in_line(h.segments, column_name);
  end if;
  if default_value is not null then
    -- As PostgreSQL has it: rows that are there get the default, too.
    execute format('update %s set %I = array_fill(%L::%s, array[_rows])', h.segments, column_name, default_value,
      case c.family when 'text' then 'text' else c.type end);
  end if;
  perform tidemill._drop_time_functions(h);
  execute format('create or replace view %s with (security_invoker = true) as %s', h.view, tidemill._all_rows(h));
  perform tidemill._match_defaults(h);
  perform tidemill._create_unpack(h);
  perform tidemill._create_guard(h);
  perform tidemill._create_writes(h);
  perform tidemill._create_time_functions(h);
end
$$;
comment on function tidemill.add_column is
$$Adds a column to a hypertable, also where its rows are packed. Waits 5 seconds for the lock on it.

hypertable     the hypertable
column_name    the new column
data_type      its type, for instance 'numeric(10, 2)'; with its schema, unless that is pg_catalog: 'public.citext'
default_value  its default, as text; rows that are there get it, too. Default: NULL

Errors: TS001 no hypertable, 42501 not its owner, 42701 there is such a column, 42704 no such type, 42611 a name of
Tidemill's, 0A000 a type whose values cannot be packed, 2BP01 something depends on one of the functions beside the table,
25001 a transaction that may not see all there is, 55P03 it was locked for 5 seconds.$$;

create or replace function tidemill._check_parts_of_column(h tidemill._hypertables, column_name name, data_type text) returns void
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
begin
  if column_name in ('_place', '_chunk', '_first', '_last', '_rows', '_row') or strpos(column_name, '~') > 0 then
    raise exception using errcode = '42611', message = format('a column cannot be called "%s", as one of the segments may be', column_name),
      hint = 'Take another name.';
  end if;
  -- It stands in a statement, so it must be a type and nothing else.
  if data_type ~ '--|/[*]' then
    raise syntax_error;
  end if;
  perform data_type::regtype;
exception when undefined_object or invalid_schema_name or syntax_error then
  raise exception using errcode = '42704', message = format('data_type is not a type: "%s"', data_type),
    hint = 'Give a type alone, for instance numeric(10, 2); with its schema, unless that is pg_catalog.';
end
$$;
