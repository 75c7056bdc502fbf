-- Crontab items: when each last ran, so that among all workers each of its minutes is added once.

create or replace function tidemill._register_crontab(
  identifiers text[], at timestamptz default clock_timestamp()
) returns table (identifier text, known_since timestamptz, last_execution timestamptz)
language plpgsql set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
begin
  insert into tidemill._known_crontabs (identifier, known_since)
    select distinct i, at from unnest(identifiers) i order by 1
    on conflict do nothing;
  return query
    select k.identifier, k.known_since, k.last_execution
    from tidemill._known_crontabs k where k.identifier = any(identifiers);
end
$$;
comment on function tidemill._register_crontab is
  'Stores identifiers of crontab items, new ones as known since `at`, and returns when each last ran.';

create or replace function tidemill._run_crontab(
  identifiers text[], specs tidemill.job_spec[], job_key_modes text[]
) returns table (identifier text, minute timestamptz, job_id bigint)
language plpgsql set search_path = pg_catalog, pg_temp
as $$
#variable_conflict use_column
declare
  due integer[];
begin
  -- Rows may have been deleted since they were registered. Here and below, in the order of their names,
  -- so that two workers cannot deadlock.
  insert into tidemill._known_crontabs (identifier, known_since)
    select identifiers[s.place], min(s.run_at)
    from unnest(specs) with ordinality
      s(identifier, payload, queue_name, run_at, max_attempts, job_key, priority, flags, place)
    group by 1 order by 1
    on conflict do nothing;
  perform from tidemill._known_crontabs k
    where k.identifier = any(identifiers) order by k.identifier for update;

  -- From here on no other worker adds these items.
  select array_agg(s.place order by s.place) into due
    from unnest(specs) with ordinality
      s(identifier, payload, queue_name, run_at, max_attempts, job_key, priority, flags, place)
    join tidemill._known_crontabs k on k.identifier = identifiers[s.place]
    where k.last_execution is null or k.last_execution < s.run_at;
  if due is null then
    return;
  end if;
  update tidemill._known_crontabs k set last_execution = d.latest
    from (select identifiers[p] as identifier, max((specs[p]).run_at) as latest from unnest(due) p group by 1) d
    where k.identifier = d.identifier;
  return query
    select identifiers[due[j.ordinality]], (specs[due[j.ordinality]]).run_at, j.id
    from tidemill._add_jobs(
      array(select specs[p] from unnest(due) with ordinality d(p, n) order by n),
      array(select job_key_modes[p] from unnest(due) with ordinality d(p, n) order by n)
    ) with ordinality j;
end
$$;
comment on function tidemill._run_crontab is
$$Adds jobs of crontab items, each for the minute in its spec's run_at, and returns the jobs that it added.

Minutes up to the item's last_execution are passed over: another worker has added them.
Errors as for tidemill.add_jobs; then nothing is added.$$;
