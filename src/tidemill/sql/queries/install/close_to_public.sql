-- SECURITY DEFINER functions are for those who were granted them.
revoke all on all routines in schema tidemill from public;
-- Views call these as whoever reads them.
grant execute on function
  tidemill._state(timestamptz, smallint, smallint, timestamptz),
  tidemill._application_name(integer, text)
  to public;
