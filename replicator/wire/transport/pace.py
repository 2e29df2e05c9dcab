"""How fast to reconnect to a broker: if its connections are lost at once, with an ever longer back-off."""

from __future__ import annotations

from typing import TYPE_CHECKING

from replicator.backoff import Backoff

if TYPE_CHECKING:
    from replicator.wire.transport.connection import Connection

_SHORT_SECONDS = 5.0
"""A connection that lived for less than that was of no use."""
_PAUSE_SECONDS = (0.2, 5.0)


class Pace:
    """The pace of one kind of connection to one broker; times are seconds of the loop's clock.

    The first connection that is lost at once is reopened at once: its broker may have been about to stop.
    """

    def __init__(self) -> None:
        self._pauses = Backoff(*_PAUSE_SECONDS, free_failures=1)
        self._not_before = 0.0

    def wait_seconds(self, now: float) -> float:
        """Return how long to wait before the next connection is opened.

        The caller waits instead of failing: the broker must not count as unreachable because of our own pause.
        """
        return max(0.0, self._not_before - now)

    def ended(self, connection: Connection, now: float) -> None:
        """Judge a connection that is closed now; one that we closed proves nothing."""
        if connection.closed_by_us:
            return
        if now - connection.opened_at < _SHORT_SECONDS:
            self.note_refusal(now)
        else:
            self._pauses.reset()

    def note_refusal(self, now: float) -> None:
        """Note that a connection was refused after it was made, or lost at once."""
        self._not_before = now + self._pauses.next_seconds()
