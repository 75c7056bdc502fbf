create or replace function tidemill._place_segments(h tidemill._hypertables, c tidemill._chunks) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
begin
  -- Each goes into the partition of its new place. Readers see it in one of them.
  execute format('update %s s set _place = %L where s._chunk = %s', h.segments, tidemill._place(c), c.number);
end
$$;
comment on function tidemill._place_segments is 'Moves the packed rows of a chunk to where its table has been moved.';
