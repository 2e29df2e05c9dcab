"""An event loop of its own for a thread that blocks."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from threading import Event

_STOP_LOOK_SECONDS = 0.2

T = TypeVar("T")


class OwnLoop:
    """Runs one piece of work at a time, and nothing in between; use it in one thread.

    Args:
        stop: Once it is set, work that waits is ended.
    """

    def __init__(self, stop: Event) -> None:
        self._stop = stop
        self._runner: asyncio.Runner | None = None

    def wait(self, work: Callable[[], Coroutine[object, object, T]]) -> T | None:
        """Return what comes of work on this loop; None once it was told to stop."""
        if self._runner is None:
            self._runner = asyncio.Runner()
        return self._runner.run(self._until_stopped(work))

    def close(self, last: Callable[[], object]) -> None:
        """End the loop, if there was any work, with `last` called on it."""
        runner, self._runner = self._runner, None
        if runner is not None:
            runner.run(_called(last))
            runner.close()

    async def _until_stopped(self, work: Callable[[], Coroutine[object, object, T]]) -> T | None:
        task = asyncio.create_task(work())
        while True:
            await asyncio.wait({task}, timeout=_STOP_LOOK_SECONDS)
            if task.done():
                return task.result()
            if self._stop.is_set():
                task.cancel()
                await asyncio.wait({task})
                return None


async def _called(last: Callable[[], object]) -> None:
    last()
