"""Consumer groups as values: their kinds, what was committed, and how far a flow's target has followed."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import NamedTuple


class GroupKind(enum.StrEnum):
    """What kind of group a broker says it is (KIP-848, KIP-932, KIP-1071); UNKNOWN is one of a newer broker."""

    CLASSIC = "classic"
    CONSUMER = "consumer"
    STREAMS = "streams"
    SHARE = "share"
    UNKNOWN = "unknown"


IDLE_STATES = frozenset({"", "Empty", "Dead"})
"""States of a group without members, as ListGroups names them; an empty text stands for a group that is not there."""


class Listed(NamedTuple):
    """One group as its coordinator lists it.

    Attributes:
        kind: What kind it is.
        state: Kafka's name of its state (Stable, Empty, ...).
    """

    kind: GroupKind
    state: str

    @property
    def is_active(self) -> bool:
        """Whether it has members."""
        return self.state not in IDLE_STATES


class Committed(NamedTuple):
    """What a group committed of one partition.

    Attributes:
        offset: The next record to read.
        metadata: Whatever the client added, kept verbatim.
        leader_epoch: Of the last record read, -1 for none. It means something on its own cluster only.
    """

    offset: int
    metadata: str = ""
    leader_epoch: int = -1


class GroupState(enum.StrEnum):
    """How the target stands to the source: of one partition of a group, or the worst of its partitions.

    IN_STEP stands where the target has what the last round wanted, the others say why it has not.
    """

    IN_STEP = "in_step"
    WAITING = "waiting"
    """The next round writes it: mirrors have not passed yet what the source held when the commit was read."""
    NOT_TRANSLATED = "not_translated"
    """The committed offset has no place on the target (yet)."""
    ACTIVE_ON_TARGET = "active_on_target"
    """The group has members on the target: it is theirs."""
    CHANGED_ON_TARGET = "changed_on_target"
    """Somebody else committed there: it is theirs."""
    GONE_ON_SOURCE = "gone_on_source"
    """The source does not know the commit any more; the target's is left, and is not renewed."""
    REFUSED = "refused"
    """The target does not take it."""
    UNSUPPORTED = "unsupported"
    """One of the clusters does not offer what this kind of group needs."""


@dataclass(frozen=True, slots=True)
class GroupPartition:
    """One partition of a group. Offsets are next records; None is unknown, or not there.

    Attributes:
        topic: Name on the source.
        target_topic: Name on the target.
        partition: The same on both.
        state: How the target stands to the source.
        source_offset: What the group last committed on the source.
        target_offset: What stands on the target.
        reread_records: Offsets the group would read again if the target took over now.
        detail: Why, where there is more to say.
    """

    topic: str
    target_topic: str
    partition: int
    state: GroupState
    source_offset: int | None = None
    target_offset: int | None = None
    reread_records: int | None = None
    detail: str | None = None


@dataclass(frozen=True, slots=True)
class GroupStatus:
    """One group of one flow.

    Attributes:
        flow: Name of the flow.
        group: Id of the group, the same on both sides.
        kind: What kind it is on the source.
        state: The worst state of its partitions.
        source_state: Kafka's name of its state on the source, None where it is not there.
        target_state: The same on the target.
        checkpoint_age_seconds: Age of the commits that were last applied, None before the first time.
        reread_records: Sum over the partitions, None as soon as one is unknown.
        detail: What holds it back, in words.
        unmirrored: Commits of topics that this flow does not mirror: they are left alone.
        partitions: Its partitions; empty in a list.
    """

    flow: str
    group: str
    kind: GroupKind
    state: GroupState
    source_state: str | None = None
    target_state: str | None = None
    checkpoint_age_seconds: float | None = None
    reread_records: int | None = None
    detail: str | None = None
    unmirrored: int = 0
    partitions: tuple[GroupPartition, ...] = ()


@dataclass(frozen=True, slots=True)
class GroupOutcome:
    """What a last round did for one group, as a switch reports it.

    Attributes:
        group: Its id.
        state: The worst state of its partitions.
        exact: Whether all that it had committed on the source stands on the target, as far as is known.
        written: How many partitions were written.
        reread_records: Offsets it will read again as far as is known, None where that cannot be told.
        cut_records: Offsets by which less was written than it had committed, since they were never replicated.
        detail: What keeps it from being exact.
        partitions: Where it stands.
    """

    group: str
    state: GroupState
    exact: bool
    written: int = 0
    reread_records: int | None = None
    cut_records: int = 0
    detail: str | None = None
    partitions: tuple[GroupPartition, ...] = ()
