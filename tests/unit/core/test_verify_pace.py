"""Reading at a bounded rate."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from replicator.core.verify.pace import Pace


def test_a_piece_is_followed_by_its_time() -> None:
    """A thousand bytes at a thousand bytes a second: one second."""
    assert Pace(1000).rest_seconds(1000, 50.0) == 1.0


def test_no_bound_no_rest() -> None:
    """None is unlimited."""
    assert Pace(None).rest_seconds(10**12, 50.0) == 0.0


def test_idle_time_earns_nothing() -> None:
    """After an hour without reading the next piece is paid in full."""
    pace = Pace(1000)
    pace.rest_seconds(1000, 50.0)
    assert pace.rest_seconds(1000, 3650.0) == 1.0


def test_debts_add_up() -> None:
    """Pieces that come before the rest is over wait for all of it."""
    pace = Pace(1000)
    pace.rest_seconds(1000, 50.0)
    assert pace.rest_seconds(500, 50.25) == 1.25


@given(st.lists(st.tuples(st.integers(0, 10**6), st.floats(0, 5)), max_size=50), st.integers(1, 10**6))
def test_the_rate_is_never_exceeded(pieces: list[tuple[int, float]], rate: int) -> None:
    """Whoever rests as told has read no more than rate times elapsed time when each rest is over."""
    pace, now, read = Pace(rate), 100.0, 0
    for size, work_seconds in pieces:
        now += work_seconds
        read += size
        now += pace.rest_seconds(size, now)
        assert read <= rate * (now - 100.0) * (1 + 1e-9) + 1e-3
