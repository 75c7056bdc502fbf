create schema chaos;

-- What jobs do in transactions of their own.
create table chaos.runs (
  number bigint not null,
  attempt integer not null,
  worker text not null,
  started timestamptz not null default clock_timestamp()
);

-- Who held the lease of a job when it was deleted: that worker, and no other, may have done it.
create table chaos.gone (number bigint, locked_by text);

create function chaos.note_gone() returns trigger language plpgsql as $$
begin
  insert into chaos.gone select (payload ->> 'number')::bigint, locked_by from deleted
    where payload ->> 'number' is not null;
  return null;
end
$$;

create trigger chaos_gone after delete on tidemill._jobs
  referencing old table as deleted for each statement execute function chaos.note_gone();

create procedure chaos.second(action_id integer, config jsonb) language plpgsql as $$
begin
  -- So that its backend can be found amid a run.
  perform pg_sleep(0.2);
end
$$;

select tidemill.add_action('chaos.second', '1 second', name => 'second', retry_period => '1 second',
  missed => 'backfill', initial_start => date_trunc('second', now()));
select tidemill.add_action(task => 'tick', schedule_interval => '1 second', name => 'tick',
  retry_period => '1 second', missed => 'backfill', initial_start => date_trunc('second', now()));
