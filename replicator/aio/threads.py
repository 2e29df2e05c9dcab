"""Threads for what blocks, a few for each cluster or file: one that hangs keeps nobody else's work from being done.

The event loop's own pool is for short work on this machine. A name server, a token command, a call to a broker or a
disk may hang for as long as it likes, and as many of them as that pool has threads would hold up the logins to every
healthy cluster.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import queue
import threading
from functools import partial
from typing import TYPE_CHECKING, Any, Final, ParamSpec, TypeVar
from weakref import WeakKeyDictionary

if TYPE_CHECKING:
    from collections.abc import Callable

THREADS_MAX: Final = 4
"""At work at once for one kind of work of one cluster; who comes later waits its turn."""
_IDLE_SECONDS = 10.0

P = ParamSpec("P")
R = TypeVar("R")


class Threads:
    """A few threads, made when they are needed, and ended once they have had nothing to do for ten seconds.

    They are daemon threads: one that hangs in a system call must not hold up the end of the process.
    A place that is waited for in vain (the caller was cancelled) is free again when the call has ended, not before.

    Args:
        name: What they do, and for which cluster.
        threads_max: How many are at work at once.
    """

    def __init__(self, name: str, threads_max: int = THREADS_MAX) -> None:
        self._name = name
        self._free = asyncio.Semaphore(threads_max)
        self._parked: list[_Worker] = []

    async def run(self, work: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Return what `work` returns, run in one of these threads; raise what it raises.

        Whoever is cancelled waits no longer: work that has begun goes on in its thread, work that has not is dropped.

        Args:
            work: What is to be done.
            *args: Its arguments.
            **kwargs: The same, by name.
        """
        await self._free.acquire()
        done: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        try:
            # To start a thread waits until it runs, which holds the event loop: one that is there is used again.
            worker = self._parked.pop() if self._parked else _Worker(self._name, self._parked)
        except RuntimeError:
            self._free.release()
            raise

        def finish(result: R | None, error: BaseException | None) -> None:
            self._parked.append(worker)
            self._free.release()
            if done.done():
                return
            if error is None:
                done.set_result(result)  # type: ignore[arg-type] # without an error it is the result
            else:
                done.set_exception(error)

        # With the context of the caller, so that log lines in there are of the same flow.
        worker.jobs.put((partial(contextvars.copy_context().run, partial(work, *args, **kwargs)), finish))
        return await done


_Job = tuple["Callable[[], Any]", "Callable[[Any, BaseException | None], None]"]


class _Worker:
    """One thread. All but `_run` happens on the event loop's thread, so nothing here needs a lock.

    Attributes:
        jobs: What it is to do, and who is told of the end; None ends it.
    """

    def __init__(self, name: str, parked: list[_Worker]) -> None:
        self.jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._loop = asyncio.get_running_loop()
        self._parked = parked
        threading.Thread(target=self._run, name=name, daemon=True).start()

    def _retire(self) -> None:
        if self in self._parked:  # else it was given something to do while it asked
            self._parked.remove(self)
            self.jobs.put(None)

    def _run(self) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            while (job := self._next()) is not None:
                work, finish = job
                result, error = None, None
                try:
                    result = work()
                except BaseException as raised:  # noqa: BLE001 - whatever it is, it belongs to who asked
                    error = raised
                self._loop.call_soon_threadsafe(finish, result, error)
                del job, work, finish, result, error  # or they would be kept until there is something to do

    def _next(self) -> _Job | None:
        try:
            return self.jobs.get(timeout=_IDLE_SECONDS)
        except queue.Empty:
            self._loop.call_soon_threadsafe(self._retire)
            return self.jobs.get()


_shared: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str, Threads]] = WeakKeyDictionary()


def threads_of(name: str) -> Threads:
    """Return the threads that all who give this name share, on the running event loop."""
    named = _shared.setdefault(asyncio.get_running_loop(), {})
    return named.setdefault(name, Threads(name))
