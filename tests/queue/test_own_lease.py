"""The worker's own view of its lease."""

from __future__ import annotations

import pytest

from tidemill.queue.own_lease import OwnLease, now

SECONDS = 3600.0
LONG_AGO = 2 * SECONDS


def test_it_begins_with_the_registration(caplog: pytest.LogCaptureFixture) -> None:
    lease = OwnLease(SECONDS)
    assert lease.term.is_over
    lease.term.tell()
    assert lease.renew(now(), kept=False)
    assert not lease.term.is_over
    assert caplog.records == []


def test_a_heartbeat_counts_from_when_it_was_sent() -> None:
    lease = OwnLease(SECONDS)
    lease.renew(now() - SECONDS + 60, kept=False)
    term = lease.term
    assert 0 < term.left <= 60
    assert not lease.renew(now() - SECONDS + 120, kept=True)
    assert lease.term is term
    assert 60 < term.left <= 120
    lease.renew(now() - LONG_AGO, kept=True)
    assert term.is_over


def test_a_term_that_is_over_stays_so_and_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    lease = OwnLease(SECONDS)
    lease.renew(now() - LONG_AGO, kept=False)
    term = lease.term
    term.tell()
    term.tell()
    assert lease.renew(now(), kept=True)
    assert term.is_over
    assert not lease.term.is_over
    assert len(caplog.records) == 1


def test_an_end_that_nobody_noticed_is_told_with_the_next_heartbeat(caplog: pytest.LogCaptureFixture) -> None:
    lease = OwnLease(SECONDS)
    lease.renew(now() - LONG_AGO, kept=False)
    lease.renew(now(), kept=True)
    assert len(caplog.records) == 1


def test_one_that_was_swept_begins_another_term(caplog: pytest.LogCaptureFixture) -> None:
    lease = OwnLease(SECONDS)
    lease.renew(now(), kept=False)
    term = lease.term
    assert lease.renew(now(), kept=False)
    assert term.is_over
    assert not lease.term.is_over
    assert caplog.records == []


def test_an_answer_that_comes_too_late_begins_no_term(caplog: pytest.LogCaptureFixture) -> None:
    lease = OwnLease(SECONDS)
    lease.renew(now() - LONG_AGO, kept=False)
    assert not lease.renew(now() - LONG_AGO, kept=True)
    assert lease.renew(now(), kept=True)
    assert len(caplog.records) == 1
