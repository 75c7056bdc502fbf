create or replace function tidemill.resume(kind text, name text default null) returns boolean
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  changed boolean;
begin
  insert into tidemill._operator_requests as q (verb, names) values ('resume', array[kind, name])
    returning q.changed into changed;
  return changed;
end
$$;
comment on function tidemill.resume is
$$Ends a pause of tidemill.pause: workers look for the jobs that waited at once.

kind, name  as they were given to pause

Returns false if it was not paused. A task that is resumed while everything is paused starts with the rest.
Errors: as those of tidemill.pause.$$;

create or replace function tidemill._resume(who name, kind text, name text) returns boolean
language plpgsql set search_path = pg_catalog, pg_temp set lock_timeout = '10s'
as $$
#variable_conflict use_variable
declare
  ended tidemill._pauses;
begin
  perform tidemill._check_pause(kind, name);
  perform tidemill._lock('pauses');
  delete from tidemill._pauses p where p.kind = kind and p.name = coalesce(name, '') returning p.* into ended;
  if not found then
    perform tidemill._expect_known(kind, name);
    return false;
  end if;
  perform tidemill._carry_out_pauses(kind, name);
  -- Marks stand behind the jobs that waited.
  perform tidemill._notify_workers(now());
  perform tidemill._note_act(
    who, 'resume', array[concat_ws(' ', kind, name)], 1, null,
    jsonb_build_object('paused_at', ended.paused_at, 'paused_by', ended.paused_by, 'reason', left(ended.reason, 1000)));
  return true;
end
$$;
