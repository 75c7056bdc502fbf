-- Next starts that were computed while the server's clock was ahead.

create or replace function tidemill._mend_starts(at timestamptz default clock_timestamp()) returns void
-- Without statistics the planner takes most rows for wrong ones.
language plpgsql set search_path = pg_catalog, pg_temp set enable_seqscan = off set enable_bitmapscan = off
as $$
declare
  due record;
  a tidemill._actions;
  s tidemill._action_states;
begin
  for due in
    select x as action, st as state
      from tidemill._action_states st
      join tidemill._actions x on x.id = st.action_id
      where st.decided_at > at + interval '5 seconds'
        -- A slot that ran within the last minute by the wrong clock is not run twice: its action waits.
        and (x.cron is null and not x.fixed_schedule or st.decided_at > at + interval '1 minute')
      limit 1000
      for no key update of st skip locked
  loop
    a := due.action;
    s := due.state;
    begin
      -- Not above, where it would lead the planner to the index of all next starts.
      if s.next_start > at and s.run_id is null then
        s.next_start := least(s.next_start, case
          when s.must_run then at
          when s.consecutive_failures + s.consecutive_crashes > 0
            then tidemill._retry_start(a, at, s.consecutive_failures + s.consecutive_crashes, tidemill._jitter())
          else tidemill._next_slot(a, at)
        end);
      end if;
    exception when others then
      -- Other actions must start. The end of its next run pauses this one.
      null;
    end;
    -- Of those that stay, too: they would be looked at again and again, in place of others.
    update tidemill._action_states st
      set next_start = s.next_start, slot = least(st.slot, at), decided_at = at
      where st.action_id = a.id;
  end loop;
end
$$;
comment on function tidemill._mend_starts is
$$Computes anew, from now, the next starts that were computed at a time that lies ahead: the clock was put back.

Otherwise these actions would not run until the clock shows that time again. Slots that ran ahead of their time run
again when it comes. A step back of up to a minute is waited for, so that it repeats no slot; of up to 5 seconds on
a drifting schedule. A start that was asked for stays, and none becomes later.$$;
