"""Threads for what blocks while a connection is opened: names, certificates, secrets, the work of a SCRAM login.

Each cluster has its own few. On the pool that everybody shares, logins to a cluster that is gone (a name server or a
token command that hangs) would keep those to healthy clusters from running.
"""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Final, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

THREADS_MAX: Final = 4
"""At work at once for one cluster; who comes later waits its turn."""

R = TypeVar("R")


class Threads:
    """A few threads of one cluster, made when they are needed.

    They are daemon threads: one that hangs in a system call must not hold up the end of the process.
    A place that is waited for in vain (the caller was cancelled) is free again when the call has ended, not before.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._free = asyncio.Semaphore(THREADS_MAX)

    async def run(self, work: Callable[[], R]) -> R:
        """Return what `work` returns, or raise what it raises."""
        await self._free.acquire()
        loop = asyncio.get_running_loop()
        done: asyncio.Future[R] = loop.create_future()

        def finish(result: R | None, error: BaseException | None) -> None:
            self._free.release()
            if done.done():
                return
            if error is None:
                done.set_result(result)  # type: ignore[arg-type] # without an error it is the result
            else:
                done.set_exception(error)

        def target() -> None:
            result, error = None, None
            try:
                result = work()
            except BaseException as raised:  # noqa: BLE001 - whatever it is, it belongs to who asked
                error = raised
            try:
                loop.call_soon_threadsafe(finish, result, error)
            except RuntimeError:  # the loop is closed: nobody waits any more
                return

        try:
            threading.Thread(target=target, name=f"login-{self._name}", daemon=True).start()
        except RuntimeError:
            self._free.release()
            raise
        return await done
