"""The seed document's statements, as they stand there."""

import psycopg


def test_smoke(connection: psycopg.Connection) -> None:
    row = connection.execute("select id, state from tidemill.add_job('x')").fetchone()
    assert row == (1, "ready")
    assert connection.execute("select (graphile_worker.add_job('y')).task_id").fetchone() == (2,)
    connection.execute("select * from graphile_worker.jobs")
    connection.execute("select * from graphile_worker.complete_jobs(array[1])")
