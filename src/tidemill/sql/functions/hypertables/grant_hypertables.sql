create or replace function tidemill.grant_hypertables(to_role regrole) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
begin
  perform tidemill._grant_hypertables(to_role);
  perform tidemill._note_act(current_user, 'grant_hypertables', array[to_role::text], 1);
end
$$;
comment on function tidemill.grant_hypertables is
$$Lets a role make hypertables of its own tables, and look after them.

For the owner of the schema tidemill to call. Take it back with revoke, or drop owned by.$$;

create or replace function tidemill._grant_hypertables(to_role regrole) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  callee regprocedure;
  wrapper record;
begin
  if to_role is null then
    raise exception using errcode = 'invalid_parameter_value', message = 'role cannot be NULL', hint = 'Name a role.';
  end if;
  execute format('grant usage on schema tidemill to %s', to_role);
  execute format(
    'grant select on tidemill.hypertables, tidemill.chunks, tidemill.compression_settings,'
    ' tidemill._hypertables, tidemill._chunks to %s', to_role);
  -- Of the requests all columns but the one that says who asks.
  execute format(
    'grant insert (h, c, verb, what, subjects, before, after), select (h, c, verb) on tidemill._hypertable_requests to %s',
    to_role);
  for callee in
    select p.oid from pg_proc p
    where p.pronamespace = 'tidemill'::regnamespace and p.proname = any(tidemill._functions_for_hypertables())
  loop
    execute format('grant execute on routine %s to %s', callee, to_role);
  end loop;
  for wrapper in select * from tidemill._dialect_rights_of('hypertables') loop
    execute format('grant %s on %s to %s', wrapper.privileges, wrapper.object, to_role);
  end loop;
end
$$;
comment on function tidemill._grant_hypertables is 'Grants what tidemill.grant_hypertables gives.';

create or replace function tidemill._functions_for_hypertables() returns name[]
language sql immutable
as $$
  select array[
    'add_column', 'add_compression_policy', 'add_reorder_policy', 'add_retention_policy', 'add_tiering_policy',
    'adopt_hypertable', 'approximate_row_count', 'attach_tablespace', 'by_hash', 'by_range',
    'chunk_compression_stats', 'chunks_detailed_size', 'compress_chunk', 'compression_plan', 'create_hypertable',
    'decompress_backfill', 'decompress_chunk', 'detach_tablespace', 'detach_tablespaces', 'disable_compression',
    'drop_chunks', 'enable_compression', 'hypertable_compression_stats', 'hypertable_detailed_size',
    'hypertable_index_size', 'hypertable_size', 'make_chunks', 'move_chunk', 'policy_chunks', 'policy_compression',
    'policy_reorder', 'policy_retention', 'policy_tiering', 'remove_compression_policy', 'remove_reorder_policy',
    'remove_retention_policy', 'remove_tiering_policy', 'reorder_chunk', 'set_chunk_time_interval',
    'set_transparent', 'set_updatable', 'show_chunks', 'show_tablespaces',
    '_add_chunks_policy', '_add_policy', '_adopted_width', '_all_rows', '_arms', '_as_array', '_as_number',
    '_at_or_after', '_bare_name', '_before', '_begin_backfill', '_bound_literal', '_bound_units', '_call_if_free',
    '_can_order', '_check_columns', '_check_deletable', '_check_is_range_partitioned', '_check_is_table',
    '_check_limit', '_check_outside', '_check_owner', '_check_owner_itself', '_check_partitions', '_check_parts',
    '_check_parts_of_column', '_check_staging', '_check_tablespace', '_check_time_column', '_chunk_bounds',
    '_chunk_bytes', '_chunk_index', '_chunk_sizes', '_chunk_states', '_chunk_width', '_chunks_between',
    '_chunks_schema', '_chunks_to_compress', '_chunks_to_move', '_chunks_to_reorder', '_column', '_columns',
    '_columns_of_segments', '_conflict_clause', '_conflict_target', '_copy_replica_identity', '_copy_rows',
    '_count_packed', '_count_rows', '_countable', '_create_changes', '_create_guard', '_create_hypertable',
    '_create_segments', '_create_time_function', '_create_time_functions', '_create_unpack',
    '_create_upsert_triggers', '_create_view', '_create_writes', '_cut_arms', '_decoded', '_decoded_column',
    '_default_partition', '_dependents', '_digits', '_drop_remains', '_drop_segments', '_drop_time_functions',
    '_drop_view', '_end_backfill', '_ensure_chunk', '_equals', '_expect_own_schema', '_expect_read_committed',
    '_expect_unlocked', '_fail_with', '_forget_gone_chunks', '_free_chunk_name', '_free_temp_name', '_grants',
    '_guard', '_guard_body', '_guard_name', '_has_index_by', '_has_place', '_has_unit', '_holds', '_hypertable', '_interval_in_short',
    '_is_compressible', '_is_of_segments', '_keep_words_in_line', '_key', '_known_hypertable', '_literal_kind',
    '_lock_segments', '_lock_table', '_locked_chunk', '_locked_whole', '_loose_rows', '_make_default',
    '_make_place', '_match_defaults', '_match_foreign_keys', '_match_if_free', '_move_rows', '_needs_a_table',
    '_next_staged', '_not_packed_types', '_note_hypertable_act', '_now_units', '_number_encoding', '_older_than', '_orderby', '_own_schema',
    '_owned_chunk', '_pack', '_packed_bytes', '_packing_in_short', '_packing', '_part', '_place', '_place_segments', '_plain_segmentby',
    '_plan_source', '_planned', '_policy', '_policy_table', '_qualified_name', '_range_partitions',
    '_refuse_argument', '_refuse_timescaledb', '_refuse_what_is_not_packed', '_remove_policy', '_reorder_index',
    '_require_times', '_revoke_all', '_revoke_from_others', '_rows_of_a_segment', '_segment_columns', '_segmentby',
    '_segments_where', '_serial_sequences', '_share_grants', '_shared_segmentby', '_statements_seen',
    '_statistics_name', '_storage_options', '_stored_columns', '_structure', '_table_parts', '_tables_of',
    '_take_over_identity', '_tell_constraint_exclusion', '_tell_what_a_view_breaks', '_tidy_up', '_time_bound',
    '_time_text', '_time_units', '_time_within', '_timescaledb_hypertable', '_to_lay_out', '_triggers_and_policies',
    '_truncate_emptied', '_unpack', '_with_suffix', '_without_triggers', '_words'
  ]::name[]
$$;
comment on function tidemill._functions_for_hypertables is
  'What a role calls that works with hypertables: the public functions, and those that these call with its rights.';

create or replace function tidemill._grant_hypertables_again() returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
begin
  perform tidemill._grant_hypertables(h.grantee) from tidemill._roles_with_hypertables() h;
end
$$;
comment on function tidemill._grant_hypertables_again is
  'Gives the roles of grant_hypertables what this version''s functions need. For after they were laid.';

create or replace function tidemill._roles_with_hypertables() returns table (grantee regrole)
language sql stable set search_path = pg_catalog, pg_temp
as $$
  select g.grantee::regrole
  from pg_proc p, aclexplode(p.proacl) g
  where p.pronamespace = 'tidemill'::regnamespace and p.proname = 'make_chunks'
    and g.grantee <> p.proowner and g.grantee <> 0
$$;
comment on function tidemill._roles_with_hypertables is 'The roles of grant_hypertables.';
