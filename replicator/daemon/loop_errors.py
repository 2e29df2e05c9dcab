"""What met no caller: errors of the event loop's callbacks, and of tasks that nobody waits for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from replicator.errors import ReplicatorError
from replicator.obs import bugs
from replicator.obs.logs import flow_of, get_logger

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Mapping

log = get_logger(__name__)


class LoopErrors:
    """The event loop's exception handler (`loop.set_exception_handler`).

    Each error is logged with its stack and counted. One that ended a callback may have left anything half done, so
    the flow in whose context it ran ends, and is begun again. What was only reported here, by somebody who has dealt
    with it, ends nothing.

    Args:
        end_flow: Ends a flow over an error.
    """

    def __init__(self, end_flow: Callable[[str, BaseException], None]) -> None:
        self._end_flow = end_flow

    def __call__(self, loop: asyncio.AbstractEventLoop, told: Mapping[str, Any]) -> None:
        """Take what asyncio tells of an error."""
        del loop
        message, error = str(told.get("message", "")), told.get("exception")
        ran = told.get("handle") or told.get("task") or told.get("future")
        flow = flow_of(_context_of(ran))
        if not isinstance(error, BaseException):
            log.error("event loop", why=message, flow=flow)
        elif isinstance(error, ReplicatorError):
            # Of a kind that is expected, and should have been heard by somebody.
            log.error("event loop", why=f"{message}: {error}", flow=flow)
        else:
            bugs.note(error, "an error in the event loop", flow=flow, why=message)
            if flow is not None and ran is not None:
                self._end_flow(flow, error)


def _context_of(ran: Any) -> Any:
    """Return the context in which a callback or a task ran, where Python tells (of tasks since 3.12)."""
    tell = getattr(ran, "get_context", None)
    return tell() if tell is not None else getattr(ran, "_context", None)
