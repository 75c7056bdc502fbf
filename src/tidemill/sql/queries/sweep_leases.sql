select s.worker_id, s.id, case
    when not s.failed then 'free again'
    when s.cancelled then 'cancelled'
    else 'failed for good' end
from tidemill._sweep_leases(%(at_start)s, %(most)s, %(with_unknown)s) s
