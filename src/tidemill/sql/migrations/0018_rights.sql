-- What an operator does is asked for by _operator_requests, and these are told who asks.
drop function if exists tidemill._bulk_change(tidemill._bulk_acts, bigint[]);
