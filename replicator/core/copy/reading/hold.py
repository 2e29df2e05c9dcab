"""What the reading of one partition waits at: an odd batch, or a transaction marker that may not pass yet."""

from __future__ import annotations

from typing import NamedTuple


class Marker(NamedTuple):
    """A transaction marker of the source: its offset and its producer."""

    offset: int
    producer_id: int


class Hold:
    """What reading waits at, until everything below it is acknowledged.

    Attributes:
        is_on: Whether reading waits.
        passing: Source offset of the marker that may pass; -1 for none.
    """

    __slots__ = ("_marker", "_offset_max", "is_on", "passing")

    def __init__(self) -> None:
        self.is_on = False
        self.passing = -1
        self._marker: Marker | None = None
        self._offset_max = -1

    def clear(self) -> None:
        """Forget all of it: the episode is over, and permission for a marker was for that episode only."""
        self.is_on = False
        self.passing = -1
        self._marker = None

    def before(self, marker: Marker) -> None:
        """Wait at a transaction marker until it may pass."""
        self.is_on = True
        self._marker = marker
        self._offset_max = max(self._offset_max, marker.offset)

    def marker_at(self, offset: int) -> Marker | None:
        """Return the marker that reading waits at, if it is the one at `offset`.

        The source's cleaner may have removed it meanwhile: then what was read since went past it.
        """
        marker = self._marker
        return marker if marker is not None and marker.offset == offset else None

    def ever_reached(self, offset: int) -> bool:
        """Return whether reading ever waited at a marker at or above `offset`."""
        return offset <= self._offset_max

    def let_pass(self, offset: int) -> None:
        """Let the marker at `offset` pass."""
        self.passing = offset
        self._marker = None
        self.is_on = False
