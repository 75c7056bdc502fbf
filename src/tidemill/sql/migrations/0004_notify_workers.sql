-- Callers of _notify_workers name a priority and an id, or NULL for both.

drop function if exists tidemill._notify_workers(timestamptz) cascade;
