-- Whoever was granted add_job and add_jobs as they were has them as they are now.
do $$
declare
  given record;
begin
  for given in
    select n.new, g.grantee, g.is_grantable
    from (values
      ('tidemill.add_job(text, json, text, timestamptz, integer, text, integer, text[], text)',
       'tidemill.add_job(text, json, text, timestamptz, integer, text, integer, text[], text, text, text)'),
      ('tidemill.add_jobs(tidemill.job_spec[], boolean, text)',
       'tidemill.add_jobs(tidemill.job_spec[], boolean, text, text, text)')) n(old, new)
    join pg_catalog.pg_proc p on p.oid = pg_catalog.to_regprocedure(n.old)
    cross join lateral pg_catalog.aclexplode(p.proacl) g
    where g.grantee <> p.proowner
  loop
    execute pg_catalog.format('grant execute on function %s to %s%s', given.new,
      case given.grantee when 0 then 'public' else given.grantee::regrole::text end,
      case when given.is_grantable then ' with grant option' end);
  end loop;
end
$$;
drop function if exists tidemill.add_job(text, json, text, timestamptz, integer, text, integer, text[], text);
drop function if exists tidemill.add_jobs(tidemill.job_spec[], boolean, text);
