select * from tidemill.workers order by started_at
