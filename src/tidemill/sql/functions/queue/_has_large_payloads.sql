create or replace function tidemill._has_large_payloads() returns boolean
language plpgsql
as $$
begin
  -- Payloads of more than 2 kB are stored beside the table, as large as they are: compression is off.
  return pg_relation_size(c.reltoastrelid) > 1024 * 1024 from pg_class c where c.oid = 'tidemill._jobs'::regclass;
end
$$;
comment on function tidemill._has_large_payloads is
  'Whether claims have to count the bytes of payloads. If not, the number of jobs is bound enough.';
