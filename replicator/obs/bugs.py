"""Unexpected errors: each is logged with its stack and counted by flow, in this one place.

They are counted in the process, not in the status of a flow: a flow that could not even be created can have them.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from replicator.obs.logs import flow_of, get_logger

_met: Counter[str] = Counter()
_restarts: Counter[str] = Counter()

log = get_logger(__name__)


def note(bug: BaseException, event: str = "bug", *, flow: str | None = None, **where: Any) -> None:
    """Log and count an error of this software.

    Args:
        bug: The error.
        event: What it led to.
        flow: The flow it belongs to; None: the flow in whose context this is called, if any.
        **where: Details for the log.
    """
    whose = flow or flow_of(None) or ""
    _met[whose] += 1
    log.error(event, exc_info=bug, **({"flow": whose} if whose else {}), **where)


def note_restart(flow: str) -> None:
    """Count that a flow is restarted after it ended by itself, because of a bug or not."""
    _restarts[flow] += 1


def restarts(flow: str) -> int:
    """Return how often a flow was restarted since this process started."""
    return _restarts[flow]


def count(flow: str) -> int:
    """Return how many errors a flow had since this process started; the empty name is for those of no flow."""
    return _met[flow]
