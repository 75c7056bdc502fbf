-- Without the next start itself: Python may not know such a time.
select recorded, next_start is null as deleted, paused_because
from tidemill._finish_run(
  %(run_id)s, %(outcome)s,
  sqlstate => %(sqlstate)s,
  message => %(message)s,
  detail => %(detail)s,
  hint => %(hint)s,
  context => %(context)s,
  output => %(output)s);
