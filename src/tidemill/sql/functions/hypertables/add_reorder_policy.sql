create or replace function tidemill.add_reorder_policy(
  hypertable regclass,
  index_name name,
  if_not_exists boolean default false,
  initial_start timestamptz default null,
  timezone text default null
) returns integer
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  h constant tidemill._hypertables := tidemill._hypertable(hypertable);
begin
  perform tidemill._reorder_index(h, index_name);
  return tidemill._add_policy('reorder', hypertable, jsonb_build_object('index_name', index_name), if_not_exists,
    case when h.time_type in ('int2'::regtype, 'int4'::regtype, 'int8'::regtype) then '4 days'
      else greatest(interval '1 second', h.chunk_width / 2 * interval '1 microsecond') end,
    initial_start, timezone);
end
$$;
comment on function tidemill.add_reorder_policy is
$$Orders the chunks of a hypertable by an index, each once, on a schedule; returns the id of the action that does it. The
three newest chunks that have begun, and compressed ones, are left as they are.

hypertable     the hypertable
index_name     the name of one of its indexes
if_not_exists  true: where there is such a policy, a notice (a warning if it differs), and -1
initial_start  the first start; default now
timezone       of the schedule; default UTC

It runs every half chunk (for a whole-number time, every 4 days); alter_action changes that. Errors: TS001 no hypertable,
42704 no such index, or rows cannot be ordered by it, 42501 not its owner, 42710 there is such a policy. Behaviour follows
TimescaleDB's function of that name.$$;

create or replace function tidemill._reorder_index(h tidemill._hypertables, index_name name) returns regclass
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
declare
  index constant regclass := (
    select i.indexrelid from pg_index i join pg_class k on k.oid = i.indexrelid
    where i.indrelid = h.rows_table and k.relname = index_name);
begin
  if index is null or not tidemill._can_order(index) then
    raise exception using errcode = '42704',
      message = format('"%s" is not an index that hypertable "%s" can be ordered by', index_name, tidemill._bare_name(h.rows_table)),
      hint = 'Name a btree or GiST index of the hypertable, without WHERE.';
  end if;
  return index;
end
$$;
comment on function tidemill._reorder_index is 'The index of a hypertable with this name. Error: 42704 there is none to order by.';
