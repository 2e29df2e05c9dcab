"""Bounds the memory of large answers while records are compared, whichever thread reads them."""

from __future__ import annotations

import concurrent.futures
import contextlib
import threading
from typing import TYPE_CHECKING, Final, Self

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from replicator.wire.frames import FramePool

_ANSWER_SECONDS: Final = 1.0


class Turns:
    """Lets one worker at a time hold large answers, at most one for each side, however many workers there are."""

    def __init__(self) -> None:
        # Reentrant: memory, and room with it, may be released wherever an object is created.
        self.lock = threading.RLock()
        self.holder: Turn | None = None


class Turn:
    """The room of one worker; use it as a context manager, which gives up its turn at the end.

    Args:
        turns: Shared by all workers.
    """

    def __init__(self, turns: Turns) -> None:
        self._turns = turns
        self._held_bytes = 0

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Give up the turn, whatever still refers to what was read."""
        with self._turns.lock:
            self._end()

    def take(self, size: int) -> bool:
        """Return whether it is this worker's turn; it stays so until all is given back."""
        with self._turns.lock:
            if self._turns.holder not in {None, self}:
                return False
            self._turns.holder = self
            self._held_bytes += size
            return True

    def give_back(self, size: int) -> None:
        """Take back what was held; giving back the last of it ends the turn."""
        with self._turns.lock:
            self._held_bytes -= size
            if self._held_bytes <= 0:
                self._end()

    def _end(self) -> None:
        if self._turns.holder is self:
            self._turns.holder = None
        self._held_bytes = 0


class Borrowed:
    """Room within the frames of a flow, for a thread other than the event loop that owns them.

    The copy is not held up for it: if its frames leave no room, none is taken.

    Args:
        frames: The flow's frames.
        loop: The event loop that owns them.
        when_returned: Called there once room was given back: others may be waiting for it.
    """

    def __init__(self, frames: FramePool, loop: asyncio.AbstractEventLoop, when_returned: Callable[[], object]) -> None:
        self._frames = frames
        self._loop = loop
        self._when_returned = when_returned
        self._lent_bytes = 0

    def take(self, size: int) -> bool:
        """Return whether the frames leave room; wait for the answer of their event loop, for a second at most."""
        answer: concurrent.futures.Future[bool] = concurrent.futures.Future()

        def lend() -> None:
            if answer.set_running_or_notify_cancel():
                answer.set_result(self._lend(size))

        try:
            self._loop.call_soon_threadsafe(lend)
        except RuntimeError:  # it is closed: whoever waits is about to be stopped
            return False
        try:
            return answer.result(_ANSWER_SECONDS)
        except TimeoutError:
            return not answer.cancel() and answer.result()

    def give_back(self, size: int) -> None:
        """Give back what was lent."""
        with contextlib.suppress(RuntimeError):  # the event loop is closed, and its frames are gone
            self._loop.call_soon_threadsafe(self._return, size)

    def _lend(self, size: int) -> bool:
        if not self._frames.may_lend(size, self._lent_bytes):
            return False
        self._frames.lend(size)
        self._lent_bytes += size
        return True

    def _return(self, size: int) -> None:
        self._lent_bytes -= size
        self._frames.return_lent(size)
        self._when_returned()
