-- Uniqueness against packed rows. A trigger on each packed chunk's partition brings a segment back before a row comes in
-- that has the time of one of its rows. Then PostgreSQL's own index answers. Other chunks pay nothing.

create or replace function tidemill._create_guard(h tidemill._hypertables) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  -- The first argument is the chunk's number, the second one is new with each packing.
  body constant text := format($guard$
declare
  segment record;
  meets boolean := false;
  is_taken boolean;
begin
  if tg_op = 'UPDATE' and new *= old or exists (select from %1$s s where s._chunk = - tg_argv[0]::integer) then
    return new;
  end if;
  if not exists (select from pg_trigger t where t.tgrelid = tg_relid and t.tgname = tg_name
                 and position(tg_argv[1]::bytea in t.tgargs) > 0) then
    -- A snapshot of before does not show what is packed.
    raise exception using errcode = '40001', message = 'the chunk was packed since this transaction began',
      hint = 'Try the transaction again.';
  end if;
  for segment in
    select s.tableoid as source, s.ctid as place, s._rows as rows from %1$s s
    where s._chunk = tg_argv[0]::integer and s._first <= new.%2$I and s._last >= new.%2$I and (%3$s)%4$s
    for update
  loop
    perform %5$s(tg_relid::regclass, segment.source, segment.place, segment.rows);
    meets := true;
  end loop;
  if meets and tg_op = 'INSERT'
    and current_setting('tidemill.upserting', true) = (select i.inhparent::text from pg_inherits i where i.inhrelid = tg_relid)
  then
    execute format(%6$L, tg_relid::regclass) into is_taken using new;
    if is_taken then
      -- PostgreSQL would call the row that came back one that this statement has made itself.
      raise exception using errcode = '55000',
        message = format('a row of %%s with this key is packed, and cannot be updated by the statement that inserts', tg_relid::regclass),
        hint = format('First: SELECT tidemill.decompress_chunk(%%L)', tg_relid::regclass);
    end if;
  end if;
  return new;
end
$guard$, h.segments, h.time_column, tidemill._holds(h, 's', format('new.%I', h.time_column)),
    (select coalesce(string_agg(format(' and s.%1$I = new.%1$I', s), ''), '') from unnest(tidemill._shared_segmentby(h)) s),
    format('%I.%I', h.chunks_schema, format('_hyper_%s_unpack', h.id)),
    'select exists (select from %s r where ' || coalesce((
      select replace(string_agg(format('r.%1$I %2$s ($1).%1$I', k, tidemill._equals(h.rows_table, k)), ' and '), '%', '%%')
      from unnest(tidemill._key(h.rows_table)) k), 'false') || ')');
begin
  if tidemill._guard_body(h) = body then
    return;
  end if;
  -- Sessions that pack other chunks replace the same function.
  execute format('lock table only %s in share update exclusive mode', h.segments);
  if tidemill._guard_body(h) = body then
    return;
  end if;
  execute format('create or replace function %s() returns trigger language plpgsql security definer'
                 ' set search_path = pg_catalog, pg_temp as %L', tidemill._guard_name(h), body);
  perform tidemill._revoke_from_others((tidemill._guard_name(h) || '()')::regprocedure);
end
$$;
comment on function tidemill._create_guard is
  'Creates the function of the triggers that guard the packed chunks of a hypertable, or replaces it if it is another by now.';

create or replace function tidemill._guard_body(h tidemill._hypertables) returns text
language sql volatile set search_path = pg_catalog, pg_temp
as $$ select p.prosrc from pg_proc p where p.oid = to_regprocedure(tidemill._guard_name(h) || '()') $$;
comment on function tidemill._guard_body is 'What the function of a hypertable''s guards does now; NULL if there is none.';

create or replace function tidemill._guard_name(h tidemill._hypertables) returns text
language sql immutable set search_path = pg_catalog, pg_temp
as $$ select format('%I.%I', h.chunks_schema, format('_hyper_%s_guard', h.id)) $$;

create or replace function tidemill._plain_segmentby(h tidemill._hypertables) returns name[]
language sql stable set search_path = pg_catalog, pg_temp
as $$
  select array(
    select s from unnest(h.segmentby) with ordinality u (s, place)
    where exists (
      -- Where a difference for one operator is none for another, or the value is not known before the insert, all are looked at.
      select from pg_attribute a join pg_type t on t.oid = a.atttypid left join pg_collation l on l.oid = a.attcollation
      where a.attrelid = h.rows_table and a.attname = s and a.attgenerated = ''
        and t.typnamespace = 'pg_catalog'::regnamespace and coalesce(l.collisdeterministic, true))
    order by place)
$$;
comment on function tidemill._plain_segmentby is 'The columns of segmentby whose values are known before an insert, and equal for all operators or for none.';

create or replace function tidemill._shared_segmentby(h tidemill._hypertables) returns name[]
language sql stable set search_path = pg_catalog, pg_temp
as $$
  select array(
    select s from unnest(tidemill._plain_segmentby(h)) with ordinality u (s, place)
    where not exists (
      select from pg_index i
      where i.indrelid = h.rows_table and (i.indisunique or i.indisexclusion)
        and (i.indnullsnotdistinct or i.indisexclusion or not exists (
          select from pg_attribute a
          where a.attrelid = h.rows_table and a.attname = s
            and a.attnum = any((i.indkey::smallint[])[0:i.indnkeyatts - 1]))))
    order by place)
$$;
comment on function tidemill._shared_segmentby is
  'The columns of segmentby that stand in every unique index: rows that differ there are never in conflict.';

create or replace function tidemill._guard(h tidemill._hypertables, c tidemill._chunks) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  late name;
begin
  if exists (select from pg_index i where i.indrelid = h.rows_table and (i.indisunique or i.indisexclusion)) then
    select t.tgname into late from pg_trigger t
      where t.tgrelid = c.relation and not t.tgisinternal and t.tgtype & 3 = 3 and t.tgtype & 20 > 0 and t.tgenabled <> 'D'
        and t.tgname::text collate "C" > '~tidemill_guard';
    if found then
      raise exception using errcode = '0A000', message = format('the trigger %I of %s would come behind the one that guards packed rows', late, c.relation),
        hint = format('Give it a name that begins with a letter of ASCII: ALTER TRIGGER %I ON %s RENAME TO ...', late, h.rows_table);
    end if;
    -- The indexes may be others by now.
    perform tidemill._create_guard(h);
    -- Its name comes behind those of the user's triggers, which may change the time.
    execute format('create or replace trigger "~tidemill_guard" before insert or update on %s for each row'
                   ' execute function %s(%s, %L)', c.relation, tidemill._guard_name(h), c.number, pg_current_xact_id());
    execute format('alter table %s enable trigger "~tidemill_guard"', c.relation);
  end if;
end
$$;
comment on function tidemill._guard is 'Guards a packed chunk, if its rows have to be unique. For after each packing.';
