-- Whether the express lane is safe, and whether a worker is suspected, so that its leases may end soon.
select tidemill._express_is_safe(), exists (
  select from tidemill._workers w
  where w.suspected_at operator(pg_catalog.>) '-infinity'::pg_catalog.timestamptz),
  -- And whether there are limits: jobs may name one, whatever tasks this worker has.
  exists (select from tidemill._limits)
