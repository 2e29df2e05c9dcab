"""Keeps reading to a rate; time in which nothing is read earns no credit."""

from __future__ import annotations


class Pace:
    """Says how long to rest after each piece. Times are seconds of one monotonic clock.

    Args:
        bytes_per_second: The rate; None for no bound.
    """

    __slots__ = ("_free_at", "_per_second")

    def __init__(self, bytes_per_second: int | None) -> None:
        self._per_second = bytes_per_second
        self._free_at = 0.0

    def rest_seconds(self, size: int, now: float) -> float:
        """Note a piece of `size` bytes as read at `now`; return for how long to read nothing."""
        if self._per_second is None:
            return 0.0
        # A pause earns nothing: otherwise an idle hour would be followed by an hour's worth at full speed.
        self._free_at = max(self._free_at, now) + size / self._per_second
        return self._free_at - now
