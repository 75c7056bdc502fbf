"""Actions that the tests of the command line ask for."""

from __future__ import annotations

from typing import Any

import psycopg

ROUTINES = """
create procedure app.say(action_id integer, config jsonb) language plpgsql as $$
begin
  raise notice 'action % says %', action_id, config ->> 'word';
end
$$;
create procedure app.fail(action_id integer, config jsonb) language plpgsql as $$
begin
  raise notice 'about to fail';
  raise exception 'the shop is closed' using detail = 'It is Sunday.', hint = 'Come back on Monday.';
end
$$;
create procedure app.twice(integer) language sql as 'select';
create procedure app.twice(integer, jsonb) language sql as 'select';
create procedure app.in_steps(action_id integer, config jsonb) language plpgsql as $$
begin
  create table app.steps (n integer);
  commit;
  insert into app.steps values (1);
  rollback;
end
$$;
create procedure app.wait(action_id integer, config jsonb) language plpgsql as $$
begin
  raise notice 'before';
  perform pg_advisory_xact_lock(4711);
  raise notice 'after';
end
$$;
create function app.check_word(config jsonb) returns void language plpgsql as $$
begin
  if config ->> 'word' is null then
    raise exception 'there is no word in the config' using hint = 'Give one.';
  end if;
end
$$;
create function app.check_interval(config jsonb) returns void language plpgsql as $$
begin
  raise invalid_datetime_format using message = 'invalid input syntax for type interval: "1h"';
end
$$;
create procedure app.say_nothing(action_id integer, config jsonb) language plpgsql as $$
begin
  raise exception using message = '';
end
$$;
create procedure app.hang_up(action_id integer, config jsonb) language plpgsql as $$
begin
  perform pg_terminate_backend(pg_backend_pid());
end
$$;
"""


def add_action(
    connection: psycopg.Connection, name: str | None = None, routine: str = "app.say", **more: Any
) -> int:
    options = "".join(f", {option} => %({option})s" for option in more)
    row = connection.execute(
        f"select tidemill.add_action(%(routine)s::text::regproc, '1 h', name => %(name)s{options})".encode(),
        {"routine": routine, "name": name, **more},
    ).fetchone()
    assert row is not None
    return int(row[0])


def add_run(connection: psycopg.Connection, action_id: int, outcome: str, ago: str, **more: Any) -> int:
    """Puts a run into the history."""
    columns = "".join(f", {column}" for column in more)
    values = "".join(f", %({column})s" for column in more)
    row = connection.execute(
        f"""
        insert into tidemill._action_runs
          (action_id, application_name, owner, proc_schema, proc_name, worker_id, outcome,
           started_at, finished_at{columns})
        values (%(id)s, 'User-Defined Action [' || %(id)s || ']', current_user::regrole, 'app', 'say', 'w',
          %(outcome)s, clock_timestamp() - %(ago)s::interval,
          clock_timestamp() - %(ago)s::interval + interval '1500 ms'{values})
        returning id
        """.encode(),
        {"id": action_id, "outcome": outcome, "ago": ago, **more},
    ).fetchone()
    assert row is not None
    return int(row[0])
