-- Neither the tour's actions nor their history stay, also those of a tour that was cut off.
select tidemill.delete_action(a.id) from tidemill.actions a where starts_with(a.routine, 'tidemill_demo.');
delete from tidemill._action_runs where proc_schema = 'tidemill_demo';
