-- Functions, SECURITY DEFINER ones above all, are for the roles that were granted them.
revoke all on all routines in schema tidemill from public;
-- Views call these with the rights of their reader.
grant execute on function
  tidemill._state(timestamptz, smallint, smallint, timestamptz),
  tidemill._application_name(integer, text)
  to public;
-- New functions may need more than was granted by the version before.
select tidemill._grant_actions_again();
select tidemill._anchor_owners_again();
