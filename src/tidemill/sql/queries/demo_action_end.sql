-- Deletes the tour's actions with their history, also those of a tour that was interrupted.
select tidemill.delete_action(a.id) from tidemill.actions a where pg_catalog.starts_with(a.routine, 'tidemill_demo.');
delete from tidemill._action_runs where proc_schema operator(pg_catalog.=) 'tidemill_demo';
