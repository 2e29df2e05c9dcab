"""Repeated warnings: each is written once a minute for each subject, with the number left out since."""

from __future__ import annotations

import re
import time
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from structlog import DropEvent

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, MutableMapping

_EVERY_SECONDS = 60.0
_LINES_MAX = 1_000
_REASONS_MAX = 5
"""How many different reasons of one warning are written within that time."""
_REASON_CHARS_MAX = 200
_DIGITS = re.compile(r"[0-9]+")
_NUMBERS = frozenset({"partition", "shard", "broker", "source_broker", "node"})
_VARIES = frozenset({"why", "next", "timestamp", "level", "stack", "exception"})


@dataclass(slots=True)
class _Line:
    """One warning: when each reason was last written, and how many lines were left out since."""

    written: dict[str, float] = field(default_factory=dict)
    suppressed: int = 0


class Repeats:
    """A structlog processor that drops warnings that repeat a recent one.

    The subject of a warning is its logger, its event, its texts except `why` and `next`, and the number of a partition,
    shard or broker. A different reason is written at once, up to five a minute; reasons that differ only in digits are
    the same. Errors pass, and so does anything logged with `always=True`: it ends something, or follows an order.

    Args:
        now: Monotonic time.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._lines: OrderedDict[Hashable, _Line] = OrderedDict()

    def __call__(self, logger: object, method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        """Return the event, or drop it.

        Raises:
            DropEvent: It was written within the last minute.
        """
        del logger
        if event.pop("always", False) or method != "warning":
            return event
        now, line = self._now(), self._line(event)
        reason = _DIGITS.sub("#", str(event.get("why", "")))[:_REASON_CHARS_MAX]
        line.written = {each: at for each, at in line.written.items() if now - at < _EVERY_SECONDS}
        if reason in line.written or len(line.written) >= _REASONS_MAX:
            line.suppressed += 1
            raise DropEvent
        line.written[reason] = now
        if line.suppressed:
            event["suppressed"] = line.suppressed
            line.suppressed = 0
        return event

    def _line(self, event: MutableMapping[str, Any]) -> _Line:
        about = tuple(
            (name, value)
            for name, value in sorted(event.items())
            if (isinstance(value, str) and name not in _VARIES) or (isinstance(value, int) and name in _NUMBERS)
        )
        line = self._lines.setdefault(about, _Line())
        self._lines.move_to_end(about)
        if len(self._lines) > _LINES_MAX:
            self._lines.popitem(last=False)
        return line
