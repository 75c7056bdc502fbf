-- Decoys in a schema: for every operator, function, type and relation of pg_catalog that our SQL may name, whatever
-- the types of its arguments. Each one notes in a sequence, which no rollback resets, that it was called.
create sequence @schema.caught;
grant usage, update, select on sequence @schema.caught to public;
create table @schema.decoys (id bigint generated always as identity, what text);

create or replace procedure pg_temp.lay(what text, statement text) language plpgsql as $$
declare
  decoy bigint;
begin
  insert into @schema.decoys (what) values (what) returning decoys.id into decoy;
  execute pg_catalog.replace(statement, '@body', pg_catalog.format(
    'begin perform pg_catalog.setval(''@schema.caught''::pg_catalog.regclass, %s::pg_catalog.int8, true);'
    ' raise exception using message = %L; end', decoy, 'decoy: ' || what));
exception when duplicate_function or duplicate_object or invalid_function_definition or wrong_object_type or feature_not_supported then
  null;
end
$$;

create or replace function pg_temp.lay_function(name name, arguments text[], returns text) returns void
language plpgsql as $$
begin
  call pg_temp.lay(
    format('%I(%s)', name, array_to_string(arguments, ', ')),
    format('create function @schema.%I(%s) returns %s language plpgsql as $body$ @body $body$',
           name, array_to_string(arguments, ', '), returns));
end
$$;

create or replace procedure pg_temp.lay_operator(name text, l text, r text, returns text) language plpgsql as $$
declare
  function name := 'op_' || md5(name || coalesce(l, '') || ',' || r);
begin
  call pg_temp.lay(
    format('%s(%s, %s)', name, l, r),
    format('create function @schema.%1$I(%4$s %5$s) returns %6$s language plpgsql as $body$ @body $body$;'
           ' create operator @schema.%2$s (function = @schema.%1$I, %3$s rightarg = %5$s)',
           function, name, 'leftarg = ' || l || ',', l || ',', r, returns));
end
$$;

create or replace procedure pg_temp.lay_all(operators text[], functions text[], types text[], relations text[])
language plpgsql set client_min_messages = warning as $$
declare
  single constant text[] := '{smallint,integer,bigint,text,varchar,name,boolean,json,jsonb,timestamptz,interval,oid,regrole,text[],bigint[],integer[],anyelement,anyarray}';
  pairs constant text[] := '{smallint,integer,bigint,text,name,json,jsonb,timestamptz,interval,text[]}';
  one record;
begin
  for one in
    select o.name, l.type as l, r.type as r
    from unnest(operators) o (name), unnest(single) l (type), unnest(single) r (type)
    -- A polymorphic decoy for two types would fit better than none, and one for any two better than casts.
    where (l.type like 'any%') = (r.type like 'any%')
  loop
    call pg_temp.lay_operator(
      one.name, one.l, one.r,
      case when one.name in ('||', '->', '+', '-', '*', '/', '%') then
        case when one.l like 'any%' then 'text' else one.l end
      when one.name = '->>' then 'text' else 'boolean' end);
  end loop;
  -- Exactly as those of pg_catalog, for a search path that leads to public first.
  for one in
    select o.oprname as name, case when o.oprleft <> 0 then format_type(o.oprleft, null) end as l,
      format_type(o.oprright, null) as r, format_type(o.oprresult, null) as result
    from pg_operator o
    where o.oprnamespace = 'pg_catalog'::regnamespace and o.oprname = any(operators)
  loop
    call pg_temp.lay_operator(one.name, one.l, one.r, one.result);
  end loop;

  for one in
    select p.proname as name, array(select format_type(t, null) from unnest(p.proargtypes) t) as arguments,
      case when p.proretset then 'setof ' else '' end || format_type(p.prorettype, null) as returns,
      p.pronargs as n, p.provariadic <> 0 as is_variadic
    from pg_proc p
    where p.pronamespace = 'pg_catalog'::regnamespace and p.prokind <> 'p' and p.proname = any(functions)
  loop
    if one.returns not in ('record', 'setof record') and not one.is_variadic then
      perform pg_temp.lay_function(one.name, one.arguments, one.returns);
    end if;
    -- With polymorphic results, and records, the one that is laid returns text: it never returns anyway.
    if one.returns like '%any%' or one.returns like '%record' then
      one.returns := 'text';
    end if;
    if one.n = 1 or one.is_variadic then
      for i in 1 .. cardinality(single) loop
        perform pg_temp.lay_function(one.name, array[single[i]], one.returns);
      end loop;
    end if;
    if one.n = 2 or one.is_variadic then
      for i in 1 .. cardinality(pairs) loop
        for j in 1 .. cardinality(pairs) loop
          perform pg_temp.lay_function(one.name, array[pairs[i], pairs[j]], one.returns);
        end loop;
      end loop;
    end if;
    if one.is_variadic then
      perform pg_temp.lay_function(one.name, array['variadic text[]'], 'text');
      perform pg_temp.lay_function(one.name, array['text', 'variadic text[]'], 'text');
      perform pg_temp.lay_function(one.name, array['text', 'variadic name[]'], 'text');
      perform pg_temp.lay_function(one.name, array['text', 'text', 'integer'], 'text');
      perform pg_temp.lay_function(one.name, array['text', 'integer', 'text'], 'text');
      perform pg_temp.lay_function(one.name, array['text', 'integer', 'integer'], 'text');
    end if;
    if one.n > 2 then
      perform pg_temp.lay_function(
        one.name, array(select case when a = 'text' then 'varchar' else a end from unnest(one.arguments) a), one.returns);
      perform pg_temp.lay_function(
        one.name, array(select case when a in ('bigint', 'integer') then 'smallint' else a end
                        from unnest(one.arguments) a), one.returns);
    end if;
  end loop;

  for one in select t.typname as name from pg_type t
    where t.typnamespace = 'pg_catalog'::regnamespace and t.typname = any(types) and t.typtype = 'b'
  loop
    perform pg_temp.lay_function('in_type_' || one.name, array['pg_catalog.' || one.name], 'boolean');
    execute format('create domain @schema.%1$I as pg_catalog.%1$I check (@schema.%2$I(value))',
                   one.name, 'in_type_' || one.name);
  end loop;
  perform pg_temp.lay_function('in_relation', '{}', 'boolean');
  for one in
    select c.relname as name, string_agg(quote_ident(a.attname), ', ') as columns
    from pg_class c join pg_attribute a on a.attrelid = c.oid
    where c.relnamespace = 'pg_catalog'::regnamespace and c.relname = any(relations) and c.relkind in ('r', 'v')
      and a.attnum > 0 and a.atttypid <> 'anyarray'::regtype
    group by c.relname
  loop
    execute format('create view @schema.%1$I as select %2$s from pg_catalog.%1$I where @schema.in_relation()',
                   one.name, one.columns);
  end loop;
end
$$;
