"""Laps: searches in parts, which need no database."""

from __future__ import annotations

from tidemill.queue.laps import Lap


def test_a_lap_in_one_part() -> None:
    lap = Lap(0)
    assert not lap.is_over
    lap.went(0)
    assert lap.is_over
    assert not lap.begins_again
    # Further parts change nothing.
    lap.went(0)
    assert lap.is_over


def test_a_lap_in_parts_goes_on_where_it_ended() -> None:
    lap = Lap(0)
    lap.went(7)
    assert lap.place == 7
    assert not lap.is_over
    lap.went(0)
    assert lap.is_over


def test_what_is_asked_for_on_the_way_takes_a_whole_lap_more() -> None:
    lap = Lap(0)
    lap.went(7)
    lap.ask()
    lap.went(0)
    assert lap.begins_again
    lap.went(7)
    assert not lap.begins_again
    lap.went(0)
    assert lap.is_over


def test_beginning_again() -> None:
    lap = Lap(0)
    lap.went(7)
    lap.restart()
    assert lap.place == 0
    lap.went(0)
    assert lap.is_over
