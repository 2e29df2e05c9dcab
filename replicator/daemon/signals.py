"""SIGTERM and SIGINT: the first asks the daemon to end, with a time limit; the second ends it at once."""

from __future__ import annotations

import os
import signal
import sys
import threading
from types import FrameType
from typing import TYPE_CHECKING, Any, Self

from replicator.obs.logs import get_logger

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

_ENDING = (signal.SIGTERM, signal.SIGINT)
_LAST_SECONDS = 9.5
"""After SIGTERM, SIGKILL follows after 10 s at the earliest; the shutdown is bounded well below that."""
_SIGNALLED = 128

log = get_logger(__name__)


class EndingSignals:
    """Installs handlers for as long as the context lasts.

    These are Python's own handlers, not the loop's: they also run while something holds up the loop.

    Args:
        loop: Runs `stop`.
        stop: Asks the daemon to end; called once.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, stop: Callable[[], None]) -> None:
        self._loop = loop
        self._stop = stop
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        for number in _ENDING:
            self._before[number] = signal.signal(number, self._met)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _met(self, number: int, _: FrameType | None) -> None:
        # A second signal meets the system's default: it ends the process at once, whatever that is doing.
        for each in _ENDING:
            self._before.pop(each, None)
            signal.signal(each, signal.SIG_DFL)
        threading.Thread(target=_end_at_last, args=(number,), name="last resort", daemon=True).start()
        self._loop.call_soon_threadsafe(self._stop)


def _end_at_last(number: int, seconds: float = _LAST_SECONDS) -> None:
    """End the process if it has not ended by itself: nothing that hangs in a library or on a disk can prevent that."""
    threading.Event().wait(seconds)
    log.error("ended without waiting any longer", seconds=seconds, signal=signal.Signals(number).name)
    sys.stderr.flush()
    os._exit(_SIGNALLED + number)
