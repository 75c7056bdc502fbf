create or replace procedure tidemill.policy_chunks(action_id integer, config jsonb)
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  h constant tidemill._hypertables := tidemill._policy_table(action_id, config);
begin
  if h.id is null then
    return;
  end if;
  raise notice '% chunks of % made', tidemill.make_chunks(h.rows_table), h.rows_table;
  perform tidemill._tidy_up(h);
end
$$;
comment on procedure tidemill.policy_chunks is
$$Makes the chunks of a hypertable ahead of time, and those for rows that wait in its default partition: what the action
calls that create_hypertable adds. Also gives back the space of packed rows, and cuts the arms of its view, where nobody is in
the way. It deletes itself when the table is gone.

action_id  the action
config     hypertable_id$$;

create or replace function tidemill._add_chunks_policy(h tidemill._hypertables) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
begin
  perform tidemill._add_policy('chunks', h.rows_table, '{}', false,
    case when h.time_type in ('int2'::regtype, 'int4'::regtype, 'int8'::regtype) then '1 hour'
      else greatest(interval '1 second', least(interval '1 hour', h.chunk_width / 2 * interval '1 microsecond')) end,
    null, null);
exception when insufficient_privilege or invalid_authorization_specification then
  raise notice 'no action makes chunks ahead of time, since this role may add none'
    using hint = 'Call make_chunks from time to time, or have the role granted: tidemill.grant_actions.';
end
$$;
comment on function tidemill._add_chunks_policy is 'Adds the action that makes chunks ahead of time, if the caller may add actions.';
