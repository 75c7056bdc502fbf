"""Graphile Worker, from npm, in its own best documented settings (see its preset here)."""

from __future__ import annotations

import json
import shutil
import subprocess
from urllib.parse import quote

from psycopg.conninfo import conninfo_to_dict

from bench.systems import HERE, OUT, System

_PLACE = OUT / "graphile-worker"
_FILES = HERE / "peers" / "graphile_worker"


class GraphileWorker(System):
    """localQueue 500, batched completion without delay, 24 jobs at once, as its own performance test."""

    name = "graphile-worker"
    version = ""
    add_one = "select graphile_worker.add_job('started', %s::json)"
    add_many = (
        "select count(*) from graphile_worker.add_jobs(array(select row('noop', json_build_object('id', n), "
        "null, null, null, null, null, null)::graphile_worker.job_spec from generate_series(1, %s) n))"
    )
    left = "select exists (select from graphile_worker.jobs)"

    def install(self) -> None:
        shutil.copytree(_FILES, _PLACE, dirs_exist_ok=True)
        subprocess.run(["npm", "install", "--silent", "--no-audit", "--no-fund"], cwd=_PLACE, check=True)
        package = _PLACE / "node_modules" / "graphile-worker" / "package.json"
        self.version = json.loads(package.read_text())["version"]

    def prepare(self, conninfo: str) -> None:
        subprocess.run([*self._command(conninfo), "--schema-only"], cwd=OUT, check=True, capture_output=True)

    def worker(self, conninfo: str, *, once: bool) -> list[str]:
        return [*self._command(conninfo), *(["--once"] if once else [])]

    def _command(self, conninfo: str) -> list[str]:
        parts = conninfo_to_dict(conninfo)
        url = (
            f"postgres://{parts['user']}@localhost:{parts['port']}/{parts['dbname']}"
            f"?host={quote(str(parts['host']), safe='')}"
        )
        # Its CLI looks for tasks and configuration where it stands.
        return [
            "env",
            f"--chdir={_PLACE}",
            "NO_LOG_SUCCESS=1",
            "node",
            str(_PLACE / "node_modules" / "graphile-worker" / "dist" / "cli.js"),
            "-c",
            url,
        ]
