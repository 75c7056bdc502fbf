-- Functions, SECURITY DEFINER ones above all, are for the roles that were granted them.
revoke all on all routines in schema tidemill from public;
-- Views call these with the rights of their reader.
grant execute on function
  tidemill._state(timestamptz, smallint, smallint, timestamptz),
  tidemill._application_name(integer, text),
  tidemill._keep_text(smallint)
  to public;
-- As functions of PostgreSQL, they compute from their arguments alone; they are in anybody's views.
do $$
declare
  computing regprocedure;
begin
  for computing in
    select p.oid from pg_proc p
    where p.pronamespace = 'tidemill'::regnamespace
      and p.proname in (
        'time_bucket', '_is_fixed_width', '_is_whole_days', '_month_bucket', '_bucket_instant', '_refuse_bucket_width',
        'first', 'last', 'histogram_quantile', 'histogram_sum', '_added', '_job_passes')
  loop
    execute format('grant execute on routine %s to public', computing);
  end loop;
end
$$;
-- What a migration has dropped to change its parameters.
select tidemill._grant_again();
-- New functions may need more than was granted by the version before.
select tidemill._grant_roles_again();
select tidemill._grant_hypertables_again();
select tidemill._anchor_owners_again();
