select p.rows, p.bytes from tidemill._packed_sizes(%(id)s::integer, %(number)s::integer) p
