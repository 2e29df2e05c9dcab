"""Tasks for one or more partitions, beside the event loop's callbacks."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

    from replicator.engine.copy.context import CopyContext
    from replicator.engine.copy.partitions.partition import Slot


class PartitionTasks:
    """The tasks of one pump. An unexpected error in one stops the partitions that it works for, and no others.

    Args:
        context: What the parts of the pump share.
        stop_over_bug: Stops one partition.
    """

    def __init__(self, context: CopyContext, stop_over_bug: Callable[[Slot, Exception], None]) -> None:
        self._context = context
        self._stop_over_bug = stop_over_bug
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, work: Coroutine[None, None, None], slots: Sequence[Slot]) -> asyncio.Task[None]:
        """Run a coroutine for some partitions; if none are given, an unexpected error fails the flow."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(lambda done: self._ended(done, slots))
        return task

    def close(self) -> None:
        """Cancel the tasks that still run."""
        for task in list(self._tasks):
            task.cancel()

    def _ended(self, task: asyncio.Task[None], slots: Sequence[Slot]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is None:
            return
        if not isinstance(error, Exception) or not slots:
            raise error  # to the loop's exception handler, which fails the flow
        for slot in slots:
            if self._context.own(slot) is slot:
                self._stop_over_bug(slot, error)
