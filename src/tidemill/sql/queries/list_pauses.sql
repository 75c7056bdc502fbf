select kind, name, paused_at, paused_by, acts_as, reason from tidemill.pauses order by kind, name
