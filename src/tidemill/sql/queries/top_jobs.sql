-- How many jobs of each task are in which state, by a function that walks over no table of jobs.
select c.identifier as task, c.state, c.jobs, least(c.oldest, '9999-12-30Z') as oldest, c.newest_error, c.cut
from tidemill._job_counts(%(most)s) c
