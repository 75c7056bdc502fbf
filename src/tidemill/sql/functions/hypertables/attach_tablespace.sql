create or replace function tidemill.attach_tablespace(
  tablespace name, hypertable regclass, if_not_attached boolean default false
) returns void
language plpgsql set search_path = pg_catalog, pg_temp set lock_timeout = '5s'
as $$
declare
  h tidemill._hypertables := tidemill._to_lay_out(hypertable);
begin
  perform tidemill._check_tablespace(tablespace, (select r.relowner from pg_class r where r.oid = h.rows_table));
  if tablespace = any(h.tablespaces) then
    if not if_not_attached then
      raise exception using errcode = 'TS140',
        message = format('tablespace "%s" is already attached to hypertable "%s"', tablespace, tidemill._bare_name(hypertable)),
        hint = 'With if_not_attached => true this is a notice.';
    end if;
    raise notice 'tablespace "%" is already attached to hypertable "%", skipping', tablespace, tidemill._bare_name(hypertable);
    return;
  end if;
  h.tablespaces := h.tablespaces || tablespace;
  insert into tidemill._hypertable_requests (h, verb) values (h, 'lay out h');
  perform tidemill._note_hypertable_act(h, 'attach_tablespace', null, jsonb_build_object('tablespaces', h.tablespaces));
end
$$;
comment on function tidemill.attach_tablespace is
$$Has new chunks of a hypertable, with their indexes, made in a tablespace; in several by turns. Other chunks stay where
they are: see move_chunk.

tablespace       a tablespace in which the owner of the table may create
hypertable       the hypertable
if_not_attached  true: if it is attached already, only a notice says so

Errors: TS001 no hypertable, 42501 not its owner, or no right to the tablespace, 42704 no such tablespace, TS140 it is
attached, 22023 NULL, 55P03 the table was locked for 5 seconds. Behaviour follows TimescaleDB's function of that name.$$;
