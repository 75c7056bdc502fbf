-- Uniqueness against packed rows. A trigger on each packed chunk's partition brings a segment back before a row comes in
-- that has the time of one of its rows. Then PostgreSQL's own index answers. Other chunks pay nothing.

create or replace function tidemill._create_guard(h tidemill._hypertables) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  brings_back constant text := format(
    'with gone as (delete from %s s where s.ctid = $1 returning s.*)'
    ' insert into %%s (%s) overriding system value select %2$s from (%s) _rows',
    replace(h.segments::text, '%', '%%'), replace(tidemill._stored_columns(h.rows_table), '%', '%%'),
    replace(tidemill._decoded(h, 'gone'), '%', '%%'));
  -- The first argument is the chunk's number, the second one is new with each packing.
  body constant text := format($guard$
declare
  segment record;
  back bigint;
begin
  if tg_op = 'UPDATE' and new::text is not distinct from old::text
    or current_setting('tidemill.unpacking', true) = tg_relid::text
  then
    return new;
  end if;
  if not exists (select from pg_trigger t where t.tgrelid = tg_relid and t.tgname = tg_name
                 and position(tg_argv[1]::bytea in t.tgargs) > 0) then
    -- A snapshot of before does not show what is packed.
    raise exception using errcode = '40001', message = 'the chunk was packed since this transaction began',
      hint = 'Try the transaction again.';
  end if;
  for segment in
    select s.ctid as place, s._rows as rows from %1$s s
    where s._chunk = tg_argv[0]::integer and s._first <= new.%2$I and s._last >= new.%2$I and new.%2$I = any(s.%2$I)%3$s
    for update
  loop
    if exists (select from pg_trigger t where t.tgrelid = tg_relid and not t.tgisinternal and t.tgname <> tg_name
               and t.tgtype & 4 = 4 and t.tgenabled <> 'D') then
      raise exception using errcode = '55000',
        message = format('a row of %%s with this time is packed, and to look at it would fire triggers', tg_relid::regclass),
        hint = format('First: SELECT tidemill.decompress_chunk(%%L)', tg_relid::regclass);
    end if;
    perform set_config('tidemill.unpacking', tg_relid::text, true);
    execute format(%4$L, tg_relid::regclass) using segment.place;
    get diagnostics back = row_count;
    perform set_config('tidemill.unpacking', '', true);
    if back <> segment.rows then
      raise exception using errcode = 'data_corrupted', message = 'packed rows did not all come back';
    end if;
  end loop;
  return new;
end
$guard$, h.segments, h.time_column,
    (select coalesce(string_agg(format(' and s.%1$I = new.%1$I', s), ''), '') from unnest(tidemill._shared_segmentby(h)) s),
    brings_back);
begin
  execute format('create or replace function %s() returns trigger language plpgsql security definer'
                 ' set search_path = pg_catalog, pg_temp as %L', tidemill._guard_name(h), body);
  -- On a table of theirs, others would get the packed rows by it.
  execute format('revoke all on function %s() from public', tidemill._guard_name(h));
end
$$;
comment on function tidemill._create_guard is 'Creates the function of the triggers that guard the packed chunks of a hypertable.';

create or replace function tidemill._guard_name(h tidemill._hypertables) returns text
language sql immutable set search_path = pg_catalog, pg_temp
as $$ select format('%I.%I', h.chunks_schema, format('_hyper_%s_guard', h.id)) $$;

create or replace function tidemill._shared_segmentby(h tidemill._hypertables) returns name[]
language sql stable set search_path = pg_catalog, pg_temp
as $$
  select array(
    select s from unnest(h.segmentby) s
    where exists (
      -- Where a difference for one operator is none for another, or the value is not known before the insert, all are looked at.
      select from pg_attribute a join pg_type t on t.oid = a.atttypid left join pg_collation l on l.oid = a.attcollation
      where a.attrelid = h.rows_table and a.attname = s and a.attgenerated = ''
        and t.typnamespace = 'pg_catalog'::regnamespace and coalesce(l.collisdeterministic, true))
    and not exists (
      select from pg_index i
      where i.indrelid = h.rows_table and (i.indisunique or i.indisexclusion)
        and (i.indnullsnotdistinct or i.indisexclusion or not exists (
          select from pg_attribute a
          where a.attrelid = h.rows_table and a.attname = s
            and a.attnum = any((i.indkey::smallint[])[0:i.indnkeyatts - 1])))))
$$;
comment on function tidemill._shared_segmentby is
  'The columns of segmentby that stand in every unique index: rows that differ there are never in conflict.';

create or replace function tidemill._guard(h tidemill._hypertables, c tidemill._chunks) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
begin
  if exists (select from pg_index i where i.indrelid = h.rows_table and (i.indisunique or i.indisexclusion)) then
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
