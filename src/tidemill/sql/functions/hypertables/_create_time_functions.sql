-- What a view cannot do: a condition on the time of rows is not known to be one on the bounds of their segment. These
-- functions ask for both. Their bodies are parsed when they are made, so no search path is theirs, and the planner sees
-- through them.

create or replace function tidemill._create_time_functions(h tidemill._hypertables) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  at constant text := quote_ident(h.time_column);
  columns constant text := (select string_agg(quote_ident(c.name), ', ') from tidemill._columns(h.rows_table) c);
  rows constant text := (select string_agg(format('%I %s', c.name, c.plain_type), ', ') from tidemill._columns(h.rows_table) c);
  keys constant text := (select string_agg(format('%s %s', quote_ident(c.name), c.plain_type), ', ' order by k.i)
    from unnest(h.segmentby) with ordinality k(name, i) join tidemill._columns(h.rows_table) c using (name));
  by_key constant text := coalesce((select 'where ' || string_agg(format('k.%I = $%s', k.name, k.i), ' and ')
    from unnest(h.segmentby) with ordinality k(name, i)), '');
  recent constant text := (select case h.time_type
    when 'timestamptz'::regtype then 'now() - $1' when 'timestamp'::regtype then 'localtimestamp - $1'
    when 'date'::regtype then '(current_date - $1)::date' end);
begin
  perform tidemill._create_time_function(h, 'between', format('"from" %1$s, "to" %1$s', h.time_type), rows, 1000,
    format('select %1$s from %2$s k where k.%3$s >= $1 and k.%3$s < $2 union all select * from (%4$s) k where k.%3$s >= $1 and k.%3$s < $2',
      columns, h.rows_table, at, tidemill._decoded(h, tidemill._segments_where(h, '_last >= $1 and _first < $2'))),
    'All rows whose time is from the first one on and before the second, packed or not.');
  if recent is not null then
    perform tidemill._create_time_function(h, 'recent', 'age interval', rows, 1000,
      format('select %1$s from %2$s k where k.%3$s >= %5$s union all select * from (%4$s) k where k.%3$s >= %5$s',
        columns, h.rows_table, at, tidemill._decoded(h, tidemill._segments_where(h, '_last >= ' || recent)), recent),
      'All rows that are at most so old, packed or not.');
  end if;
  perform tidemill._create_time_function(h, 'latest', coalesce(keys, ''), rows, 1,
    format('select * from ((select %1$s from %2$s k %5$s order by k.%3$s desc limit 1) union all'
      ' (select * from (%4$s) k order by k.%3$s desc limit 1)) k order by k.%3$s desc limit 1',
      columns, h.rows_table, at,
      tidemill._decoded(h, format('(select * from %s k %s order by k._last desc limit 1) k', h.segments, by_key)), by_key),
    'The newest row' || case when keys is null then '' else ' with these values' end || ', packed or not.');
end
$$;
comment on function tidemill._create_time_functions is 'Creates the functions between, recent and latest beside a hypertable.';

create or replace function tidemill._create_time_function(
  h tidemill._hypertables, suffix text, arguments text, rows text, about integer, body text, told text) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  shown constant regclass := case when h.is_transparent then h.view else h.rows_table end;
  place oid;
  made_name name;
  made text;
  strange record;
begin
  select r.relnamespace, tidemill._with_suffix(r.relname, '_' || suffix) into place, made_name from pg_class r where r.oid = shown;
  -- Readers of the table would call it for ours.
  select p.oid::regprocedure as id, p.proowner::regrole as owner into strange
    from pg_proc p join pg_class r on r.oid = h.rows_table
    where p.pronamespace = place and p.proname = made_name and p.proowner <> r.relowner limit 1;
  if found then
    raise exception using errcode = '42723',
      message = format('the function %s belongs to %s, and would be taken for one of hypertable "%s"', strange.id, strange.owner, shown),
      hint = format('Let %s drop or rename it.', strange.owner);
  end if;
  made := format('%s.%I(%s)', place::regnamespace, made_name, arguments);
  begin
    execute format('create function %s returns table (%s) language sql stable rows %s begin atomic %s; end', made, rows, about, body);
    execute format('comment on function %s is %L', made, told || ' Made by Tidemill with ' || shown::text || '.');
  exception when duplicate_function then
    raise warning 'there is a function % already, so none is made of that name', made;
  end;
end
$$;
comment on function tidemill._create_time_function is
  'Creates one of them, unless the owner has one of its name. Error: 42723 somebody else has.';

create or replace function tidemill._drop_time_functions(h tidemill._hypertables) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  made regprocedure;
begin
  -- Functions of others, and of the owner's own, may read the segments, too.
  for made in
    select p.oid from pg_proc p join pg_class r on r.oid = case when h.is_transparent then h.view else h.rows_table end
    where p.pronamespace = r.relnamespace and p.proowner = r.relowner
      and p.proname ~ '_(between|recent|latest)$' and strpos(obj_description(p.oid, 'pg_proc'), ' Made by Tidemill with ') > 0
      and exists (select from pg_depend d where d.classid = 'pg_proc'::regclass and d.objid = p.oid
                  and d.refclassid = 'pg_class'::regclass and d.refobjid = h.segments)
  loop
    execute format('drop function %s', made);
  end loop;
end
$$;
comment on function tidemill._drop_time_functions is 'Drops the functions between, recent and latest of a hypertable.';
