"""What is public: the views' columns, the functions' signatures, and a comment on each."""

from __future__ import annotations

import re

import pytest

from tests.sql.calls import Queue, spec
from tests.support.documents import ROOT
from tests.support.open_functions import OPEN_TO_ALL

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
SEEN = (
    ", has_worker boolean, retrying boolean, slot timestamptz, keep text, trace text, progress real,"
    " progress_message text, paused_at timestamptz"
)
COLUMNS = {
    "tidemill.job": JOB,
    "tidemill.job_spec": JOB_SPEC,
    "tidemill.jobs": JOB + SEEN,
    "tidemill.job_history": (
        "id bigint, identifier text, outcome text, finished_at timestamptz, started_at timestamptz,"
        " duration interval, attempt smallint, max_attempts smallint, queue_name text, key text,"
        " priority smallint, created_at timestamptz, run_at timestamptz, payload json, result json,"
        " error text, error_type text, error_frame text, error_fingerprint text, traceback text,"
        " worker_id text, worker_version text, keep text, progress real, progress_message text"
    ),
    "tidemill.tasks": (
        "identifier text, payload_schema jsonb, options jsonb, summary text, workers integer,"
        " last_seen timestamptz"
    ),
    "tidemill.task_stats": (
        "identifier text, bucket timestamptz, width interval, done bigint, failed bigint, retried bigint,"
        " cancelled bigint, run_time interval, longest_run interval, wait_time interval,"
        " run_histogram bigint[], wait_histogram bigint[]"
    ),
    "tidemill.workers": (
        "id text, hostname text, pid integer, version text, state text, concurrency integer, in_hand integer,"
        " tasks text[], started_at timestamptz, heartbeat_at timestamptz, expires_at timestamptz,"
        " stop_asked text"
    ),
    "tidemill.pauses": (
        "kind text, name text, paused_at timestamptz, paused_by text, acts_as text, reason text"
    ),
    "tidemill.acts": (
        "id bigint, at timestamptz, who text, acts_as text, application_name text, what text,"
        " subjects text[], subject_count bigint, reason text, before jsonb, after jsonb"
    ),
    "tidemill.grants": "role text, grantee regrole",
    "tidemill.bulk_acts": (
        "id bigint, act text, filter jsonb, options jsonb, state text, asked_by text, application_name text,"
        " created_at timestamptz, cutoff timestamptz, matching integer, progress real, changed bigint,"
        " passed_over jsonb, started_at timestamptz, moved_at timestamptz, finished_at timestamptz"
    ),
    "tidemill.limits": (
        "name text, task text, concurrency integer, rate integer, period interval, burst integer, per text,"
        " in_use integer, waiting integer, tasks text[], changed_at timestamptz"
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
    "tidemill.hypertables": (
        "id integer, hypertable_schema name, hypertable_name name, owner name, num_chunks bigint,"
        " compression_enabled boolean, primary_dimension name, primary_dimension_type regtype,"
        " time_interval interval, integer_interval bigint, chunks_schema name, created_at timestamptz,"
        " tablespaces name[], rows_schema name, rows_table name"
    ),
    "tidemill.compression_settings": (
        "hypertable_schema name, hypertable_name name, attname name, segmentby_column_index smallint,"
        " orderby_column_index smallint, orderby_asc boolean, orderby_nullsfirst boolean"
    ),
    "tidemill.chunks": (
        "hypertable_schema name, hypertable_name name, chunk_schema name, chunk_name name,"
        " hypertable_id integer, number integer, primary_dimension name, primary_dimension_type regtype,"
        " range_start timestamptz, range_end timestamptz, range_start_integer bigint,"
        " range_end_integer bigint, is_compressed boolean, chunk_tablespace name,"
        " chunk_creation_time timestamptz"
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
SET_LIMIT = (
    "name text, concurrency integer DEFAULT NULL::integer, rate integer DEFAULT NULL::integer,"
    " period interval DEFAULT NULL::interval, burst integer DEFAULT NULL::integer,"
    " per text DEFAULT NULL::text"
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
}
KEPT = (
    ", keep text DEFAULT NULL::text, limit_name{s} text{a} DEFAULT NULL::text{a},"
    " trace text DEFAULT NULL::text"
)
LIMITS = [("set_limit", SET_LIMIT, "void"), ("remove_limit", "name text", "void")]
SPECS = "specs {schema}.job_spec[], job_key_preserve_run_at boolean DEFAULT false"
FUNCTIONS = {
    "tidemill": SHARED
    | {
        "add_job": (ADD_JOB + KEPT.format(s="", a=""), "{row}"),
        "add_jobs": (
            SPECS + ", job_key_mode text DEFAULT NULL::text" + KEPT.format(s="s", a="[]"),
            "SETOF {row}",
        ),
        "cancel_jobs": ("job_ids bigint[], reason text DEFAULT NULL::text", "SETOF {row}"),
    },
    "graphile_worker": SHARED | {"add_job": (ADD_JOB, "{row}"), "add_jobs": (SPECS, "SETOF {row}")},
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
HISTORY = {
    "job_result": (
        "job_id bigint, since timestamptz DEFAULT '-infinity'::timestamptz, OUT outcome text,"
        " OUT result json, OUT error text, OUT error_type text, OUT finished_at timestamptz",
        "record",
    ),
    "prune_job_history": ("IN job_id integer, IN config jsonb", None),
}
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
CONTROL = {
    "pause": ("kind text, name text DEFAULT NULL::text, reason text DEFAULT NULL::text", "boolean"),
    "resume": ("kind text, name text DEFAULT NULL::text", "boolean"),
    "stop_worker": ("id text, reason text DEFAULT NULL::text", "void"),
    "why_waiting": ("job_id bigint", "TABLE(reason text, message text, remedy text)"),
    "grant_role": ("role text, to_role regrole", "void"),
    "revoke_role": ("role text, from_role regrole", "void"),
}
STEP = (
    "bulk_act_id bigint, most integer DEFAULT 1000, OUT state text, OUT progress real, OUT changed bigint[],"
    " OUT passed_over jsonb"
)
OPERATING = {
    "begin_bulk_act": ("act text, filter jsonb, options jsonb DEFAULT '{}'::jsonb", "bigint"),
    "step_bulk_act": (STEP, "record"),
    "run_bulk_act": ("IN bulk_act_id bigint", None),
    "abort_bulk_act": ("bulk_act_id bigint", "boolean"),
    "cleanup": ("IN job_id integer DEFAULT NULL::integer, IN config jsonb DEFAULT NULL::jsonb", None),
    "check_cleanup": ("config jsonb", "void"),
}
CREATE_HYPERTABLE = (
    "relation regclass, time_column_name name, partitioning_column name DEFAULT NULL::name,"
    " number_partitions integer DEFAULT NULL::integer, associated_schema_name name DEFAULT NULL::name,"
    " associated_table_prefix name DEFAULT NULL::name,"
    " chunk_time_interval anycompatible DEFAULT NULL::unknown,"
    " create_default_indexes boolean DEFAULT true, if_not_exists boolean DEFAULT false,"
    " partitioning_func regproc DEFAULT NULL::regproc, migrate_data boolean DEFAULT false,"
    " time_partitioning_func regproc DEFAULT NULL::regproc"
)
CREATE_BY = (
    "relation regclass, dimension tidemill.dimension_info, create_default_indexes boolean DEFAULT true,"
    " if_not_exists boolean DEFAULT false, migrate_data boolean DEFAULT false"
)
BY_RANGE = (
    "column_name name, partition_interval anycompatible DEFAULT NULL::unknown,"
    " partition_func regproc DEFAULT NULL::regproc"
)
BY_HASH = "column_name name, number_partitions integer, partition_func regproc DEFAULT NULL::regproc"
OF_CHUNKS = (
    "relation regclass, older_than anycompatible DEFAULT NULL::unknown,"
    " newer_than anycompatible DEFAULT NULL::unknown{},"
    " created_before timestamptz DEFAULT NULL::timestamptz,"
    " created_after timestamptz DEFAULT NULL::timestamptz"
)
DECOMPRESS_BACKFILL = (
    "IN staging_table regclass, IN destination_hypertable regclass, IN on_conflict_action text DEFAULT"
    " 'NOTHING'::text, IN delete_from_staging boolean DEFAULT true, IN compression_job_push_interval interval"
    " DEFAULT '1 day'::interval, IN on_conflict_update_columns text[] DEFAULT '{}'::text[],"
    " IN skip_empty_ranges boolean DEFAULT false, IN on_conflict_target text DEFAULT ''::text"
)
SCHEDULE = (
    "if_not_exists boolean DEFAULT false, schedule_interval interval DEFAULT NULL::interval,"
    " initial_start timestamptz DEFAULT NULL::timestamptz, timezone text DEFAULT NULL::text"
)
RETENTION = (
    f"relation regclass, drop_after anycompatible DEFAULT NULL::unknown, {SCHEDULE},"
    " drop_created_before interval DEFAULT NULL::interval"
)
COMPRESSION = f"hypertable regclass, compress_after anycompatible DEFAULT NULL::unknown, {SCHEDULE}"
TIERING = f"relation regclass, move_after anycompatible, tablespace name, {SCHEDULE}"
REORDER = (
    "hypertable regclass, index_name name, if_not_exists boolean DEFAULT false,"
    " initial_start timestamptz DEFAULT NULL::timestamptz, timezone text DEFAULT NULL::text"
)
MOVE_CHUNK = (
    "chunk regclass, destination_tablespace name, index_destination_tablespace name DEFAULT NULL::name,"
    ' reorder_index regclass DEFAULT NULL::regclass, "verbose" boolean DEFAULT false'
)
BYTES = "table_bytes bigint, index_bytes bigint, toast_bytes bigint, total_bytes bigint, node_name name"
BEFORE_AND_AFTER = ", ".join(
    f"{side}_compression_{part}_bytes bigint"
    for side in ("before", "after")
    for part in ("table", "index", "toast", "total")
)
ENABLE_COMPRESSION = (
    "hypertable regclass, segmentby text DEFAULT ''::text, orderby text DEFAULT ''::text,"
    " transparent boolean DEFAULT NULL::boolean, updatable boolean DEFAULT false,"
    " set_constraint_exclusion boolean DEFAULT false, rows_schema name DEFAULT NULL::name"
)
HYPERTABLES = [
    (
        "adopt_hypertable",
        "relation regclass, if_not_exists boolean DEFAULT false",
        "TABLE(hypertable_id integer, created boolean)",
    ),
    ("by_hash", BY_HASH, "tidemill.dimension_info"),
    ("by_range", BY_RANGE, "tidemill.dimension_info"),
    ("create_hypertable", CREATE_BY, "TABLE(hypertable_id integer, created boolean)"),
    (
        "create_hypertable",
        CREATE_HYPERTABLE,
        "TABLE(hypertable_id integer, schema_name name, table_name name, created boolean)",
    ),
    ("drop_chunks", OF_CHUNKS.format(', "verbose" boolean DEFAULT false'), "SETOF text"),
    ("grant_hypertables", "to_role regrole", "void"),
    ("make_chunks", "hypertable regclass, until anycompatible DEFAULT NULL::unknown", "integer"),
    ("show_chunks", OF_CHUNKS.format(""), "SETOF regclass"),
    ("enable_compression", ENABLE_COMPRESSION, "regclass"),
    (
        "set_transparent",
        "hypertable regclass, transparent boolean, rows_schema name DEFAULT NULL::name",
        "regclass",
    ),
    ("set_updatable", "hypertable regclass, updatable boolean", "void"),
    ("disable_compression", "hypertable regclass", "regclass"),
    (
        "add_column",
        "hypertable regclass, column_name name, data_type text, default_value text DEFAULT NULL::text",
        "void",
    ),
    (
        "compression_plan",
        "hypertable regclass, segmentby text DEFAULT NULL::text, orderby text DEFAULT NULL::text",
        "TABLE(column_name name, data_type text, encoding text, bytes_before bigint, bytes_after bigint,"
        " ratio numeric)",
    ),
    (
        "compress_chunk",
        "uncompressed_chunk regclass, if_not_compressed boolean DEFAULT true,"
        " recompress boolean DEFAULT false",
        "regclass",
    ),
    ("decompress_chunk", "uncompressed_chunk regclass, if_compressed boolean DEFAULT true", "regclass"),
    ("decompress_backfill", DECOMPRESS_BACKFILL, "None"),
    ("add_retention_policy", RETENTION, "integer"),
    ("remove_retention_policy", "relation regclass, if_exists boolean DEFAULT false", "void"),
    ("policy_retention", "IN action_id integer, IN config jsonb", "None"),
    ("add_compression_policy", COMPRESSION, "integer"),
    ("remove_compression_policy", "hypertable regclass, if_exists boolean DEFAULT false", "boolean"),
    ("policy_chunks", "IN action_id integer, IN config jsonb", "None"),
    ("policy_compression", "IN action_id integer, IN config jsonb", "None"),
    (
        "set_chunk_time_interval",
        "hypertable regclass, chunk_time_interval anycompatible, dimension_name name DEFAULT NULL::name",
        "void",
    ),
    (
        "attach_tablespace",
        "tablespace name, hypertable regclass, if_not_attached boolean DEFAULT false",
        "void",
    ),
    (
        "detach_tablespace",
        "tablespace name, hypertable regclass DEFAULT NULL::regclass, if_attached boolean DEFAULT false",
        "integer",
    ),
    ("detach_tablespaces", "hypertable regclass", "integer"),
    ("show_tablespaces", "hypertable regclass", "SETOF name"),
    ("move_chunk", MOVE_CHUNK, "void"),
    (
        "reorder_chunk",
        'chunk regclass, index regclass DEFAULT NULL::regclass, "verbose" boolean DEFAULT false',
        "void",
    ),
    ("hypertable_size", "hypertable regclass", "bigint"),
    ("hypertable_detailed_size", "hypertable regclass", f"TABLE({BYTES})"),
    ("chunks_detailed_size", "hypertable regclass", f"TABLE(chunk_schema name, chunk_name name, {BYTES})"),
    ("hypertable_index_size", "index_name regclass", "bigint"),
    ("approximate_row_count", "relation regclass", "bigint"),
    (
        "hypertable_compression_stats",
        "hypertable regclass",
        f"TABLE(total_chunks bigint, number_compressed_chunks bigint, {BEFORE_AND_AFTER}, node_name name)",
    ),
    (
        "chunk_compression_stats",
        "hypertable regclass",
        "TABLE(chunk_schema name, chunk_name name, compression_status text,"
        f" {BEFORE_AND_AFTER}, node_name name)",
    ),
    ("add_reorder_policy", REORDER, "integer"),
    ("remove_reorder_policy", "hypertable regclass, if_exists boolean DEFAULT false", "void"),
    ("policy_reorder", "IN action_id integer, IN config jsonb", "None"),
    ("add_tiering_policy", TIERING, "integer"),
    ("remove_tiering_policy", "relation regclass, if_exists boolean DEFAULT false", "void"),
    ("policy_tiering", "IN action_id integer, IN config jsonb", "None"),
]
COUNTERS = [
    ("histogram_quantile", "buckets bigint[], fraction double precision", "interval"),
    ("histogram_sum", "buckets bigint[]", "bigint[]"),
]
TZ, PLAIN = "timestamptz", "timestamp without time zone"
VALUES = ["boolean", "smallint", "integer", "bigint", "real", "double precision", "numeric", "text"]
VALUES += ["anyelement"]
PICK = {(f'value {value}, "time" {at}', value) for value in VALUES for at in (TZ, PLAIN)}
PICK |= {('value anyelement, "time" bigint', "anyelement")}
OVERLOADED = {
    "time_bucket": {
        (f"bucket_width {width}, ts {ts}{more}", ts)
        for width, ts in [("interval", each) for each in (TZ, PLAIN, "date")]
        + [(each, each) for each in ("smallint", "integer", "bigint")]
        for more in ["", f', "offset" {width}'] + ([f", origin {ts}"] if width == "interval" else [])
    }
    | {
        (
            "bucket_width interval, ts timestamptz, timezone text, origin timestamptz"
            ' DEFAULT NULL::timestamptz, "offset" interval DEFAULT NULL::interval',
            TZ,
        )
    },
    "first": PICK,
    "last": PICK,
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
    assert definers == {"add_job", "add_jobs"}
    for row in queued:
        if row["prosecdef"]:
            assert row["proconfig"] == ["search_path=pg_catalog, pg_temp"]


def test_all_other_public_functions(queue: Queue) -> None:
    parts = ("arguments", "result")
    rows = queue.rows(
        "select proname, pg_get_function_arguments(oid) as arguments, pg_get_function_result(oid) as result"
        " from pg_proc where pronamespace = 'tidemill'::regnamespace and proname not like '\\_%%'"
        " and proname <> all(%s)",
        [[*FUNCTIONS["tidemill"], *OVERLOADED]],
    )
    told = sorted(
        (
            row["proname"],
            *(str(row[part]).replace("timestamp with time zone", "timestamptz") for part in parts),
        )
        for row in rows
    )
    wanted = [
        (name, arguments, str(result))
        for name, (arguments, result) in (ACTIONS | HISTORY | CONTROL | OPERATING).items()
    ]
    assert told == sorted(wanted + HYPERTABLES + COUNTERS + LIMITS), (
        "name each public function, with its signature, in one of these tables"
    )


@pytest.mark.parametrize("name", OVERLOADED)
def test_overloaded_functions(queue: Queue, name: str) -> None:
    rows = queue.rows(
        "select pg_get_function_arguments(oid) as arguments, pg_get_function_result(oid) as result,"
        " provolatile, proparallel, proconfig"
        " from pg_proc where pronamespace = 'tidemill'::regnamespace and proname = %s",
        [name],
    )
    told = {
        tuple(row[each].replace("timestamp with time zone", TZ) for each in ("arguments", "result"))
        for row in rows
    }
    assert told == OVERLOADED[name]
    assert {(row["provolatile"], row["proparallel"], row["proconfig"]) for row in rows} == {("i", "s", None)}


def test_public_functions_are_found_by_name(queue: Queue) -> None:
    """Each is the first in the file of its name, and no file holds another."""
    files = {}
    for file in (ROOT / "src/tidemill/sql/functions").rglob("*.sql"):
        text = file.read_text(encoding="utf-8")
        assert file.stem not in files or file.stem == "views"
        made = re.findall(r"(?m)^create or replace (?:function|procedure|aggregate) tidemill\.(\w+)", text)
        # Overloads of one function stand one after the other.
        files[file.stem] = list(dict.fromkeys(made))
    laid = queue.rows(
        "select distinct proname from pg_proc"
        " where pronamespace = 'tidemill'::regnamespace and proname not like '\\_%%'"
    )
    public = {row["proname"] for row in laid}
    assert {name for name in files if name in public} == public
    for stem, names in files.items():
        # Overloads have one name.
        assert {name for name in names if name in public} == ({stem} if stem in public else set())
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
        "select distinct proname::text from pg_proc where pronamespace = 'tidemill'::regnamespace"
        " and has_function_privilege('public', oid, 'execute')"
    )
    assert {row["proname"] for row in open_to_all} == OPEN_TO_ALL


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
