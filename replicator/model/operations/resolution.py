"""How an operator resolves a fault, and what is shown of that before and after it is carried out."""

from __future__ import annotations

import enum
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from replicator.model.status.states import Reason


class How(enum.StrEnum):
    """What to do about a fault (CONTRACTS section 3)."""

    SKIP = "skip"
    RESEED = "reseed"
    RECREATE = "recreate"
    ACCEPT = "accept"


FROM_SCRATCH = frozenset({How.RESEED, How.RECREATE})
"""Two names for one thing: the target topic is deleted, created again and copied from scratch."""
ALLOWED: Mapping[Reason, frozenset[How]] = {
    Reason.OVERTAKEN_BY_RETENTION: FROM_SCRATCH | {How.SKIP},
    Reason.SOURCE_TRUNCATED: FROM_SCRATCH | {How.ACCEPT},
    Reason.SOURCE_RECREATED: FROM_SCRATCH | {How.ACCEPT},
    Reason.TARGET_MISSING: FROM_SCRATCH,
    Reason.TARGET_RECREATED: FROM_SCRATCH,
    Reason.FOREIGN_WRITER: FROM_SCRATCH | {How.ACCEPT},
    Reason.OTHER_OWNER: frozenset({How.ACCEPT}),
    Reason.CONTENT_MISMATCH: FROM_SCRATCH | {How.ACCEPT},
    Reason.RECORD_TOO_LARGE: frozenset({How.SKIP, How.ACCEPT}),
    Reason.BATCH_TOO_LARGE: frozenset({How.SKIP, How.ACCEPT}),
    Reason.TOMBSTONES_MAY_BE_LOST: FROM_SCRATCH | {How.ACCEPT},
    Reason.CORRUPT_BATCH: FROM_SCRATCH | {How.SKIP},
    Reason.INTERNAL_ERROR: FROM_SCRATCH,
}
"""Which resolutions apply to which fault."""


@dataclass(frozen=True, slots=True)
class ResolutionOrder:
    """An operator's order for one mirror.

    Attributes:
        topic: Its source topic.
        how: What to do.
        partitions: The partitions; empty: all that have stopped.
        actor: Who ordered it.
        why: The operator's reason.
        digest: Digest of the plan that was confirmed; None: act on the facts as they are now.
    """

    topic: str
    how: How
    partitions: Collection[int] = ()
    actor: str = ""
    why: str = ""
    digest: str | None = None


@dataclass(frozen=True, slots=True)
class Loss:
    """Offsets from `first` up to `end` that are gone, or remain on one side only."""

    partition: int
    first: int
    end: int
    text: str

    def __str__(self) -> str:
        """Return it as it appears in logs and histories."""
        return f"{self.partition}: {self.first} to {self.end}, {self.text}"


@dataclass(frozen=True, slots=True)
class Resolution:
    """One resolution of a mirror's fault.

    Attributes:
        how: What the operator wants.
        reasons: Why the mirror has stopped; empty if it has not, and there is nothing to do.
        steps: One sentence for each step, in order.
        losses: What it costs.
        digest: A short name for exactly this plan: if it is sent back with the order, nothing else is carried out.
    """

    how: str
    reasons: tuple[str, ...] = ()
    steps: tuple[str, ...] = ()
    losses: tuple[Loss, ...] = ()
    digest: str = ""
