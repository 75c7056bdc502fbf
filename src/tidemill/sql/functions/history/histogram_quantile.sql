create or replace function tidemill.histogram_quantile(buckets bigint[], fraction double precision) returns interval
language plpgsql immutable parallel safe set search_path = pg_catalog, pg_temp
as $$
declare
  total constant bigint := (select sum(b) from unnest(buckets) b);
  before bigint := 0;
  lower double precision;
  upper double precision;
begin
  if not coalesce(fraction between 0 and 1, true) then
    raise exception using errcode = 'invalid_parameter_value',
      message = format('fraction is %s; it must be from 0 to 1', fraction),
      hint = 'Write 0.99 for the time that 99 % of the attempts stayed below.';
  end if;
  if fraction is null or coalesce(total, 0) = 0 then
    return null;
  end if;
  for n in 1 .. cardinality(buckets) loop
    if buckets[n] > 0 and before + buckets[n] >= fraction * total then
      upper := power(2::double precision, n - 14);
      lower := case when n > 1 then upper / 2 else 0 end;
      -- What the last one holds may be any time.
      return make_interval(secs => case when n >= 32 then lower
        else lower + (upper - lower) * greatest(0, fraction * total - before) / buckets[n] end);
    end if;
    before := before + coalesce(buckets[n], 0);
  end loop;
  return null;
end
$$;
comment on function tidemill.histogram_quantile is
$$The time below which a share of the attempts in a histogram stayed, as far as its buckets tell: interpolated within one.

buckets   a histogram of tidemill.task_stats, or a sum of several: tidemill.histogram_sum
fraction  from 0 to 1; 0.5 is the median

NULL for a histogram without attempts. Times in the last bucket count as its beginning. Error: 22023 for another fraction.$$;
