begin isolation level read committed;
-- One installer at a time in a database: the number spells "tidemill".
select pg_advisory_xact_lock(x'746964656d696c6c'::bigint);
-- While we wait for a view's lock, its readers wait behind us: so give up after a while.
select set_config('lock_timeout', '30s', true) where current_setting('lock_timeout') = '0';
set local check_function_bodies = off;
set local client_min_messages = warning;
set local search_path = pg_catalog, pg_temp;
