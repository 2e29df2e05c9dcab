"""How an operator resolves a fault, and what is shown of that before it is carried out and after."""

from __future__ import annotations

import enum
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from replicator.model.states import Reason


class How(enum.StrEnum):
    """What to do about a fault (CONTRACTS section 3)."""

    SKIP = "skip"
    RESEED = "reseed"
    RECREATE = "recreate"
    ACCEPT = "accept"


_RECREATE = frozenset({How.RESEED, How.RECREATE})
ALLOWED: Mapping[Reason, frozenset[How]] = {
    Reason.OVERTAKEN_BY_RETENTION: _RECREATE | {How.SKIP},
    Reason.SOURCE_TRUNCATED: _RECREATE | {How.ACCEPT},
    Reason.SOURCE_RECREATED: _RECREATE | {How.ACCEPT},
    Reason.TARGET_MISSING: _RECREATE,
    Reason.TARGET_RECREATED: _RECREATE,
    Reason.FOREIGN_WRITER: _RECREATE | {How.ACCEPT},
    Reason.CONTENT_MISMATCH: _RECREATE | {How.ACCEPT},
    Reason.RECORD_TOO_LARGE: frozenset({How.SKIP, How.ACCEPT}),
    Reason.TOMBSTONES_MAY_BE_LOST: _RECREATE | {How.ACCEPT},
    Reason.CORRUPT_BATCH: frozenset({How.SKIP}),
}
"""`reseed` and `recreate` are two names of one thing: the target topic is deleted, created and copied anew."""


@dataclass(frozen=True, slots=True)
class Order:
    """What an operator wants of one mirror.

    Attributes:
        topic: Its source topic.
        how: What to do.
        partitions: Which ones are meant; empty: all that stand still.
        actor: Who wants it.
        why: What the operator says about it.
        digest: Of the plan that was confirmed; None: whatever the facts are now.
    """

    topic: str
    how: How
    partitions: Collection[int] = ()
    actor: str = ""
    why: str = ""
    digest: str | None = None


@dataclass(frozen=True, slots=True)
class Loss:
    """What is gone, or stays on one side only: offsets from `first` up to `end`."""

    partition: int
    first: int
    end: int
    text: str


@dataclass(frozen=True, slots=True)
class Resolution:
    """One resolution of a mirror's fault.

    Attributes:
        how: What the operator wants.
        reasons: Why the mirror stands still; empty where it does not, and nothing is to be done.
        steps: One sentence for each thing that is done, in order.
        losses: What it costs.
        digest: A short name of exactly this plan: given back with the order, nothing else is carried out.
    """

    how: str
    reasons: tuple[str, ...] = ()
    steps: tuple[str, ...] = ()
    losses: tuple[Loss, ...] = ()
    digest: str = ""
