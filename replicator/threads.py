"""Threads for what blocks, a few for each cluster or file: one that hangs keeps nobody else's work from being done.

The event loop's own pool is for short work on this machine. A name server, a token command, a call to a broker or a
disk may hang for as long as it likes, and as many of them as that pool has threads would hold up the logins to every
healthy cluster.
"""

from __future__ import annotations

import asyncio
import contextvars
import threading
from functools import partial
from typing import TYPE_CHECKING, Final, ParamSpec, TypeVar
from weakref import WeakKeyDictionary

if TYPE_CHECKING:
    from collections.abc import Callable

THREADS_MAX: Final = 4
"""At work at once for one kind of work of one cluster; who comes later waits its turn."""

P = ParamSpec("P")
R = TypeVar("R")


class Threads:
    """A few threads, made when they are needed.

    They are daemon threads: one that hangs in a system call must not hold up the end of the process.
    A place that is waited for in vain (the caller was cancelled) is free again when the call has ended, not before.

    Args:
        name: What they do, and for which cluster.
        threads_max: How many are at work at once.
    """

    def __init__(self, name: str, threads_max: int = THREADS_MAX) -> None:
        self._name = name
        self._free = asyncio.Semaphore(threads_max)

    async def run(self, work: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Return what `work` returns, run in one of these threads; raise what it raises.

        Whoever is cancelled waits no longer: work that has begun goes on in its thread, work that has not is dropped.

        Args:
            work: What is to be done.
            *args: Its arguments.
            **kwargs: The same, by name.
        """
        await self._free.acquire()
        # With the context of the caller, so that log lines in there are of the same flow.
        bound = partial(contextvars.copy_context().run, partial(work, *args, **kwargs))
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
                result = bound()
            except BaseException as raised:  # noqa: BLE001 - whatever it is, it belongs to who asked
                error = raised
            try:
                loop.call_soon_threadsafe(finish, result, error)
            except RuntimeError:  # the loop is closed: nobody waits any more
                return

        try:
            threading.Thread(target=target, name=self._name, daemon=True).start()
        except RuntimeError:
            self._free.release()
            raise
        return await done


_shared: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str, Threads]] = WeakKeyDictionary()


def threads_of(name: str) -> Threads:
    """Return the threads that all who give this name share, on the running event loop."""
    named = _shared.setdefault(asyncio.get_running_loop(), {})
    return named.setdefault(name, Threads(name))
