"""Which grant a role lacks, when PostgreSQL refuses it something of ours."""

from __future__ import annotations

import re

_REFUSED = re.compile(r'^permission denied for (schema|view|function) "?(\w+)"?$')
_VIEWS = {"jobs", "workers", "actions", "action_stats", "action_history", "action_errors", "limits"}
_SINGLE = {"add_job", "add_jobs", "next_start", "next_runs"}
_ACTIONS = {
    "add_action",
    "alter_action",
    "delete_action",
    "set_action_owner",
    "run_action",
}
_OWNERS = {
    "remove_job",
    "complete_jobs",
    "permanently_fail_jobs",
    "reschedule_jobs",
    "cancel_jobs",
    "force_unlock_workers",
    "set_limit",
    "remove_limit",
}


def missing_grant(message: str) -> str:
    """What to do about a refusal that PostgreSQL words like this (in English)."""
    found = _REFUSED.match(message)
    kind, name = found.groups() if found else ("", "")
    grant = None
    if kind == "schema" and name == "tidemill":
        grant = "grant usage on schema tidemill to ROLE"
    elif kind == "view" and name in _VIEWS:
        grant = f"grant select on tidemill.{name} to ROLE"
    elif kind == "function" and name in _SINGLE:
        grant = f"grant execute on function tidemill.{name} to ROLE"
    elif kind == "function" and name in _ACTIONS:
        grant = "select tidemill.grant_actions('ROLE')"
    elif kind == "function" and name in _OWNERS:
        return (
            f"{name} changes private tables: connect as the role that ran `tidemill migrate`, "
            "or as a member of that role."
        )
    if grant is None:
        return "Connect as the role that ran `tidemill migrate`, or have it grant the right."
    return f"The role that ran `tidemill migrate` can grant it: {grant}"
