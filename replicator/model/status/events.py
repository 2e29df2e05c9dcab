"""What an operator wants a flow to do, and the flow's changes of state."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Desired(enum.StrEnum):
    """What an operator wants a flow to do; recorded on the target, so it survives a restart."""

    ACTIVE = "ACTIVE"
    PAUSED = "PAUSED"


@dataclass(frozen=True, slots=True)
class Event:
    """One change of state, or one remark, about a flow or a part of it.

    `at` is RFC 3339 text in UTC. `before` and `after` are states, None for a remark. `text` is one sentence
    for a person.
    """

    at: str
    flow: str
    topic: str | None
    partition: int | None
    before: str | None
    after: str | None
    reason: str | None
    text: str
