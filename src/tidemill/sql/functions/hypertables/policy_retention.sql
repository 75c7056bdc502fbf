create or replace procedure tidemill.policy_retention(action_id integer, config jsonb)
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  h constant tidemill._hypertables := tidemill._policy_table(action_id, config);
  age constant text := config ->> 'drop_after';
  dropped bigint;
begin
  if h.id is null then
    return;
  end if;
  if age is null then
    select count(*) into dropped
      from tidemill.drop_chunks(h.rows_table, created_before => now() - (config ->> 'drop_created_before')::interval);
  else
    select count(*) into dropped from tidemill.drop_chunks(h.rows_table, older_than => tidemill._older_than(h, age));
  end if;
  raise notice '% chunks of % dropped', dropped, h.rows_table;
end
$$;
comment on procedure tidemill.policy_retention is
$$Drops the old chunks of a hypertable: what the action of add_retention_policy calls.

action_id  the action
config     hypertable_id, and drop_after or drop_created_before$$;

create or replace function tidemill._policy_table(action_id integer, config jsonb) returns tidemill._hypertables
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  h tidemill._hypertables;
begin
  select i.* into h from tidemill._hypertables i
    where i.id = (config ->> 'hypertable_id')::integer and exists (select from pg_class c where c.oid = i.rows_table);
  if not found then
    perform tidemill.delete_action(action_id);
    raise notice 'the hypertable is gone, and so is action %', action_id;
    perform tidemill._drop_remains(i) from tidemill._hypertables i where i.id = (config ->> 'hypertable_id')::integer;
  end if;
  return h;
end
$$;
comment on function tidemill._policy_table is
  'The hypertable that the config of a policy names; NULL if it is gone: then the policy is, too, and what packed rows it had.';

create or replace function tidemill._drop_remains(h tidemill._hypertables) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
begin
  if h.segments is not null and not exists (select from pg_class r where r.oid in (h.rows_table, h.view)) then
    perform tidemill._drop_segments(h);
  end if;
end
$$;
comment on function tidemill._drop_remains is 'Drops the segments of a hypertable that was dropped, and the functions made for it.';
