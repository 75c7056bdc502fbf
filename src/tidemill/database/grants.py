"""Which grant a role lacks, when PostgreSQL refuses it something of ours."""

from __future__ import annotations

import re

_REFUSED = re.compile(r'^permission denied for (schema|view|function|procedure|aggregate) "?(\w+)"?$')
_VIEWS = {
    "jobs",
    "workers",
    "pauses",
    "acts",
    "grants",
    "bulk_acts",
    "limits",
    "job_history",
    "tasks",
    "task_stats",
    "actions",
    "action_stats",
    "action_history",
    "action_errors",
}
_SINGLE = {
    "add_job",
    "add_jobs",
    "next_start",
    "next_runs",
    "why_waiting",
    "job_result",
    "histogram_quantile",
    "histogram_sum",
}
# Private ones, that are granted with a role alone.
_READERS = {"_job_counts", "_wait_for", "_job_ends", "_wait_no_more"}
_ACTIONS = {
    "add_action",
    "alter_action",
    "delete_action",
    "set_action_owner",
    "run_action",
}
_OPERATORS = {
    "remove_job",
    "complete_jobs",
    "permanently_fail_jobs",
    "reschedule_jobs",
    "cancel_jobs",
    "force_unlock_workers",
    "stop_worker",
    "pause",
    "resume",
    "set_on_failure",
    "begin_bulk_act",
    "step_bulk_act",
    "run_bulk_act",
    "abort_bulk_act",
    "set_limit",
    "remove_limit",
    "cleanup",
    "check_cleanup",
    "_operate_on_jobs",
    "_operator_requests",
    "_delete_ended_jobs",
    "_delete_unused_queues",
}


def missing_grant(message: str) -> str:
    """What to do about a refusal that PostgreSQL words like this (in English)."""
    found = _REFUSED.match(message)
    kind, name = found.groups() if found else ("", "")
    grant = None
    if kind == "schema" and name == "tidemill":
        grant = "grant usage on schema tidemill to ROLE"
    elif kind == "schema" and name == "graphile_worker":
        grant = "select tidemill.grant_role('producer', 'ROLE')"
    elif kind == "view" and name in _VIEWS:
        grant = f"grant select on tidemill.{name} to ROLE"
    elif kind in ("function", "aggregate") and name in _SINGLE:
        grant = f"grant execute on function tidemill.{name} to ROLE"
    elif kind == "function" and name in _ACTIONS:
        grant = "select tidemill.grant_actions('ROLE')"
    elif name in _READERS:
        grant = "select tidemill.grant_role('reader', 'ROLE')"
    elif name in _OPERATORS:
        grant = "select tidemill.grant_role('operator', 'ROLE')"
    if grant is None:
        return "Connect as the role that ran `tidemill migrate`, or have it grant the right."
    return f"The role that ran `tidemill migrate` can grant it: {grant}"
