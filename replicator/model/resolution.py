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


ANEW = frozenset({How.RESEED, How.RECREATE})
"""Two names of one thing: the target topic is deleted, created and copied anew."""
ALLOWED: Mapping[Reason, frozenset[How]] = {
    Reason.OVERTAKEN_BY_RETENTION: ANEW | {How.SKIP},
    Reason.SOURCE_TRUNCATED: ANEW | {How.ACCEPT},
    Reason.SOURCE_RECREATED: ANEW | {How.ACCEPT},
    Reason.TARGET_MISSING: ANEW,
    Reason.TARGET_RECREATED: ANEW,
    Reason.FOREIGN_WRITER: ANEW | {How.ACCEPT},
    Reason.OTHER_OWNER: frozenset({How.ACCEPT}),
    Reason.CONTENT_MISMATCH: ANEW | {How.ACCEPT},
    Reason.RECORD_TOO_LARGE: frozenset({How.SKIP, How.ACCEPT}),
    Reason.BATCH_TOO_LARGE: frozenset({How.SKIP, How.ACCEPT}),
    Reason.TOMBSTONES_MAY_BE_LOST: ANEW | {How.ACCEPT},
    Reason.CORRUPT_BATCH: ANEW | {How.SKIP},
    Reason.INTERNAL_ERROR: ANEW,
}
"""What helps against which fault."""


@dataclass(frozen=True, slots=True)
class Order:
    """What an operator wants of one mirror.

    Attributes:
        topic: Its source topic.
        how: What to do.
        partitions: The partitions; empty: all that have stopped.
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

    def __str__(self) -> str:
        """Return it as logs and histories tell it."""
        return f"{self.partition}: {self.first} to {self.end}, {self.text}"


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
