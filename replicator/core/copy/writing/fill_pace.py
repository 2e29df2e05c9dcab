"""How fast a hole is filled, and when that will be done."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from replicator.core.copy.reading.pieces import Fill


class FillPace:
    """Follows one partition. Times are seconds of one monotonic clock.

    The pace is the mean over the hole: rounds differ, since a request carries the markers of many partitions.
    """

    __slots__ = ("_began", "_done", "_ended", "_episode", "_next")

    def __init__(self) -> None:
        self._episode = -1
        self._next = -1
        self._done = 0
        self._began = 0.0
        self._ended = 0.0

    def accepted(self, fill: Fill, episode: int, began: float, ended: float) -> None:
        """Take an accepted round: what it filled, its episode, when it was sent and when it was answered."""
        if not self._goes_on(fill, episode):
            # Another hole, or the same one after a pause in which nothing could be filled.
            self._episode, self._done, self._began = episode, 0, began
        self._next = fill.first_offset + fill.length
        self._done += fill.length
        self._ended = ended

    def seconds_left(self, rest: Fill, episode: int) -> float | None:
        """Return how long the rest of a hole will take; None before its first accepted round."""
        elapsed = self._ended - self._began
        if not self._goes_on(rest, episode) or elapsed <= 0:
            return None
        return rest.length * elapsed / self._done

    def _goes_on(self, fill: Fill, episode: int) -> bool:
        return (self._episode, self._next) == (episode, fill.first_offset)
