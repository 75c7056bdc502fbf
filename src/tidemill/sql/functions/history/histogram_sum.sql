create or replace aggregate tidemill.histogram_sum(buckets bigint[]) (
  sfunc = tidemill._added, stype = bigint[], combinefunc = tidemill._added, parallel = safe
);
comment on aggregate tidemill.histogram_sum(bigint[]) is
$$Aggregate: the sum of histograms of tidemill.task_stats, bucket by bucket.

buckets  a histogram; NULL counts as one without attempts$$;
