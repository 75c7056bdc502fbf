-- Tablespaces of hypertables: which may be used, and the list of those that new chunks go to in turn.

create or replace function tidemill._check_tablespace(tablespace name, holder regrole) returns void
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
declare
  id constant oid := (select s.oid from pg_tablespace s where s.spcname = tablespace);
begin
  if tablespace is null then
    raise exception using errcode = '22023', message = 'tablespace cannot be NULL', hint = 'Name a tablespace, such as pg_default.';
  elsif id is null then
    raise exception using errcode = '42704', message = format('tablespace "%s" does not exist', tablespace),
      hint = 'Those there are: SELECT spcname FROM pg_tablespace. One that is gone is left out by detach_tablespace.';
  elsif tablespace = 'pg_global' then
    raise exception using errcode = '22023', message = 'tablespace "pg_global" is for the tables that all databases share',
      hint = 'Use another, such as pg_default.';
  elsif id <> (select d.dattablespace from pg_database d where d.datname = current_database())
    and not has_tablespace_privilege(holder, id, 'create')
  then
    raise exception using errcode = '42501',
      message = format('permission denied for tablespace "%s" by table owner "%s"', tablespace, pg_get_userbyid(holder)),
      hint = format('Let an administrator run: GRANT CREATE ON TABLESPACE %I TO %s', tablespace, holder);
  end if;
end
$$;
comment on function tidemill._check_tablespace is
  'Raises an error unless a role can keep tables in a tablespace: 22023 for none, or pg_global, 42704 unknown, 42501 no right.';

create or replace function tidemill._to_lay_out(hypertable regclass) returns tidemill._hypertables
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  h tidemill._hypertables;
begin
  if hypertable is null then
    raise exception using errcode = '22023', message = 'invalid hypertable', hint = 'Name a hypertable.';
  end if;
  h := tidemill._hypertable(hypertable);
  perform tidemill._check_owner(h.rows_table);
  perform tidemill._expect_read_committed();
  -- One session at a time changes it, or makes or drops chunks.
  perform tidemill._lock_table(h.rows_table, 'share update exclusive');
  return tidemill._hypertable(hypertable);
end
$$;
comment on function tidemill._to_lay_out is 'A hypertable whose next chunks nobody else changes until the transaction ends.';
