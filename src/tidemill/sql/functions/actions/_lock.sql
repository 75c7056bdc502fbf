-- Locks between transactions of different roles. They are rows of ours, which no other role may lock.

create or replace function tidemill._lock(name text, shared boolean default false) returns void
language plpgsql set search_path = pg_catalog, pg_temp set lock_timeout = '10s'
as $$
#variable_conflict use_variable
begin
  loop
    if shared then
      perform from tidemill._locks l where l.name = name for key share;
    else
      perform from tidemill._locks l where l.name = name for update;
    end if;
    exit when found;
    -- Another transaction that inserts it has it locked: this waits for its end.
    insert into tidemill._locks as l values (name) on conflict do nothing;
    exit when found;
  end loop;
exception when lock_not_available then
  raise exception using errcode = 'lock_not_available',
    message = format('another transaction has held the lock "%s" for 10 seconds', name),
    detail = (select string_agg(h.holder, '; ') from tidemill._lock_holders() h (holder)),
    hint = 'Try again when that transaction has ended.';
end
$$;
comment on function tidemill._lock is
$$Locks the row of a name in tidemill._locks until the transaction ends; adds the row where it is missing.

shared  others may have the lock at once if they share it, too
Error 55P03 after 10 seconds; its detail names the transactions that may hold the lock.$$;

create or replace function tidemill._lock_holders() returns setof text
language sql stable set search_path = pg_catalog, pg_temp
as $$ select tidemill._holders_of('{tidemill._locks}') $$;
comment on function tidemill._lock_holders is 'Transactions that hold rows of tidemill._locks.';

create or replace function tidemill._holders_of(relations regclass[]) returns setof text
language sql stable set search_path = pg_catalog, pg_temp
as $$
  select format('Server process %s holds it: role "%s", application "%s"%s.', a.pid, a.usename, a.application_name,
                ', in a transaction since ' || a.xact_start)
  from pg_stat_activity a
  where a.datname = current_database() and a.pid <> pg_backend_pid()
    and exists (
      select from pg_locks l
      where l.pid = a.pid and l.granted and l.relation = any(relations) and l.mode <> 'AccessShareLock'
        and l.database = (select d.oid from pg_database d where d.datname = current_database()))
    -- One that waits itself is behind us.
    and not exists (select from pg_locks l where l.pid = a.pid and not l.granted)
  order by a.xact_start, a.pid
$$;
comment on function tidemill._holders_of is
  'Transactions that hold rows of one of these tables. The time is missing where it may not be seen.';
