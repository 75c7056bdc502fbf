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
_PRODUCERS = {"add_job", "add_jobs"}
# With a private one.
_READERS = {
    "next_start",
    "next_runs",
    "why_waiting",
    "job_result",
    "histogram_quantile",
    "histogram_sum",
    "_job_counts",
    "_wait_for",
    "_job_ends",
    "_wait_no_more",
}
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
    """What to do about a refusal that PostgreSQL words like this (in English); ROLE stands for who asked."""
    found = _REFUSED.match(message)
    kind, name = found.groups() if found else ("", "")
    wanted = None
    if (kind == "schema" and name == "tidemill") or (kind == "view" and name in _VIEWS) or name in _READERS:
        wanted = "reader"
    elif (kind == "schema" and name == "graphile_worker") or name in _PRODUCERS:
        wanted = "producer"
    elif kind == "function" and name in _ACTIONS:
        wanted = "actions"
    elif name in _OPERATORS:
        wanted = "operator"
    if wanted is None:
        return "Connect as the role that ran `tidemill migrate`, or have it grant the right."
    return f"The role that ran `tidemill migrate` can grant it: tidemill grant {wanted} TO ROLE"
