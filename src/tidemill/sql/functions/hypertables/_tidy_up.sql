-- What is left for later, when nobody is in the way: segments and view follow what was changed on the rows by hand, the view
-- is cut anew, and the space of packed rows is given back. Their partition cannot be truncated at once, since a reader with an older snapshot would miss them.

create or replace function tidemill._tidy_up(h tidemill._hypertables) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
begin
  if not exists (select from pg_class r where r.oid = h.rows_table) then
    return;
  end if;
  perform tidemill._truncate_emptied(h, c) from tidemill._chunks c
    where c.hypertable_id = h.id and c.is_compressed and c.emptied_by is not null;
  if exists (select from pg_class r where r.oid = h.view) then
    perform tidemill._match_if_free(h);
    perform tidemill._cut_arms(h);
  end if;
end
$$;
comment on function tidemill._tidy_up is 'Does for a hypertable what compression leaves for later. Waits for nobody.';

create or replace function tidemill._match_if_free(h tidemill._hypertables) returns void
language plpgsql set search_path = pg_catalog, pg_temp set lock_timeout = '100ms'
as $$
begin
  perform tidemill._match_foreign_keys(h);
  perform tidemill._match_defaults(h);
exception
  when lock_not_available or insufficient_privilege or undefined_table or wrong_object_type then
    return;
  when foreign_key_violation then
    raise warning 'packed rows of % do not have the foreign key that its rows have: %', h.rows_table, sqlerrm;
end
$$;
comment on function tidemill._match_if_free is 'Lets the segments and the view follow what was changed on the rows by hand, if nobody is in the way.';

create or replace function tidemill._truncate_emptied(h tidemill._hypertables, c tidemill._chunks) returns void
language plpgsql set search_path = pg_catalog, pg_temp set lock_timeout = '100ms'
as $$
declare
  has_rows boolean;
begin
  -- First the table and then the chunk, as others do: then nobody drops it.
  execute format('lock table only %s in access share mode', h.rows_table);
  -- A snapshot of this session's own would not be looked for below.
  if current_setting('transaction_isolation') <> 'read committed' or not exists (select from pg_class r where r.oid = c.relation) then
    return;
  end if;
  execute format('lock table only %s in access exclusive mode', c.relation);
  -- Others may have packed it again, or brought it back.
  select k.* into c from tidemill._chunks k where k.hypertable_id = c.hypertable_id and k.number = c.number;
  if c.emptied_by is null or not c.is_compressed then
    return;
  end if;
  perform pg_stat_clear_snapshot();
  -- Standbys tell theirs by a process or by a slot.
  if exists (
    select from (
      select a.backend_xmin from pg_stat_activity a
        where a.pid <> pg_backend_pid()
          and coalesce(a.datid = (select d.oid from pg_database d where d.datname = current_database()), true)
      union all
      select s.xmin from pg_replication_slots s) o(oldest)
    where o.oldest is not null and age(o.oldest) >= age(c.emptied_by::xid))
  then
    return;
  end if;
  execute format('select exists (select from only %s)', c.relation) into has_rows;
  if not has_rows then
    execute format('truncate only %s', c.relation);
  end if;
  c.emptied_by := null;
  insert into tidemill._hypertable_requests (c, verb) values (c, 'keep c');
exception when lock_not_available or insufficient_privilege or undefined_table or object_in_use then
  -- It is in use, or was dropped meanwhile.
  return;
end
$$;
comment on function tidemill._truncate_emptied is 'Gives back the space of a packed chunk''s rows, once no snapshot is left that sees them.';
