"""What runs for as long as this daemon works on a shard, and no longer."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from replicator.aio.tasks import lasting, watched

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

_END_SECONDS = 1.0


class WorkScope:
    """The work of whoever holds a shard: it begins with the shard, and has ended before anything of it is given back.

    There is one way out, however the shard goes: handed over, taken away, or left at the end of the process. So nothing
    in here asks whether the shard is still ours (litefs' `monitorLeaseAsPrimary` is built like that). The right to
    write unguarded is not a scope: it ends by the clock, and is asked for at each write (`ClaimKeeper`).
    """

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def open(self, works: Iterable[Callable[[], Awaitable[None]]]) -> None:
        """Begin; what a work raises belongs to the flow."""
        for work in works:
            task = watched(asyncio.get_running_loop().create_task(lasting(work)))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Cancel all of it, and wait until it has ended, a second at most."""
        self.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=_END_SECONDS)

    def cancel(self) -> None:
        """Cancel all of it, where nothing waits: the flow itself ends."""
        for task in self._tasks:
            task.cancel()
