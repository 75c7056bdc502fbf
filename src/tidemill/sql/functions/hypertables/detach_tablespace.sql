create or replace function tidemill.detach_tablespace(
  tablespace name, hypertable regclass default null, if_attached boolean default false
) returns integer
language plpgsql set search_path = pg_catalog, pg_temp set lock_timeout = '5s'
as $$
declare
  h tidemill._hypertables;
  relation regclass;
  n integer := 0;
begin
  if tablespace is null then
    raise exception using errcode = '22023', message = 'tablespace cannot be NULL', hint = 'show_tablespaces has those that are attached.';
  elsif hypertable is null then
    for relation in
      select i.rows_table from tidemill._hypertables i join pg_class r on r.oid = i.rows_table
      where tablespace = any(i.tablespaces) and pg_has_role(r.relowner, 'usage')
      order by i.id
    loop
      n := n + tidemill.detach_tablespace(tablespace, relation, true);
    end loop;
    return n;
  end if;
  h := tidemill._to_lay_out(hypertable);
  if tablespace <> all(h.tablespaces) then
    if not if_attached then
      raise exception using errcode = 'TS150',
        message = format('tablespace "%s" is not attached to hypertable "%s"', tablespace, tidemill._bare_name(hypertable)),
        hint = 'show_tablespaces has those that are attached. With if_attached => true this is a notice.';
    end if;
    raise notice 'tablespace "%" is not attached to hypertable "%", skipping', tablespace, tidemill._bare_name(hypertable);
    return 0;
  end if;
  h.tablespaces := array_remove(h.tablespaces, tablespace);
  insert into tidemill._hypertable_requests (h, verb) values (h, 'lay out h');
  perform tidemill._note_hypertable_act(h, 'detach_tablespace', jsonb_build_object('tablespaces', h.tablespaces || tablespace),
    jsonb_build_object('tablespaces', h.tablespaces));
  return 1;
end
$$;
comment on function tidemill.detach_tablespace is
$$Has no more chunks made in a tablespace. Chunks that are there stay. Returns from how many hypertables it was detached.

tablespace   the tablespace
hypertable   the hypertable; NULL (default): all that the caller owns
if_attached  true: if it is not attached to this one, only a notice says so

Errors: TS001 no hypertable, 42501 not its owner, TS150 it is not attached, 22023 NULL, 55P03 the table was locked for 5
seconds. Behaviour follows TimescaleDB's function of that name.$$;
