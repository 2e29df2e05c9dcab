"""How long a fill will still take."""

from __future__ import annotations

import pytest

from replicator.core.copy.reading.pieces import Fill
from replicator.core.copy.writing.fill_pace import FillPace


def test_nothing_is_said_before_the_first_round() -> None:
    """No pace was seen yet."""
    assert FillPace().seconds_left(Fill(0, 5000), 1) is None


def test_the_pace_is_the_mean_over_the_run() -> None:
    """From the first request to the last answer."""
    pace = FillPace()
    pace.accepted(Fill(100, 1000), 1, 10.0, 11.0)
    assert pace.seconds_left(Fill(1100, 5000), 1) == pytest.approx(5.0)
    pace.accepted(Fill(1100, 1000), 1, 12.0, 14.0)
    assert pace.seconds_left(Fill(2100, 4000), 1) == pytest.approx(8.0)


def test_another_run_has_its_own_pace() -> None:
    """Elsewhere in the log, or after a pause in which nothing could be filled."""
    pace = FillPace()
    pace.accepted(Fill(100, 1000), 1, 10.0, 11.0)
    assert pace.seconds_left(Fill(9000, 5000), 1) is None
    assert pace.seconds_left(Fill(1100, 5000), 2) is None

    pace.accepted(Fill(1100, 1000), 2, 1000.0, 1002.0)
    assert pace.seconds_left(Fill(2100, 500), 2) == pytest.approx(1.0)


def test_a_clock_that_did_not_move_gives_no_pace() -> None:
    """A round within one tick."""
    pace = FillPace()
    pace.accepted(Fill(0, 10), 1, 5.0, 5.0)
    assert pace.seconds_left(Fill(10, 90), 1) is None
