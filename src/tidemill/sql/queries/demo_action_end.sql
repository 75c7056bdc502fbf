-- Deletes the tour's actions with their history, also those of a tour that was interrupted.
select tidemill.delete_action(a.id) from tidemill.actions a
where pg_catalog.starts_with(a.routine, 'tidemill_demo.')
  or (a.config operator(pg_catalog.->>) 'hypertable_id') in (
    select h.id::pg_catalog.text from tidemill.hypertables h where h.hypertable_schema operator(pg_catalog.=) 'tidemill_demo');
delete from tidemill._action_runs r
where r.proc_schema operator(pg_catalog.=) 'tidemill_demo'
  or (r.config operator(pg_catalog.->>) 'hypertable_id') in (
    select h.id::pg_catalog.text from tidemill.hypertables h where h.hypertable_schema operator(pg_catalog.=) 'tidemill_demo');
delete from tidemill._hypertables h
where h.chunks_schema operator(pg_catalog.=) 'tidemill_demo_chunks';
drop schema if exists tidemill_demo, tidemill_demo_rows, tidemill_demo_chunks cascade;
