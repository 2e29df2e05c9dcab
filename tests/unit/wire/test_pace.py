"""How fast a broker is connected to again."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from replicator.wire.transport.pace import Pace


def lived(*, opened_at: float, by_us: bool = False) -> Any:
    """Return a connection that has just been closed."""
    return SimpleNamespace(opened_at=opened_at, closed_by_us=by_us)


def test_one_that_is_lost_at_once_is_left_alone_ever_longer() -> None:
    """The first is opened again at once, as its broker may have been about to stop; then pauses grow, up to 5 s."""
    pace = Pace()
    pauses = []
    for now in range(100, 130):
        pace.ended(lived(opened_at=now - 4.9), now)
        pauses.append(pace.wait_seconds(now))
    assert pauses[0] == 0.0
    assert all(0.2 <= pause <= min(5.0, 0.4 * 2.0**turn) for turn, pause in enumerate(pauses[1:]))
    assert max(pauses) > 1.0
    assert pace.wait_seconds(200.0) == 0.0


def test_one_that_was_of_use_begins_from_the_beginning() -> None:
    """And one that we closed tells nothing."""
    pace = Pace()
    pace.note_refusal(100.0)
    pace.note_refusal(100.0)
    assert pace.wait_seconds(100.0) >= 0.2
    pace.ended(lived(opened_at=100.0, by_us=True), 101.0)
    pace.note_refusal(101.0)
    assert pace.wait_seconds(101.0) >= 0.2
    pace.ended(lived(opened_at=100.0), 106.0)
    pace.note_refusal(106.0)
    assert pace.wait_seconds(106.0) == 0.0
