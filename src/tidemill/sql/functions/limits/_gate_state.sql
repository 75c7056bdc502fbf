create or replace function tidemill._gate_state(
  gate_id bigint,
  out limit_name text, out concurrency integer, out in_use integer, out holders bigint[],
  out rate integer, out period interval, out next_token timestamptz
)
language plpgsql stable set search_path = pg_catalog, pg_temp set enable_seqscan = off
as $$
#variable_conflict use_variable
declare
  l tidemill._limits;
  missing double precision;
begin
  select x.* into l from tidemill._limits x where x.id = (gate_id >> 40)::integer and x.removed_at is null;
  if not found then
    return;
  end if;
  limit_name := coalesce(l.name, (select t.identifier from tidemill._tasks t where t.id = l.task_id));
  concurrency := l.concurrency;
  rate := l.rate;
  period := l.period;
  select count(*), (array_agg(h.id order by h.id))[:10] into in_use, holders
    from (select j.id from tidemill._jobs j where j.gate_id = gate_id and j.locked_at is not null limit 1000) h;
  select 1 - g.tokens - greatest(0, extract(epoch from clock_timestamp() - g.filled_at))::float8 * l.per_second
    into missing from tidemill._gates g where g.id = gate_id and g.tokens is not null;
  if missing > 0 then
    next_token := clock_timestamp() + missing / l.per_second * interval '1 second';
  end if;
end
$$;
comment on function tidemill._gate_state is
$$Why the jobs of a gate may have to wait: its limit, how many of its jobs are leased (up to 1,000) and the first ten of
these, and when the next token comes (NULL: there is one, or none is needed). NULLs: it holds nobody up.$$;
