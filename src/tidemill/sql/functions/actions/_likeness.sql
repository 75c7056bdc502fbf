-- How like two names are, to find the one that is meant by another.

create or replace function tidemill._likeness(pairs text[], name text) returns double precision
language sql immutable set search_path = pg_catalog, pg_temp
as $$
  select 2.0 * cardinality(array(select unnest(pairs) intersect select unnest(p.own)))
    / nullif(cardinality(pairs) + cardinality(p.own), 0)
  from (values (tidemill._letter_pairs(name))) p (own)
$$;
comment on function tidemill._likeness is
  'The share of pairs of neighbouring letters and digits (_letter_pairs) that a text has in common with a name: 1 for the same ones, 0 for none.';

create or replace function tidemill._letter_pairs(word text) returns text[]
language sql immutable set search_path = pg_catalog, pg_temp
as $$
  select array(
    select distinct substr(w.letters, i, 2) from generate_series(1, greatest(length(w.letters) - 1, 1)) i)
  -- Of long texts the beginning: no name is longer, and the work grows with the length.
  from (values (left(regexp_replace(lower(left(word, 256)), '[^[:alnum:]]', '', 'g'), 64))) w (letters)
$$;
