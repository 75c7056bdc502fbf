-- _notify_workers has defaults for its priority and id: the function without them would stand beside it.

drop function if exists tidemill._notify_workers(timestamptz) cascade;
