"""What a daemon refused: counted, and reported at a limited rate. Refused callers must not be able to fill a disk."""

from __future__ import annotations

import enum
import time
from collections import Counter, OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_SAME_SECONDS = 60.0
"""The same refusal is reported once within this time."""
_REPORTED_MAX = 60
"""Refusals reported within that time, for all callers together."""
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
class _Reported:
    at: float
    left_out: int = 0


class Refusals:
    """Counts refusals, and decides which of them to report.

    Args:
        now: Monotonic time.

    Attributes:
        counts: How many there were, by reason.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self.counts: Counter[Why] = Counter()
        self._now = now
        self._reported: OrderedDict[tuple[str, str], _Reported] = OrderedDict()
        self._window = _Reported(now())
        self._in_window = 0

    def count(self, why: Why) -> None:
        """Count one."""
        self.counts[why] += 1

    def report(self, who: str, what: str) -> int | None:
        """Return how many similar ones were left out since the last report; None to leave this one out, too.

        Args:
            who: The caller.
            what: What was requested, out of a small set: nothing that the caller can vary.
        """
        now = self._now()
        if now - self._window.at >= _SAME_SECONDS:
            self._window, self._in_window = _Reported(now), 0
        key = (who, what)
        before = self._reported.get(key)
        recent = before is not None and now - before.at < _SAME_SECONDS
        if recent or self._in_window >= _REPORTED_MAX:
            if before is not None:
                before.left_out += 1
            return None
        self._in_window += 1
        self._reported[key] = _Reported(now)
        self._reported.move_to_end(key)
        while len(self._reported) > _REMEMBERED_MAX:
            self._reported.popitem(last=False)
        return before.left_out if before is not None else 0
