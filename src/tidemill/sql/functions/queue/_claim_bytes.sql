-- How much one claim may take: what a worker reads at once has to fit into its memory, and into its time.

create or replace function tidemill._claim_bytes() returns integer
language plpgsql
as $$
begin
  -- Large payloads are stored beside the table. Where there are none, the number of jobs is bound enough.
  return case when pg_relation_size(c.reltoastrelid) > 1024 * 1024 then 8 * 1024 * 1024 end
    from pg_class c where c.oid = 'tidemill._jobs'::regclass;
end
$$;
comment on function tidemill._claim_bytes is
  'A claim ends with the job whose payload passes this many bytes. NULL: payloads are small, and need not be measured.';
