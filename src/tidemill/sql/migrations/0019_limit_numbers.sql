-- A gate has the number of its limit in the bits from 40 on, so there is room for so many numbers. One that is larger is a
-- gate of no limit. Each call of set_limit used one up: those that no limit got are given back.
alter table tidemill._limits add constraint limits_id_check check (id between 1 and 8388606) not valid;
select setval(pg_get_serial_sequence('tidemill._limits', 'id'), max(id)) from tidemill._limits having max(id) > 0;

-- It returns one column more, which workers of before leave out.
drop function if exists tidemill._declare_limits(jsonb);
