"""What is public: the views' columns, the functions' signatures, and a comment on each."""

from __future__ import annotations

import re

import pytest

from tests.sql.calls import Queue, spec
from tests.support.documents import ROOT

pytestmark = pytest.mark.versions(18, 17, 16, 15)

JOB = (
    "id bigint, identifier text, queue_name text, payload json, state text, priority smallint,"
    " run_at timestamptz, attempts smallint, max_attempts smallint, last_error text, created_at timestamptz,"
    " updated_at timestamptz, key text, locked_at timestamptz, locked_by text, revision integer, flags text[]"
)
JOB_SPEC = (
    "identifier text, payload json, queue_name text, run_at timestamptz, max_attempts smallint, job_key text,"
    " priority smallint, flags text[]"
)
PRIVATE_JOBS = (
    "id bigint, job_queue_id integer, task_id integer, payload json, priority smallint, run_at timestamptz,"
    " attempts smallint, max_attempts smallint, last_error text, created_at timestamptz,"
    " updated_at timestamptz, key text, locked_at timestamptz, locked_by text, revision integer, flags jsonb,"
    " is_available boolean"
)
COLUMNS = {
    "tidemill.job": JOB,
    "tidemill.job_spec": JOB_SPEC,
    "tidemill.jobs": JOB + ", has_worker boolean, retrying boolean, slot timestamptz",
    "tidemill.workers": (
        "id text, hostname text, pid integer, version text, state text, concurrency integer, in_hand integer,"
        " tasks text[], started_at timestamptz, heartbeat_at timestamptz, expires_at timestamptz"
    ),
    "tidemill.actions": (
        "id integer, name text, application_name text, kind text, routine text, task text, schedule text,"
        " schedule_interval interval, fixed_schedule boolean, initial_start timestamptz, timezone text,"
        " next_start timestamptz, state text, scheduled boolean, paused_because text, owner regrole,"
        " config jsonb, check_config text, max_runtime interval, max_retries integer, retry_period interval,"
        " missed text, backfill_period interval, on_failure text, job_options jsonb, declared boolean,"
        " created_at timestamptz"
    ),
    "tidemill.action_stats": (
        "action_id integer, name text, state text, run_id bigint, running_since timestamptz,"
        " last_start timestamptz, last_finish timestamptz, last_duration interval, last_run_success boolean,"
        " last_successful_finish timestamptz, next_start timestamptz, total_runs bigint,"
        " total_successes bigint, total_failures bigint, total_crashes bigint, total_duration interval,"
        " total_duration_failures interval, consecutive_failures integer, consecutive_crashes integer"
    ),
    "tidemill.action_history": (
        "id bigint, action_id integer, name text, outcome text, succeeded boolean, by_hand boolean,"
        " slot timestamptz, started_at timestamptz, finished_at timestamptz, duration interval, routine text,"
        " task text, job_id bigint, owner regrole, worker_id text, pid integer, config jsonb, sqlstate text,"
        " message text, detail text, hint text, context text, output text"
    ),
    "tidemill.action_errors": (
        "id bigint, action_id integer, name text, outcome text, by_hand boolean, slot timestamptz,"
        " started_at timestamptz, finished_at timestamptz, duration interval, routine text, task text,"
        " owner regrole, worker_id text, pid integer, config jsonb, sqlstate text, message text, detail text,"
        " hint text, context text, output text"
    ),
    "graphile_worker.job_spec": JOB_SPEC,
    "graphile_worker.jobs": (
        "id bigint, queue_name text, task_identifier text, priority smallint, run_at timestamptz,"
        " attempts smallint, max_attempts smallint, last_error text, created_at timestamptz,"
        " updated_at timestamptz, key text, locked_at timestamptz, locked_by text, revision integer,"
        " flags jsonb"
    ),
    "graphile_worker._private_jobs": PRIVATE_JOBS,
    "graphile_worker._private_tasks": "id integer, identifier text",
    "graphile_worker._private_job_queues": (
        "id integer, queue_name text, locked_at timestamptz, locked_by text, is_available boolean"
    ),
    "graphile_worker._private_known_crontabs": (
        "identifier text, known_since timestamptz, last_execution timestamptz"
    ),
}
ADD_JOB = (
    "identifier text, payload json DEFAULT NULL::json, queue_name text DEFAULT NULL::text,"
    " run_at timestamptz DEFAULT NULL::timestamptz, max_attempts integer DEFAULT NULL::integer,"
    " job_key text DEFAULT NULL::text, priority integer DEFAULT NULL::integer,"
    " flags text[] DEFAULT NULL::text[], job_key_mode text DEFAULT 'replace'::text"
)
RESCHEDULE = (
    "job_ids bigint[], run_at timestamptz DEFAULT NULL::timestamptz, priority integer DEFAULT NULL::integer,"
    " attempts integer DEFAULT NULL::integer, max_attempts integer DEFAULT NULL::integer"
)
FAIL = "job_ids bigint[], error_message text DEFAULT NULL::text"
SHARED = {
    "remove_job": ("job_key text", "{row}"),
    "complete_jobs": ("job_ids bigint[]", "SETOF {row}"),
    "permanently_fail_jobs": (FAIL, "SETOF {row}"),
    "reschedule_jobs": (RESCHEDULE, "SETOF {row}"),
    "force_unlock_workers": ("worker_ids text[]", "void"),
    "add_job": (ADD_JOB, "{row}"),
}
SPECS = "specs {schema}.job_spec[], job_key_preserve_run_at boolean DEFAULT false"
FUNCTIONS = {
    "tidemill": SHARED
    | {
        "add_jobs": (SPECS + ", job_key_mode text DEFAULT NULL::text", "SETOF {row}"),
        "cancel_jobs": ("job_ids bigint[], reason text DEFAULT NULL::text", "SETOF {row}"),
    },
    "graphile_worker": SHARED | {"add_jobs": (SPECS, "SETOF {row}")},
}
ADD_ACTION = (
    "proc regproc DEFAULT NULL::regproc, schedule_interval interval DEFAULT NULL::interval,"
    " config jsonb DEFAULT NULL::jsonb, initial_start timestamptz DEFAULT NULL::timestamptz,"
    " scheduled boolean DEFAULT true, check_config regproc DEFAULT NULL::regproc,"
    " fixed_schedule boolean DEFAULT true, timezone text DEFAULT NULL::text, name text DEFAULT NULL::text,"
    " schedule text DEFAULT NULL::text, task text DEFAULT NULL::text,"
    " max_runtime interval DEFAULT NULL::interval, max_retries integer DEFAULT NULL::integer,"
    " retry_period interval DEFAULT NULL::interval, missed text DEFAULT 'run_once'::text,"
    " backfill_period interval DEFAULT NULL::interval, on_failure text DEFAULT NULL::text,"
    " job_options jsonb DEFAULT NULL::jsonb, if_not_exists boolean DEFAULT false"
)
ALTER_ACTION = (
    "action_id integer, schedule_interval interval DEFAULT NULL::interval,"
    " max_runtime interval DEFAULT NULL::interval, max_retries integer DEFAULT NULL::integer,"
    " retry_period interval DEFAULT NULL::interval, scheduled boolean DEFAULT NULL::boolean,"
    " config jsonb DEFAULT NULL::jsonb, next_start timestamptz DEFAULT NULL::timestamptz,"
    " if_exists boolean DEFAULT false, check_config regproc DEFAULT NULL::regproc,"
    " fixed_schedule boolean DEFAULT NULL::boolean,"
    " initial_start timestamptz DEFAULT NULL::timestamptz, timezone text DEFAULT NULL::text,"
    " name text DEFAULT NULL::text, config_merge jsonb DEFAULT NULL::jsonb,"
    " schedule text DEFAULT NULL::text, missed text DEFAULT NULL::text,"
    " backfill_period interval DEFAULT NULL::interval, on_failure text DEFAULT NULL::text,"
    " job_options jsonb DEFAULT NULL::jsonb"
)
ALTERED_ACTION = (
    "TABLE(action_id integer, schedule_interval interval, max_runtime interval, max_retries integer,"
    " retry_period interval, scheduled boolean, config jsonb, next_start timestamptz, check_config text,"
    " fixed_schedule boolean, initial_start timestamptz, timezone text, application_name name, name text,"
    " schedule text, missed text, backfill_period interval, on_failure text, job_options jsonb)"
)
NEXT_START = "schedule_interval interval, initial_start timestamptz, timezone text, finished_at timestamptz"
NEXT_RUNS = "action_id integer, n integer DEFAULT 5, after timestamptz DEFAULT NULL::timestamptz"
ACTIONS = {
    "action_id": ("name text", "integer"),
    "add_action": (ADD_ACTION, "integer"),
    "alter_action": (ALTER_ACTION, ALTERED_ACTION),
    "delete_action": ("action_id integer", "void"),
    "run_action": ("IN action_id integer", None),
    "next_start": (NEXT_START, "timestamptz"),
    "next_runs": (NEXT_RUNS, "SETOF timestamptz"),
    "set_on_failure": ("task text", "void"),
    "set_action_owner": ("action_id integer, owner regrole", "void"),
    "grant_actions": ("to_role regrole", "void"),
    "prune_action_history": ("IN job_id integer, IN config jsonb", None),
    "check_history_retention": ("config jsonb", "void"),
}
ROWS = {"tidemill": "tidemill.job", "graphile_worker": "graphile_worker._private_jobs"}


@pytest.mark.parametrize("name", COLUMNS)
def test_columns(queue: Queue, name: str) -> None:
    told = queue.value(
        "select string_agg(attname || ' ' || format_type(atttypid, atttypmod), ', ' order by attnum)"
        " from pg_attribute where attrelid = %s::regclass and attnum > 0 and not attisdropped",
        [name],
    )
    assert told.replace("timestamp with time zone", "timestamptz") == COLUMNS[name]


@pytest.mark.parametrize("schema", FUNCTIONS)
def test_functions(queue: Queue, schema: str) -> None:
    rows = queue.rows(
        "select proname, pg_get_function_arguments(oid) as arguments, pg_get_function_result(oid) as result,"
        " provolatile = 'v' and proparallel = 'u' and prokind = 'f' as ordinary, proisstrict,"
        " prosecdef, proconfig"
        " from pg_proc where pronamespace = %s::regnamespace and proname not like '\\_%%'",
        [schema],
    )
    told = {
        row["proname"]: (row["arguments"].replace("timestamp with time zone", "timestamptz"), row["result"])
        for row in rows
    }
    names = {"schema": schema, "row": ROWS[schema]}
    # Other parts of Tidemill have functions of their own beside these.
    wanted = {
        name: tuple(text.format(**names) for text in texts) for name, texts in FUNCTIONS[schema].items()
    }
    assert {name: told.get(name) for name in wanted} == wanted
    queued = [row for row in rows if row["proname"] in wanted]
    assert len(queued) == len(wanted)
    assert all(row["ordinary"] for row in queued)
    assert {row["proname"] for row in queued if row["proisstrict"]} == {"remove_job"}
    definers = {row["proname"] for row in queued if row["prosecdef"]}
    assert definers == ({"add_job", "add_jobs"} if schema == "tidemill" else set())
    for row in queued:
        if row["prosecdef"]:
            assert row["proconfig"] == ["search_path=pg_catalog, pg_temp"]


def test_all_other_public_functions(queue: Queue) -> None:
    rows = queue.rows(
        "select proname, pg_get_function_arguments(oid) as arguments, pg_get_function_result(oid) as result"
        " from pg_proc where pronamespace = 'tidemill'::regnamespace and proname not like '\\_%%'"
        " and proname <> all(%s)",
        [list(FUNCTIONS["tidemill"])],
    )
    told = {
        row["proname"]: tuple(
            text and text.replace("timestamp with time zone", "timestamptz")
            for text in (row["arguments"], row["result"])
        )
        for row in rows
    }
    assert told == ACTIONS, "name each public function, with its signature, in FUNCTIONS or in ACTIONS"


def test_public_functions_are_found_by_name(queue: Queue) -> None:
    """Each is the first in the file of its name, and no file holds another."""
    files = {}
    for file in (ROOT / "src/tidemill/sql/functions").rglob("*.sql"):
        text = file.read_text(encoding="utf-8")
        assert file.stem not in files or file.stem == "views"
        files[file.stem] = re.findall(r"(?m)^create or replace (?:function|procedure) tidemill\.(\w+)", text)
    laid = queue.rows(
        "select distinct proname from pg_proc"
        " where pronamespace = 'tidemill'::regnamespace and proname not like '\\_%%'"
    )
    public = {row["proname"] for row in laid}
    assert {name for name in files if name in public} == public
    for stem, names in files.items():
        assert [name for name in names if name in public] == ([stem] if stem in public else [])
        assert stem not in names or names[0] == stem


def test_functions_with_rights_of_their_own_say_where_they_look(queue: Queue) -> None:
    unsafe = queue.rows(
        "select proname from pg_proc where pronamespace = 'tidemill'::regnamespace and prosecdef"
        " and not 'search_path=pg_catalog, pg_temp' = any(proconfig) is true"
    )
    assert unsafe == []


@pytest.mark.parametrize("schema", FUNCTIONS)
def test_comments_on_functions(queue: Queue, schema: str) -> None:
    bare = queue.rows(
        "select proname from pg_proc where pronamespace = %s::regnamespace and proname not like '\\_%%'"
        " and obj_description(oid, 'pg_proc') is null",
        [schema],
    )
    assert bare == []


def test_comments_on_views_and_types(queue: Queue) -> None:
    bare = queue.rows(
        "select oid::regclass::text from pg_class where relkind in ('v', 'c', 'r')"
        " and relnamespace = 'tidemill'::regnamespace and obj_description(oid, 'pg_class') is null"
        " and not (relkind = 'c' and obj_description(reltype, 'pg_type') is not null)"
    )
    assert bare == []
    for column in ("state", "attempts", "locked_by", "revision", "has_worker", "retrying"):
        assert queue.value(
            "select col_description(attrelid, attnum) from pg_attribute"
            " where attrelid = 'tidemill.jobs'::regclass and attname = %s",
            [column],
        )


def test_nobody_else_may_call_them(queue: Queue) -> None:
    open_to_all = queue.rows(
        "select proname from pg_proc where pronamespace = 'tidemill'::regnamespace"
        " and has_function_privilege('public', oid, 'execute') order by 1"
    )
    # Views call these with the rights of their reader.
    assert open_to_all == [{"proname": "_application_name"}, {"proname": "_state"}]


# The dialect


def test_the_dialect_by_position(queue: Queue) -> None:
    row = queue.row(
        "select * from graphile_worker.add_job('t', '[1]', 'q', '2030-01-01 00:00+00', 3, 'k', -1,"
        " '{b,a,b}', 'replace')"
    )
    assert row["run_at"].year == 2030
    stored = queue.kept(row["id"])
    assert row == {
        "id": 1,
        "job_queue_id": stored["queue_id"],
        "task_id": stored["task_id"],
        "payload": [1],
        "priority": -1,
        "run_at": stored["run_at"],
        "attempts": 0,
        "max_attempts": 3,
        "last_error": None,
        "created_at": stored["created_at"],
        "updated_at": stored["updated_at"],
        "key": "k",
        "locked_at": None,
        "locked_by": None,
        "revision": 0,
        "flags": {"a": True, "b": True},
        "is_available": True,
    }
    assert queue.row("select * from graphile_worker._private_jobs") == row
    (bulk,) = queue.rows(
        "select * from graphile_worker.add_jobs(array[row('t', '[2]', 'q', null, null, 'k', null, '{}')"
        "::graphile_worker.job_spec], true)"
    )
    assert (bulk["id"], bulk["payload"], bulk["run_at"], bulk["flags"]) == (1, None, row["run_at"], None)
    assert queue.kept(1)["payload"] == [1, 2]
    (row,) = queue.rows("select * from graphile_worker.permanently_fail_jobs('{1}', 'no')")
    assert (row["last_error"], row["attempts"], row["is_available"]) == ("no", 25, False)
    (row,) = queue.rows("select * from graphile_worker.reschedule_jobs('{1}', now(), 7, 0, 9)")
    assert (row["priority"], row["attempts"], row["max_attempts"], row["is_available"]) == (7, 0, 9, True)
    assert queue.row("select * from graphile_worker.remove_job('k')")["id"] == 1
    added = queue.add()
    (row,) = queue.rows("select * from graphile_worker.complete_jobs(%s)", [[added["id"]]])
    assert row["id"] == added["id"]


def test_the_dialect_by_name(queue: Queue) -> None:
    added = queue.add(schema="graphile_worker", payload={}, job_key="k", job_key_mode="unsafe_dedupe")
    assert (added["job_queue_id"], added["flags"]) == (None, None)
    queue.add_many([spec(job_key="k")], schema="graphile_worker", job_key_preserve_run_at=True)
    for call, count in (
        ("permanently_fail_jobs(job_ids := '{1}', error_message := 'no')", 1),
        ("reschedule_jobs(job_ids := '{1}', max_attempts := 3, attempts := 0)", 1),
        ("remove_job(job_key := 'k')", 1),
        ("complete_jobs(job_ids := '{1}')", 0),
        ("force_unlock_workers(worker_ids := '{w}')", 1),
    ):
        assert len(queue.rows(f"select * from graphile_worker.{call}")) == count


def test_the_dialect_sees_leases(queue: Queue) -> None:
    queue.add(queue_name="q", flags=["f"])
    queue.claim()
    row = queue.row("select * from graphile_worker.jobs")
    assert (row["task_identifier"], row["queue_name"], row["locked_by"], row["attempts"], row["flags"]) == (
        "t",
        "q",
        "w",
        1,
        {"f": True},
    )
    held = queue.row("select * from graphile_worker._private_job_queues")
    assert (held["id"], held["queue_name"], held["locked_by"], held["is_available"]) == (1, "q", "w", False)
    assert queue.row("select * from graphile_worker._private_tasks") == {"id": 1, "identifier": "t"}
    assert queue.value("select is_available from graphile_worker._private_jobs") is False
    queue.rows("select graphile_worker.force_unlock_workers('{w}')")
    assert queue.value("select is_available from graphile_worker._private_jobs") is True
