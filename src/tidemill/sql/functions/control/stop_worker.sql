create or replace function tidemill.stop_worker(id text, reason text default null) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
begin
  insert into tidemill._operator_requests (verb, names, reason) values ('stop_worker', array[id], reason);
end
$$;
comment on function tidemill.stop_worker is
$$Asks a worker to stop, as SIGTERM does: it claims no more jobs, and ends when those that run have ended.

id      tidemill.workers.id
reason  goes to its log, and to tidemill.workers

It learns of it by a notification, or with its next heartbeat, 5 seconds later at most. Other processes of its
--processes go on, and it is not replaced. What starts it again, such as systemd, may do so.
Errors: 42704 no such worker (the hint has ids that are like it), 22023 NULL.$$;

create or replace function tidemill._stop_worker(who name, id text, reason text) returns void
language plpgsql set search_path = pg_catalog, pg_temp set lock_timeout = '10s'
as $$
#variable_conflict use_variable
declare
  near text[];
  claimed text := tidemill._acts_as();
begin
  if id is null then
    raise exception using errcode = 'invalid_parameter_value', message = 'id of the worker cannot be NULL',
      hint = 'See the view tidemill.workers.';
  end if;
  -- Who asked first is told.
  update tidemill._workers w set stop_asked = coalesce(
      w.stop_asked,
      who || coalesce(' (for ' || claimed || ')', '') || coalesce(': ' || left(nullif(reason, ''), 1000), ''))
    where w.id = id;
  if not found then
    near := tidemill._like(left(id, 128), array(select w.id from tidemill._workers w));
    raise exception using errcode = 'undefined_object', message = format('there is no worker "%s"', left(id, 128)),
      hint = case when near is not null then format('Is %s meant?', array_to_string(near, ' or '))
        else 'The view tidemill.workers lists those that run.' end;
  end if;
  -- Its heartbeat looks.
  perform pg_notify('tidemill:cancel', '');
  perform tidemill._note_act(who, 'stop_worker', array[id], 1, reason);
end
$$;
