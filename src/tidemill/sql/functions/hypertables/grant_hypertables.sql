create or replace function tidemill.grant_hypertables(to_role regrole) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  callee regprocedure;
begin
  if to_role is null then
    raise exception using errcode = 'invalid_parameter_value', message = 'role cannot be NULL', hint = 'Name a role.';
  end if;
  execute format('grant usage on schema tidemill to %s', to_role);
  execute format(
    'grant select on tidemill.hypertables, tidemill.chunks, tidemill._hypertables, tidemill._chunks to %s', to_role);
  -- Of the requests all columns but the one that says who asks.
  execute format('grant insert (h, c, verb), select (h, c, verb) on tidemill._hypertable_requests to %s', to_role);
  for callee in
    select p.oid from pg_proc p
    where p.pronamespace = 'tidemill'::regnamespace and p.proname = any(tidemill._functions_for_hypertables())
  loop
    execute format('grant execute on routine %s to %s', callee, to_role);
  end loop;
end
$$;
comment on function tidemill.grant_hypertables is
$$Lets a role make hypertables of its own tables, and look after them.

For the owner of the schema tidemill to call. Take it back with revoke, or drop owned by.$$;

create or replace function tidemill._functions_for_hypertables() returns name[]
language sql immutable
as $$
  select array[
    'add_compression_policy', 'add_retention_policy', 'by_hash', 'by_range', 'compress_chunk', 'create_hypertable',
    'decompress_backfill', 'decompress_chunk', 'drop_chunks', 'enable_compression', 'make_chunks', 'policy_chunks',
    'policy_compression',
    'policy_retention', 'remove_compression_policy', 'remove_retention_policy', 'show_chunks',
    '_add_chunks_policy', '_add_policy', '_all_rows', '_at_or_after', '_begin_backfill', '_bare_name', '_before',
    '_bound_literal', '_check_columns', '_check_deletable', '_check_is_table', '_check_limit', '_check_owner',
    '_check_parts', '_check_staging', '_check_time_column', '_chunk_bounds', '_chunk_width', '_chunks_between',
    '_chunks_schema', '_chunks_to_compress', '_columns', '_compress_if_free', '_conflict_clause',
    '_copy_replica_identity', '_copy_rows', '_count_rows', '_countable', '_create_guard', '_create_hypertable',
    '_create_inserts', '_create_segments', '_decoded', '_default_partition', '_drop_remains', '_dependents',
    '_end_backfill', '_ensure_chunk', '_expect_own_schema', '_expect_read_committed', '_forget_gone_chunks', '_grants', '_guard',
    '_guard_name', '_has_index_by', '_hypertable', '_is_of_segments',
    '_literal_kind', '_locked_chunk', '_make_default', '_move_rows', '_next_staged', '_now_units', '_older_than',
    '_own_schema', '_pack', '_policy', '_policy_table', '_refuse_argument',
    '_refuse_what_a_view_breaks', '_remove_policy', '_revoke_all', '_segmentby', '_serial_sequences', '_share_grants',
    '_shared_segmentby', '_statistics_name', '_storage_options', '_stored_columns', '_structure', '_table_parts',
    '_take_over_identity', '_time_bound', '_time_text', '_time_units', '_triggers_and_policies', '_unpack',
    '_without_triggers'
  ]::name[]
$$;
comment on function tidemill._functions_for_hypertables is
  'What a role calls that works with hypertables: the public functions, and those that these call with its rights.';

create or replace function tidemill._grant_hypertables_again() returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
begin
  perform tidemill.grant_hypertables(g.grantee::regrole)
    from pg_proc p, aclexplode(p.proacl) g
    where p.pronamespace = 'tidemill'::regnamespace and p.proname = 'make_chunks'
      and g.grantee <> p.proowner and g.grantee <> 0;
end
$$;
comment on function tidemill._grant_hypertables_again is
  'Gives the roles of grant_hypertables what this version''s functions need. For after they were laid.';
