-- What compression leaves for later, when nobody is in the way: the view is cut anew, and the space of packed rows is given
-- back. Their partition cannot be truncated at once, since a reader with an older snapshot would miss them.

create or replace function tidemill._tidy_up(h tidemill._hypertables) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
begin
  perform tidemill._truncate_emptied(c) from tidemill._chunks c
    where c.hypertable_id = h.id and c.is_compressed and c.emptied_by is not null
      and exists (select from pg_class r where r.oid = c.relation);
  perform tidemill._cut_arms(h);
end
$$;
comment on function tidemill._tidy_up is 'Does for a hypertable what compression leaves for later. Waits for nobody.';

create or replace function tidemill._truncate_emptied(c tidemill._chunks) returns void
language plpgsql set search_path = pg_catalog, pg_temp set lock_timeout = '100ms'
as $$
declare
  has_rows boolean;
begin
  execute format('lock table only %s in access exclusive mode', c.relation);
  -- Others may have packed it again, or brought it back.
  select k.* into c from tidemill._chunks k where k.hypertable_id = c.hypertable_id and k.number = c.number;
  if c.emptied_by is null or not c.is_compressed then
    return;
  end if;
  perform pg_stat_clear_snapshot();
  if exists (
    select from pg_stat_activity a
    where a.pid <> pg_backend_pid() and a.backend_xmin is not null
      and coalesce(a.datid = (select d.oid from pg_database d where d.datname = current_database()), true)
      and age(a.backend_xmin) >= age(c.emptied_by::xid))
  then
    return;
  end if;
  execute format('select exists (select from only %s)', c.relation) into has_rows;
  if not has_rows then
    execute format('truncate only %s', c.relation);
  end if;
  c.emptied_by := null;
  insert into tidemill._hypertable_requests (c, verb) values (c, 'keep c');
exception when lock_not_available or insufficient_privilege or undefined_table then
  -- It is in use, or was dropped meanwhile.
  return;
end
$$;
comment on function tidemill._truncate_emptied is 'Gives back the space of a packed chunk''s rows, once no snapshot is left that sees them.';
