-- What tidemill._begin_run has returned.
select tidemill._enter_run(
  %(names)s::pg_catalog.text[], %(given)s::pg_catalog.text[], %(work_mem)s::pg_catalog.text, %(slot)s::pg_catalog.text,
  %(application_name)s::pg_catalog.text)
