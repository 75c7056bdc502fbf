-- What our statements rely on, for the rest of the session. Only if no pooler stands between: it hands out
-- made-up process numbers, and what is set on its connections would reach its other clients.
select pg_catalog.set_config(s.name, s.value, false)
from (
  values
    ('search_path', 'pg_catalog, pg_temp'),
    ('default_transaction_isolation', 'read committed'),
    ('default_transaction_deferrable', 'off'),
    ('array_nulls', 'on'),
    -- A session that waits, for a lock perhaps, ends soon after its client.
    ('client_connection_check_interval',
     case when pg_catalog.strpos(pg_catalog.version(), 'linux') operator(pg_catalog.>) 0 then '2s' end),
    ('exit_on_error', 'off'),
    ('extra_float_digits', '1'),
    ('idle_in_transaction_session_timeout', '0'),
    ('idle_session_timeout', '0'),
    ('intervalstyle', 'postgres'),
    ('lock_timeout', '0'),
    ('plpgsql.extra_errors', 'none'),
    ('quote_all_identifiers', 'off'),
    ('row_security', 'on'),
    ('standard_conforming_strings', 'on'),
    ('statement_timeout', '0'),
    ('transaction_timeout', '0'),
    ('transform_null_equals', 'off')
) s (name, value)
where pg_catalog.pg_backend_pid() operator(pg_catalog.=) %(pid)s::integer
  and s.value is not null
  -- Older servers lack some of them.
  and pg_catalog.current_setting(s.name, true) is not null
