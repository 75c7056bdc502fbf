create or replace function tidemill._added(a bigint[], b bigint[]) returns bigint[]
language sql immutable parallel safe
as $$
  select array(
    select coalesce(x.a, 0) operator(pg_catalog.+) coalesce(x.b, 0)
    from rows from (pg_catalog.unnest(a), pg_catalog.unnest(b)) with ordinality x (a, b, n) order by x.n)
$$;
comment on function tidemill._added is 'Two histograms as one.';
