"""What a daemon refused: counted, and told at most so often. Whoever is refused must not fill a disk with it."""

from __future__ import annotations

import enum
import time
from collections import Counter, OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_SAME_SECONDS = 60.0
"""The same refusal is told once within this time."""
_TOLD_MAX = 60
"""Refusals told within that time, of all callers together."""
_REMEMBERED_MAX = 1024


class Why(enum.StrEnum):
    """Why something was refused: a label of the metric."""

    ROLE = "role"
    CERTIFICATE = "certificate"
    TOKEN = "token"  # noqa: S105 - a reason, no secret
    NOBODY = "nobody"
    SHARE = "share"
    HOST = "host"
    REQUEST = "request"


@dataclass(slots=True)
class _Told:
    at: float
    left_out: int = 0


class Refusals:
    """Counts refusals, and decides which of them are told.

    Args:
        now: Monotonic time.

    Attributes:
        counts: How many there were, by reason.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self.counts: Counter[Why] = Counter()
        self._now = now
        self._told: OrderedDict[tuple[str, str], _Told] = OrderedDict()
        self._window = _Told(now())
        self._in_window = 0

    def count(self, why: Why) -> None:
        """Count one."""
        self.counts[why] += 1

    def told(self, who: str, what: str) -> int | None:
        """Return how many like it were left out since the last that was told; None where this one is left out, too.

        Args:
            who: The caller.
            what: What was asked for, one of few: nothing that the caller can vary.
        """
        now = self._now()
        if now - self._window.at >= _SAME_SECONDS:
            self._window, self._in_window = _Told(now), 0
        key = (who, what)
        before = self._told.get(key)
        recent = before is not None and now - before.at < _SAME_SECONDS
        if recent or self._in_window >= _TOLD_MAX:
            if before is not None:
                before.left_out += 1
            return None
        self._in_window += 1
        self._told[key] = _Told(now)
        self._told.move_to_end(key)
        while len(self._told) > _REMEMBERED_MAX:
            self._told.popitem(last=False)
        return before.left_out if before is not None else 0
