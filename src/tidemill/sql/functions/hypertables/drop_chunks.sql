create or replace function tidemill.drop_chunks(
  relation regclass,
  older_than anycompatible default null,
  newer_than anycompatible default null,
  verbose boolean default false,
  created_before timestamptz default null,
  created_after timestamptz default null
) returns setof text
language plpgsql set search_path = pg_catalog, pg_temp set datestyle = 'ISO' set intervalstyle = 'postgres' set lock_timeout = '5s'
as $$
declare
  h tidemill._hypertables;
  c tidemill._chunks;
  dropped text;
  gone text[];
begin
  if relation is null then
    raise exception using errcode = '22023', message = 'invalid hypertable', hint = 'Name a hypertable.';
  end if;
  h := tidemill._hypertable(relation);
  if older_than is null and newer_than is null and created_before is null and created_after is null then
    raise exception using errcode = '22023', message = 'invalid time range for dropping chunks',
      hint = 'At least one of older_than/newer_than or created_before/created_after must be provided.';
  end if;
  perform tidemill._check_owner(h.rows_table);
  perform tidemill._expect_read_committed();
  -- One session at a time makes or drops chunks of this table.
  execute format('lock table only %s in share update exclusive mode', h.rows_table);
  perform tidemill._forget_gone_chunks(h);
  for c in
    select k.* from tidemill._chunks_between(
      h, older_than::text, newer_than::text, pg_typeof(older_than), created_before, created_after) k
  loop
    dropped := (select format('%I.%I', s.nspname, r.relname)
      from pg_class r join pg_namespace s on s.oid = r.relnamespace where r.oid = c.relation);
    if drop_chunks.verbose then
      raise info 'dropping chunk %', dropped;
    end if;
    -- First the table and then the chunk, as inserts do. Only then is all seen that others have packed.
    execute format('lock table only %s in access exclusive mode', h.rows_table);
    execute format('lock table %s in access exclusive mode', c.relation);
    insert into tidemill._hypertable_requests (c, verb) values (c, 'forget c');
    h := tidemill._hypertable(h.rows_table);
    if h.segments is not null then
      execute format('delete from %s where _chunk operator(pg_catalog.=) %s', h.segments, c.number);
    end if;
    execute format('drop table %s', c.relation);
    gone := gone || dropped;
    return next dropped;
  end loop;
  if gone is not null then
    perform tidemill._note_hypertable_act(h, 'drop_chunks', '{}', null, null, gone);
  end if;
end
$$;
comment on function tidemill.drop_chunks is
$$Drops chunks with their rows, packed ones too. Returns their names. It waits 5 seconds for the lock on the hypertable.

Rows in the default partition stay: make_chunks gives them chunks.

relation        the hypertable
older_than      chunks that end at or before this time
newer_than      chunks that begin at or after this time
verbose         tells each chunk
created_before  chunks that were made before it
created_after   chunks that were made then or later

Times are given as to show_chunks. At least one is needed.

Errors: as show_chunks, but 22023 for NULL; 42501 for its owner alone, 2BP01 something depends on a chunk, 55P03 the lock
was not to be had.$$;
