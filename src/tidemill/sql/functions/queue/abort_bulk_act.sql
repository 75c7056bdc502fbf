create or replace function tidemill.abort_bulk_act(bulk_act_id bigint) returns boolean
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  ended boolean;
begin
  insert into tidemill._operator_requests as q (verb, ids) values ('abort_bulk_act', array[bulk_act_id])
    returning q.changed into ended;
  return ended;
end
$$;
comment on function tidemill.abort_bulk_act is
$$Ends a bulk act after the batch in work; what it has changed stays so. Returns false if it had ended.

bulk_act_id  what tidemill.begin_bulk_act has returned

Errors: 42704 an unknown id.$$;

create or replace function tidemill._abort_bulk_act(who name, bulk_act_id bigint) returns boolean
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  b constant tidemill._bulk_acts := tidemill._locked_bulk_act(bulk_act_id);
begin
  update tidemill._bulk_acts a set state = 'aborted', finished_at = clock_timestamp()
    where a.id = b.id and a.state in ('planned', 'running');
  if not found then
    return false;
  end if;
  perform tidemill._note_act(who, 'abort_bulk_act', array[b.id::text], 1);
  return true;
end
$$;
