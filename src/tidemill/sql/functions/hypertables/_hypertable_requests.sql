-- How a hypertable's owner has the catalogue written, which roles may not write themselves: as in actions/_requests.sql.

create or replace view tidemill._hypertable_requests as
select
  null::name as who, null::tidemill._hypertables as h, null::tidemill._chunks as c, null::text as verb,
  null::text as what, null::text[] as subjects, null::jsonb as before, null::jsonb as after
where false;
comment on view tidemill._hypertable_requests is
$$Inserting writes the catalogue of hypertables, for the owner of the table alone.

verb  keep h (new if its id is NULL, which is returned), lay out h (the width and the tablespaces of its next chunks),
      keep c (new if its number is NULL, which is returned), forget c, or note what was done to h: an act, as the columns
      from what on tell it$$;

create or replace function tidemill._answer_hypertable() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp
as $$
declare
  h tidemill._hypertables := new.h;
  c tidemill._chunks := new.c;
  stored tidemill._hypertables;
begin
  if h.id <> c.hypertable_id then
    raise exception using errcode = '42501', message = 'a request is about one hypertable';
  end if;
  select i.* into stored from tidemill._hypertables i where i.id = coalesce(h.id, c.hypertable_id);
  -- Whose table it is decides, both of the stored one and of the one that is given.
  perform tidemill._expect_owner(tidemill._who(new.who), r)
    from unnest(array[stored.rows_table, h.rows_table, h.view, h.segments, c.relation]) r where r is not null;
  if new.verb = 'keep h' then
    perform tidemill._expect_kinds(h.rows_table, '{p}');
    perform tidemill._expect_kinds(h.view, '{v}');
    perform tidemill._expect_kinds(h.segments, '{p}');
  elsif new.verb = 'keep c' and c.number is null then
    perform tidemill._expect_kinds(c.relation, '{r}');
  end if;
  case new.verb
    when 'keep h' then
      if h.id is null then
        insert into tidemill._hypertables (
            rows_table, time_column, time_type, chunk_width, chunks_schema)
          values (h.rows_table, h.time_column, h.time_type, h.chunk_width, h.chunks_schema)
          returning * into h;
      else
        update tidemill._hypertables i set
            rows_table = h.rows_table, view = h.view, segments = h.segments,
            segmentby = h.segmentby, orderby = h.orderby, is_transparent = h.is_transparent, shown_schema = h.shown_schema, is_updatable = h.is_updatable,
            arms = h.arms
          where i.id = h.id;
      end if;
    when 'lay out h' then
      -- A verb of its own: who keeps h has read the rest of it before.
      update tidemill._hypertables i set chunk_width = h.chunk_width, tablespaces = h.tablespaces where i.id = h.id;
    when 'keep c' then
      if c.number is null then
        if not exists (select from pg_inherits p where p.inhrelid = c.relation and p.inhparent = stored.rows_table) then
          raise exception using errcode = '42501', message = format('"%s" is no chunk of this hypertable', c.relation);
        end if;
        -- The row lock numbers the chunks of two sessions one after the other.
        perform from tidemill._hypertables i where i.id = c.hypertable_id for no key update;
        select coalesce(max(k.number), 0) + 1 into c.number from tidemill._chunks k where k.hypertable_id = c.hypertable_id;
        insert into tidemill._chunks (hypertable_id, number, relation, range_start, range_end)
          values (c.hypertable_id, c.number, c.relation, c.range_start, c.range_end)
          returning * into c;
      else
        update tidemill._chunks k set
            is_compressed = c.is_compressed, packed_rows = c.packed_rows, emptied_by = c.emptied_by, bytes_before_heap = c.bytes_before_heap,
            bytes_before_index = c.bytes_before_index, bytes_before_toast = c.bytes_before_toast
          where k.hypertable_id = c.hypertable_id and k.number = c.number;
      end if;
    when 'forget c' then
      delete from tidemill._chunks k where k.hypertable_id = c.hypertable_id and k.number = c.number;
    when 'note' then
      if stored.id is null or not new.what = any(tidemill._functions_for_hypertables()) or starts_with(new.what, '_') then
        raise exception using errcode = '42501', message = 'an act is that of a function on a hypertable';
      end if;
      -- What policies do is in the history of actions.
      if not tidemill._is_run_of_own_routine() then
        perform tidemill._note_act(
          new.who, new.what, array(select left(s, 200) from unnest(new.subjects[:100]) s), cardinality(new.subjects), null,
          new.before, new.after);
      end if;
  end case;
  new.h := h;
  new.c := c;
  return new;
end
$$;

create or replace function tidemill._note_hypertable_act(
  h tidemill._hypertables, what text, before jsonb default null, after jsonb default null, chunk regclass default null,
  subjects text[] default null
) returns void
language plpgsql set search_path = pg_catalog, pg_temp
as $$
declare
  -- The view may have been dropped by hand.
  shown constant text := coalesce(
    (select v.oid::regclass::text from pg_class v where v.oid = h.view and h.is_transparent), h.rows_table::text);
  named tidemill._hypertables;
begin
  named.id := h.id;
  if chunk is not null then
    subjects := array[chunk::text];
  end if;
  if subjects is not null then
    before := before || jsonb_build_object('hypertable', shown);
    after := after || jsonb_build_object('hypertable', shown);
  end if;
  insert into tidemill._hypertable_requests (h, verb, what, subjects, before, after)
    values (named, 'note', what, coalesce(subjects, array[shown]), before, after);
end
$$;
comment on function tidemill._note_hypertable_act is
$$Writes the act of a function that somebody has called by hand.

chunk     what was changed, as are
subjects  the names of chunks; without both it is the hypertable
before, after
          of chunks the name of the hypertable is added, unless it is NULL$$;

create or replace function tidemill._packing_in_short(h tidemill._hypertables) returns jsonb
language sql immutable set search_path = pg_catalog, pg_temp
as $$
  select jsonb_build_object(
    'segmentby', h.segmentby, 'orderby', h.orderby, 'transparent', h.is_transparent, 'updatable', h.is_updatable)
$$;
comment on function tidemill._packing_in_short is 'How a hypertable is packed, for an act.';

create or replace function tidemill._expect_owner(caller regrole, relation regclass) returns void
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
begin
  if not exists (select from pg_class r where r.oid = relation and pg_has_role(caller, r.relowner, 'usage')) then
    raise exception using errcode = '42501', message = format('must be owner of hypertable "%s"', relation);
  end if;
end
$$;

create or replace function tidemill._expect_kinds(relation regclass, kinds "char"[]) returns void
language plpgsql stable set search_path = pg_catalog, pg_temp
as $$
begin
  -- What others read for sizes must not be a view or a foreign table, which runs its owner's code with their rights.
  if relation is not null and not exists (select from pg_class r where r.oid = relation and r.relkind = any(kinds)) then
    raise exception using errcode = '42809', message = format('"%s" is not of the kind that a hypertable keeps there', relation),
      hint = 'Let the functions of hypertables write the catalogue.';
  end if;
end
$$;
comment on function tidemill._expect_kinds is 'Raises 42809 unless a relation has one of these kinds (of pg_class.relkind), or is NULL.';

create or replace trigger answer instead of insert on tidemill._hypertable_requests
  for each row execute function tidemill._answer_hypertable();
alter view tidemill._hypertable_requests alter who set default current_user;
