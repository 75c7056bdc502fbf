-- Without the next start itself: it may be a time that Python has not.
select recorded, next_start is null as deleted, paused_because
from tidemill._finish_run(
  %(run_id)s, %(outcome)s,
  sqlstate => %(sqlstate)s,
  message => %(message)s,
  detail => %(detail)s,
  hint => %(hint)s,
  context => %(context)s,
  output => %(output)s);
