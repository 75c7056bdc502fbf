select reason, message, remedy from tidemill.why_waiting(%(id)s::bigint)
