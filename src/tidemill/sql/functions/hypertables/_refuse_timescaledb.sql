-- Where the extension TimescaleDB is installed, tables may be its hypertables. Those are for its own functions.

create or replace function tidemill._refuse_timescaledb(relation regclass) returns void
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
declare
  theirs constant regclass := tidemill._timescaledb_hypertable(relation);
  place constant regnamespace := (select e.extnamespace from pg_extension e where e.extname = 'timescaledb');
  context text;
  called text;
  remedy text;
begin
  if theirs is null then
    return;
  end if;
  -- The innermost public function is what is asked for: the first without an underscore.
  get diagnostics context = pg_context;
  called := (regexp_match(context, E'\\m"?tidemill"?\\."?([a-z]\\w*)"?\\('))[1];
  remedy := case
    when called = 'make_chunks' then 'There is nothing to call: its chunks are made by the INSERT.'
    when called = 'adopt_hypertable' then 'Copy its rows into a table of its shape, and call create_hypertable for that.'
    when called = 'enable_compression'
      then format('Run: ALTER TABLE %s SET (timescaledb.enable_columnstore, timescaledb.segmentby = ...)', theirs)
    when called = 'decompress_backfill' then format('Run: INSERT INTO %s SELECT ...; its packed chunks take rows.', theirs)
    when exists (select from pg_proc p where p.pronamespace = place and p.proname = called)
      then format('Call TimescaleDB''s own function: %s.%I', place, called)
    else 'Use TimescaleDB''s own functions.' end;
  raise exception using errcode = '42809',
    message = case relation when theirs then format('"%s" is a hypertable of TimescaleDB', relation)
      else format('"%s" is a chunk of "%s", a hypertable of TimescaleDB', relation, theirs) end,
    hint = remedy;
end
$$;
comment on function tidemill._refuse_timescaledb is
  'Raises 42809 for a hypertable or chunk of the extension TimescaleDB, and names the function that it has for the same.';

create or replace function tidemill._timescaledb_hypertable(relation regclass) returns regclass
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
declare
  theirs regclass;
begin
  -- Only what the extension itself has made: anybody may call a schema so.
  if not exists (
    select from pg_extension e
    join pg_depend d on d.refclassid = 'pg_extension'::regclass and d.refobjid = e.oid and d.deptype = 'e'
      and d.classid = 'pg_class'::regclass
    join pg_class t on t.oid = d.objid join pg_namespace n on n.oid = t.relnamespace
    where e.extname = 'timescaledb' and n.nspname = '_timescaledb_catalog' and t.relname = 'hypertable')
  then
    return null;
  end if;
  -- A chunk inherits from its table.
  execute 'select r.oid from _timescaledb_catalog.hypertable h'
    ' join pg_namespace n on n.nspname = h.schema_name join pg_class r on r.relnamespace = n.oid and r.relname = h.table_name'
    ' where r.oid = $1 or exists (select from pg_inherits i where i.inhrelid = $1 and i.inhparent = r.oid)'
    into theirs using relation;
  return theirs;
end
$$;
comment on function tidemill._timescaledb_hypertable is
  'The hypertable of the extension TimescaleDB that this is, or is a chunk of; NULL if it is none, or the extension is not there.';
