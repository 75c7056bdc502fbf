select * from tidemill.bulk_acts order by id desc limit %(limit)s
