-- What tidemill._begin_run has returned.
select tidemill._enter_run(
  %s::pg_catalog.text[], %s::pg_catalog.text[], %s::pg_catalog.text, %s::pg_catalog.text, %s::pg_catalog.text);
