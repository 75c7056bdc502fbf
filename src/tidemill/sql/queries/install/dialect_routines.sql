-- Routines in public that this role laid, all or those with these names, and whether their signature is one of these.
select
  p.oid,
  p.oid::regprocedure::text,
  p.oid = any(
    select to_regprocedure('public.' || given.signature) from unnest(%(routines)s::text[]) given (signature))
    is true
from pg_proc p
where p.pronamespace = to_regnamespace('public')
  and p.proowner = current_user::regrole
  and starts_with(obj_description(p.oid, 'pg_proc'), 'Laid by Tidemill')
  and (%(names)s::text[] is null or p.proname = any(%(names)s::text[]))
order by 2;
