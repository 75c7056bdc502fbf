create or replace function tidemill._bounded_error(message text) returns text
language sql immutable
as $$
  select case when length(message) <= 10000 then message
    else left(message, 4980) || ' ... ' || (length(message) - 9960)::text || ' characters left out ... '
      || right(message, 4980) end
$$;
comment on function tidemill._bounded_error is
  'A text for last_error: head and tail of a long one, as workers bound what tasks say.';
