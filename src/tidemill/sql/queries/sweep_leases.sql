select s.id, s.worker_id, case
    when not s.failed then 'free again'
    when exists (
      select from tidemill._jobs j where j.id operator(pg_catalog.=) s.id and j.cancelled_after is not null)
    then 'cancelled'
    else 'failed for good' end
from tidemill._sweep_leases() s
