"""A private event loop for a thread that blocks."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from threading import Event

_STOP_POLL_SECONDS = 0.2

T = TypeVar("T")


class OwnLoop:
    """Runs one piece of work at a time; the loop stands still in between. Use it in one thread.

    Args:
        stop: Once it is set, waiting work is cancelled.
    """

    def __init__(self, stop: Event) -> None:
        self._stop = stop
        self._runner: asyncio.Runner | None = None

    def wait(self, work: Callable[[], Coroutine[object, object, T]]) -> T | None:
        """Return the result of work on this loop; None once stopped."""
        if self._runner is None:
            self._runner = asyncio.Runner()
        return self._runner.run(self._until_stopped(work))

    def close(self, last: Callable[[], object]) -> None:
        """Call `last` on the loop and close it, if it was ever used."""
        runner, self._runner = self._runner, None
        if runner is not None:
            runner.run(_called(last))
            runner.close()

    async def _until_stopped(self, work: Callable[[], Coroutine[object, object, T]]) -> T | None:
        task = asyncio.create_task(work())
        while True:
            await asyncio.wait({task}, timeout=_STOP_POLL_SECONDS)
            if task.done():
                return task.result()
            if self._stop.is_set():
                task.cancel()
                await asyncio.wait({task})
                return None


async def _called(last: Callable[[], object]) -> None:
    last()
