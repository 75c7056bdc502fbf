create or replace function tidemill._notify_actions() returns void
language plpgsql
as $$
begin
  perform pg_notify('tidemill:actions', '');
end
$$;
comment on function tidemill._notify_actions is
  'Makes all workers look at once for actions that are due, and for runs that they are asked to stop.';
