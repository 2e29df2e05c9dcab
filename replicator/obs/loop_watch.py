"""Measures how late the event loop is and how many tasks it has, and logs its stack if it is over a second late."""

from __future__ import annotations

import asyncio
import sys
import threading
import time
import traceback
from typing import TYPE_CHECKING

from replicator.obs.logs import get_logger

if TYPE_CHECKING:
    from types import FrameType

_BEAT_SECONDS = 0.25
_WINDOW_SECONDS = 15.0
_LATE_SECONDS = 1.0
_REPORT_EVERY_SECONDS = 60.0
_FRAMES_MAX = 40

log = get_logger(__name__)


_watches: list[LoopWatch] = []


def lag_seconds() -> float | None:
    """Return the worst recent delay of this process's event loop; None while it is not watched."""
    return max((late for each in _watches if (late := each.lag_seconds()) is not None), default=None)


def task_count() -> int | None:
    """Return how many tasks the event loop of this process had within the last 15 s; None while it is not watched."""
    return max((count for each in _watches if (count := each.task_count()) is not None), default=None)


class LoopWatch:
    """Beats on the event loop, and checks the beats from a separate thread.

    It shows the worst delay of the present and the last window, so that every scrape has time to see it.
    """

    def __init__(self) -> None:
        self._due = self._reported_due = 0.0
        self._worst = self._worst_before = 0.0
        self._window_began = time.monotonic()
        self._tasks: int | None = None
        self._running = False
        self._ended = threading.Event()

    def lag_seconds(self) -> float | None:
        """Return the loop's worst delay within the last 15 to 30 s; None while it is not watched."""
        return max(self._worst, self._worst_before) if self._running else None

    def task_count(self) -> int | None:
        """Return how many tasks there were at the start of the present window; None while it is not watched."""
        return self._tasks if self._running else None

    async def run(self) -> None:
        """Watch until cancelled."""
        self._due = time.monotonic() + _BEAT_SECONDS
        self._tasks = len(asyncio.all_tasks())
        self._running = True
        _watches.append(self)
        threading.Thread(
            target=self._log_overdue, args=(threading.get_ident(),), name="loop watch", daemon=True
        ).start()
        try:
            while True:
                await asyncio.sleep(max(0.0, self._due - time.monotonic()))
                now = time.monotonic()
                self._note(now, max(0.0, now - self._due))
                self._due = now + _BEAT_SECONDS
        finally:
            self._running = False
            _watches.remove(self)
            self._ended.set()

    def _note(self, now: float, late: float) -> None:
        if now - self._window_began >= _WINDOW_SECONDS:
            self._worst_before, self._worst, self._window_began = self._worst, 0.0, now
            self._tasks = len(asyncio.all_tasks())  # walks them all: 10,000 take some milliseconds
        self._worst = max(self._worst, late)
        if late >= _LATE_SECONDS and self._reported_due != self._due:
            # The thread could not look either: the interpreter was held up, or the whole process was frozen.
            log.warning("the event loop was held up", seconds=round(late, 1))

    def _log_overdue(self, loop_thread: int) -> None:
        """Log the stack of the loop's thread while a beat is overdue."""
        reported_at, checked_at = 0.0, time.monotonic()
        while not self._ended.wait(_BEAT_SECONDS):
            now = time.monotonic()
            # If this thread is late too, it did not run at all: the machine slept, or the process was frozen.
            was_run, checked_at = now - checked_at < _LATE_SECONDS, now
            late = now - self._due
            if late < _LATE_SECONDS or not was_run or (reported_at and now - reported_at < _REPORT_EVERY_SECONDS):
                continue
            reported_at, self._reported_due = now, self._due
            frame = sys._current_frames().get(loop_thread)  # noqa: SLF001 - documented, for this very use
            stack = _stack_of(frame) if frame is not None else "unknown"
            log.warning("the event loop is held up", seconds=round(late, 1), stack=stack)


def _stack_of(frame: FrameType) -> str:
    """Return a thread's stack as a traceback without source lines: linecache keeps every file that it reads."""
    inward = [(one.f_code, number) for one, number in traceback.walk_stack(frame)][:_FRAMES_MAX]
    return "".join(
        f'  File "{code.co_filename}", line {number}, in {code.co_name}\n' for code, number in reversed(inward)
    )
