-- How like two names are, to find the one that is meant by another.

create or replace function tidemill._likeness(one text, other text) returns double precision
language sql immutable set search_path = pg_catalog, pg_temp
as $$
  select 2.0 * cardinality(array(select unnest(p.one) intersect select unnest(p.other)))
    / nullif(cardinality(p.one) + cardinality(p.other), 0)
  from (values (tidemill._letter_pairs(one), tidemill._letter_pairs(other))) p (one, other)
$$;
comment on function tidemill._likeness is
  'The share of pairs of neighbouring letters and digits that two texts have in common: 1 for the same ones, 0 for none.';

create or replace function tidemill._letter_pairs(word text) returns text[]
language sql immutable set search_path = pg_catalog, pg_temp
as $$
  select array(
    select distinct substr(w.letters, i, 2) from generate_series(1, greatest(length(w.letters) - 1, 1)) i)
  from (values (regexp_replace(lower(word), '[^[:alnum:]]', '', 'g'))) w (letters)
$$;
