"""Errors that nobody expected: each is logged with its stack and counted for its flow, in this one place.

Counted for the process, not in the status of a flow: a flow that could not even be made has them as well.
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
        bug: What was met.
        event: What became of it.
        flow: Whose it is; None: the flow in whose context this is called, or nobody's.
        **where: What it was about, for the log.
    """
    whose = flow or flow_of(None) or ""
    _met[whose] += 1
    log.error(event, exc_info=bug, **({"flow": whose} if whose else {}), **where)


def note_restart(flow: str) -> None:
    """Count that a flow is begun again after it has ended by itself, over a bug or not."""
    _restarts[flow] += 1


def restarts(flow: str) -> int:
    """Return how often a flow was begun again since this process began."""
    return _restarts[flow]


def count(flow: str) -> int:
    """Return how many were met in a flow since this process began; of no flow in particular: the empty name."""
    return _met[flow]
