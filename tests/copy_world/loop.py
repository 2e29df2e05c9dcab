"""An event loop that waits for nothing: what is ready runs at once, and time passes when it is told to."""

from __future__ import annotations

import asyncio
import contextlib
import heapq
from collections import deque
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator
    from contextvars import Context

T = TypeVar("T")

_CALLBACKS_MAX = 200_000
"""Of one turn: more of them are a circle that never waits."""


class VirtualLoop(asyncio.AbstractEventLoop):
    """The loop of all daemons of one world.

    What takes a thread is done at once, in this one. Nothing is read or written by it: `add_reader` and its like do
    nothing, whoever has bytes for a connection hands them over.

    Attributes:
        failures: What reached the exception handler.
    """

    def __init__(self, now_seconds: float = 1000.0) -> None:
        self.failures: list[dict[str, Any]] = []
        self._now = now_seconds
        self._ready: deque[asyncio.Handle] = deque()
        self._timers: list[asyncio.TimerHandle] = []

    def time(self) -> float:
        """Return the monotonic time, in seconds."""
        return self._now

    # -- what asyncio asks of a loop ----------------------------------------------------------------------------------

    def call_soon(self, callback: Callable[..., object], *args: Any, context: Context | None = None) -> asyncio.Handle:  # type: ignore[override]
        """See `asyncio.AbstractEventLoop`."""
        handle = asyncio.Handle(callback, args, self, context)
        self._ready.append(handle)
        return handle

    call_soon_threadsafe = call_soon  # type: ignore[assignment] # there is one thread

    def call_later(  # type: ignore[override]
        self, delay: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """See `asyncio.AbstractEventLoop`."""
        return self.call_at(self._now + delay, callback, *args, context=context)

    def call_at(  # type: ignore[override]
        self, when: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """See `asyncio.AbstractEventLoop`."""
        handle = asyncio.TimerHandle(when, callback, args, self, context)
        heapq.heappush(self._timers, handle)
        return handle

    def create_future(self) -> asyncio.Future[Any]:
        """See `asyncio.AbstractEventLoop`."""
        return asyncio.Future(loop=self)

    def create_task(  # type: ignore[override]
        self, coro: Coroutine[Any, Any, T], *, name: str | None = None, context: Context | None = None
    ) -> asyncio.Task[T]:
        """See `asyncio.AbstractEventLoop`."""
        return asyncio.Task(coro, loop=self, name=name, context=context)

    def run_in_executor(self, executor: Any, func: Callable[..., T], *args: Any) -> asyncio.Future[T]:  # type: ignore[override]
        """Do it at once."""
        del executor
        done: asyncio.Future[T] = asyncio.Future(loop=self)
        try:
            done.set_result(func(*args))
        except Exception as error:  # noqa: BLE001 - it belongs to whoever waits
            done.set_exception(error)
        return done

    def add_reader(self, *_: Any) -> None:  # type: ignore[override]
        """Nothing is watched."""

    def remove_reader(self, *_: Any) -> bool:
        """Nothing is watched."""
        return False

    add_writer = add_reader  # type: ignore[assignment]
    remove_writer = remove_reader  # type: ignore[assignment]

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Keep it for whoever looks."""
        self.failures.append(context)

    def get_debug(self) -> bool:
        """See `asyncio.AbstractEventLoop`."""
        return False

    def is_closed(self) -> bool:
        """See `asyncio.AbstractEventLoop`."""
        return False

    def is_running(self) -> bool:
        """See `asyncio.AbstractEventLoop`."""
        return True

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """See `asyncio.TimerHandle.cancel`."""

    # -- what the world asks ------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def entered(self) -> Iterator[None]:
        """Be the running loop for a while."""
        asyncio._set_running_loop(self)
        try:
            yield
        finally:
            asyncio._set_running_loop(None)

    def run_ready(self) -> None:
        """Run what is ready, and what becomes so by it."""
        ready = self._ready
        for _ in range(_CALLBACKS_MAX):
            if not ready:
                return
            handle = ready.popleft()
            if not handle._cancelled:
                handle._run()
        raise AssertionError(f"{_CALLBACKS_MAX} callbacks in one turn: {list(ready)[:3]}")

    def jump(self, seconds: float) -> None:
        """Let time pass, and nothing of what is due run yet: as in a process that was frozen, until its next turn."""
        self._now += seconds

    def fire(self) -> None:
        """Run what is due, in its order, and what is set off by it."""
        timers = self._timers
        self.run_ready()
        while timers and timers[0].when() <= self._now:
            handle = heapq.heappop(timers)
            if not handle._cancelled:
                handle._run()
                self.run_ready()
