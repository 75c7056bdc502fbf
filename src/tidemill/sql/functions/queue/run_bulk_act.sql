-- It commits and so may have no SET clause: every name is qualified instead.
create or replace procedure tidemill.run_bulk_act(bulk_act_id bigint)
language plpgsql
as $$
declare
  step record;
begin
  loop
    commit;
    -- Above it, a step would fail where a job has changed beside it.
    set transaction isolation level read committed;
    select s.state into step from tidemill.step_bulk_act(bulk_act_id) s;
    exit when step.state operator(pg_catalog.<>) 'running';
  end loop;
end
$$;
comment on procedure tidemill.run_bulk_act is
$$Carries out a bulk act to its end, in batches of 1,000 jobs that each commit, so it cannot be called in a transaction.

bulk_act_id  what tidemill.begin_bulk_act has returned

If it is stopped, call it again: it goes on where it was. tidemill.abort_bulk_act ends it after the batch in work. Errors:
those of tidemill.step_bulk_act.$$;
