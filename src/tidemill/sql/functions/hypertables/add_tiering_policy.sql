create or replace function tidemill.add_tiering_policy(
  relation regclass,
  move_after anycompatible,
  tablespace name,
  if_not_exists boolean default false,
  schedule_interval interval default null,
  initial_start timestamptz default null,
  timezone text default null
) returns integer
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  h constant tidemill._hypertables := tidemill._hypertable(relation);
begin
  if move_after is null then
    raise exception using errcode = '22023', message = 'need to specify "move_after"',
      hint = 'For instance move_after => interval ''3 months''.';
  end if;
  perform tidemill._check_tablespace(tablespace, (select r.relowner from pg_class r where r.oid = h.rows_table));
  return tidemill._add_policy('tiering', relation,
    jsonb_build_object('move_after', move_after::text, 'tablespace', tablespace),
    if_not_exists, coalesce(schedule_interval, '1 day'), initial_start, timezone);
end
$$;
comment on function tidemill.add_tiering_policy is
$$Moves the chunks of a hypertable into another tablespace when they are old, on a schedule; returns the id of the action that
does it.

relation           the hypertable
move_after         chunks that end before now minus this interval are moved; for a whole-number time, a number: chunks that
                   end before the newest time minus it
tablespace         where they go, with their indexes and packed rows; the owner of the table must have CREATE on it
if_not_exists      true: where there is such a policy, a notice (a warning if it differs), and -1
schedule_interval  how often; default 1 day
initial_start      the first start; default now
timezone           of the schedule; default UTC

Errors: TS001 no hypertable, 42501 not its owner, or no right to the tablespace, 42704 no such tablespace, 42710 there is
such a policy, 22023 no limit, or one that does not fit the time.$$;
