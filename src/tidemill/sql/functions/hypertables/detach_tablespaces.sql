create or replace function tidemill.detach_tablespaces(hypertable regclass) returns integer
language plpgsql set search_path = pg_catalog, pg_temp set lock_timeout = '5s'
as $$
declare
  h tidemill._hypertables := tidemill._to_lay_out(hypertable);
  n constant integer := cardinality(h.tablespaces);
begin
  if n > 0 then
    perform tidemill._note_hypertable_act(h, 'detach_tablespaces', jsonb_build_object('tablespaces', h.tablespaces));
  end if;
  h.tablespaces := '{}';
  insert into tidemill._hypertable_requests (h, verb) values (h, 'lay out h');
  return n;
end
$$;
comment on function tidemill.detach_tablespaces is
$$Detaches all tablespaces of a hypertable, and returns their number. New chunks go where the default partition is.

hypertable  the hypertable

Errors: TS001 no hypertable, 42501 not its owner, 22023 NULL, 55P03 the table was locked for 5 seconds. Behaviour follows
TimescaleDB's function of that name.$$;
