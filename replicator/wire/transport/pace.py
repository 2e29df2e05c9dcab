"""How fast a broker is connected to again: one that takes connections only to lose them is left alone ever longer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from replicator.backoff import Backoff

if TYPE_CHECKING:
    from replicator.wire.transport.connection import Connection

_SHORT_SECONDS = 5.0
"""A connection that did not live for as long was of no use."""
_PAUSE_SECONDS = (0.2, 5.0)


class Pace:
    """The pace of one kind of connection to one broker; times are seconds of the loop's clock.

    The first that is lost at once is opened again at once: its broker may have been about to stop.
    """

    def __init__(self) -> None:
        self._pauses = Backoff(*_PAUSE_SECONDS, free_failures=1)
        self._not_before = 0.0

    def wait_seconds(self, now: float) -> float:
        """Return for how long to wait before the next connection is opened.

        It is waited, not refused: who counts what a broker does to connections must not take it for out of reach.
        """
        return max(0.0, self._not_before - now)

    def ended(self, connection: Connection, now: float) -> None:
        """Judge a connection that is closed now; one that we closed tells nothing."""
        if connection.closed_by_us:
            return
        if now - connection.opened_at < _SHORT_SECONDS:
            self.refused(now)
        else:
            self._pauses.reset()

    def refused(self, now: float) -> None:
        """Note that a connection was refused after it was made, or lost at once."""
        self._not_before = now + self._pauses.next_seconds()
