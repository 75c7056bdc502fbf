-- Finding and locking a chunk as a whole.

create or replace function tidemill._owned_chunk(relation regclass) returns tidemill._chunks
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
declare
  c tidemill._chunks;
begin
  if relation is null then
    raise exception using errcode = '22023', message = 'chunk cannot be NULL', hint = 'Take one that show_chunks tells.';
  end if;
  select k.* into c from tidemill._chunks k where k.relation = _owned_chunk.relation;
  if not found then
    perform tidemill._refuse_timescaledb(relation);
    raise exception using errcode = '42704', message = format('"%s" is not a chunk', relation),
      hint = 'Take one that show_chunks tells.';
  end if;
  perform tidemill._check_owner(relation);
  return c;
end
$$;
comment on function tidemill._owned_chunk is 'The chunk with this table, for its owner alone. Errors: 22023 NULL, 42704 no chunk, 42501 not its owner.';

create or replace function tidemill._lock_table(relation regclass, mode text) returns void
language plpgsql set search_path = pg_catalog, pg_temp set lock_timeout = '5s'
as $$
declare
  holders text;
begin
  execute format('lock table only %s in %s mode', relation, mode);
exception when lock_not_available then
  select string_agg(distinct l.pid::text, ', ') into holders
    from pg_locks l
    where l.relation = _lock_table.relation and l.granted and l.pid <> pg_backend_pid()
      and l.database = (select d.oid from pg_database d where d.datname = current_database());
  raise exception using errcode = '55P03', message = format('"%s" was locked for 5 seconds', relation),
    detail = format('Locks on it have the processes %s.', coalesce(holders, '(ended since)')),
    hint = 'Try again when their transactions have ended: pg_stat_activity shows them.';
end
$$;
comment on function tidemill._lock_table is 'Locks a table or partition. Error: 55P03 after 5 seconds, with the processes that have locks on it.';
