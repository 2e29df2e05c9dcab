"""Errors without a caller: those of the event loop's callbacks, and of tasks that nobody awaits."""

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

    Each error is logged with its stack and counted. An error that ended a callback may have left anything half done, so
    the flow in whose context it ran ends, and is started again. An error that was only reported here, by code that has
    already dealt with it, ends nothing.

    Args:
        end_flow: Ends a flow because of an error.
    """

    def __init__(self, end_flow: Callable[[str, BaseException], None]) -> None:
        self._end_flow = end_flow

    def __call__(self, loop: asyncio.AbstractEventLoop, report: Mapping[str, Any]) -> None:
        """Take asyncio's report of an error."""
        del loop
        message, error = str(report.get("message", "")), report.get("exception")
        ran = report.get("handle") or report.get("task") or report.get("future")
        flow = flow_of(_context_of(ran))
        if not isinstance(error, BaseException):
            log.error("event loop", why=message, flow=flow)
        elif isinstance(error, ReplicatorError):
            # An expected kind of error, which some caller should have handled.
            log.error("event loop", why=f"{message}: {error}", flow=flow)
        else:
            bugs.note(error, "an error in the event loop", flow=flow, why=message)
            if flow is not None and ran is not None:
                self._end_flow(flow, error)


def _context_of(ran: Any) -> Any:
    """Return the context in which a callback or a task ran, if Python exposes it (for tasks since 3.12)."""
    get_context = getattr(ran, "get_context", None)
    return get_context() if get_context is not None else getattr(ran, "_context", None)
