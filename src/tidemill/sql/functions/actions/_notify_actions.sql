create or replace function tidemill._notify_actions() returns void
language plpgsql
as $$
begin
  perform pg_notify('tidemill:actions', '');
end
$$;
comment on function tidemill._notify_actions is 'Has all workers look at once what is due, and what is to be stopped.';
