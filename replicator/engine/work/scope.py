"""What runs for as long as this daemon works on a shard, and no longer."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from replicator.aio.tasks import lasting

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

    def open(self, works: Iterable[Callable[[], Awaitable[None]]], on_error: Callable[[BaseException], None]) -> None:
        """Begin.

        Args:
            works: Each is called once, and may go on for as long as the shard is worked.
            on_error: Gets what one of them raises, of any kind: nobody else waits for it.
        """

        def ended(task: asyncio.Task[None]) -> None:
            self._tasks.discard(task)
            if not task.cancelled() and (error := task.exception()) is not None:
                on_error(error)

        for work in works:
            task = asyncio.get_running_loop().create_task(lasting(work))
            self._tasks.add(task)
            task.add_done_callback(ended)

    async def close(self) -> None:
        """Cancel all of it, and wait until it has ended, a second at most."""
        self.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=_END_SECONDS)

    def cancel(self) -> None:
        """Cancel all of it, where nothing waits: the flow itself ends."""
        for task in self._tasks:
            task.cancel()
