-- What stands in the schema tidemill, whoever made it.
select pg_describe_object(d.classid, d.objid, 0)
from pg_depend d
where d.refclassid = 'pg_namespace'::regclass and d.refobjid = to_regnamespace('tidemill')
  and d.classid not in ('pg_default_acl'::regclass, 'pg_publication_namespace'::regclass)
order by 1;
