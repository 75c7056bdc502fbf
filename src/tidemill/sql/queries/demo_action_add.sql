SELECT add_job('user_defined_action', '1h', config => '{"hypertable":"metrics"}');
