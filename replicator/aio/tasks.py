"""Tasks whose end is always looked at, and waits that end in any case."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from replicator.errors import BugError, ReplicatorError
from replicator.obs import bugs
from replicator.obs.logs import get_logger

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

P = ParamSpec("P")
T = TypeVar("T")

log = get_logger(__name__)


def watched(task: asyncio.Task[T]) -> asyncio.Task[T]:
    """Hand over to the loop's exception handler whatever a task met that nobody waits for; return the task."""
    task.add_done_callback(_raise)
    return task


def _raise(task: asyncio.Task[Any]) -> None:
    # Raised in a callback it reaches the handler at once, and with the context of the flow that the task was made in.
    if not task.cancelled() and (error := task.exception()) is not None:
        raise error


async def lasting(work: Callable[P, Awaitable[None]], *args: P.args, **kwargs: P.kwargs) -> None:
    """Do a part of something that must not be without it: a task group takes no notice of one that was cancelled.

    Args:
        work: Does it; called once this has begun.
        *args: Its arguments.
        **kwargs: The same, by name.

    Raises:
        BugError: It was cancelled, and not by whoever waits for this.
    """
    try:
        await work(*args, **kwargs)
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        name = getattr(work, "__qualname__", type(work).__name__)
        raise BugError(f"{name} was cancelled from within") from None


async def within(seconds: float, work: Coroutine[Any, Any, T], doing: str) -> T | None:
    """Return what some work on the way down returns; None where it fails, or has not ended in time: it is left alone.

    Unlike `asyncio.timeout` this waits for no work that goes on although it was cancelled.

    Args:
        seconds: How long it may take.
        work: What is done.
        doing: The same in words, for the log: what "was not ended in time".
    """
    task = asyncio.get_running_loop().create_task(work)
    try:
        await asyncio.wait({task}, timeout=max(0.0, seconds))
    finally:
        if not task.done():
            task.cancel()
            task.add_done_callback(_discard)
    if not task.done():
        log.warning("not ended in time", doing=doing, seconds=round(seconds, 1))
        return None
    error = None if task.cancelled() else task.exception()
    if isinstance(error, ReplicatorError):
        log.warning("not ended as it should be", doing=doing, why=str(error), next=error.next_step)
    elif error is not None:
        bugs.note(error, "not ended as it should be", doing=doing)
    return task.result() if error is None and not task.cancelled() else None


def _discard(task: asyncio.Task[Any]) -> None:
    if not task.cancelled():
        task.exception()
