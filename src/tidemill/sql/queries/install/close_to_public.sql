-- SECURITY DEFINER functions are for those who were granted them.
revoke all on all routines in schema tidemill from public;
