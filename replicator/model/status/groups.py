"""Consumer groups as values: their kinds, what was committed, and how far a flow's target has followed."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import NamedTuple


class GroupKind(enum.StrEnum):
    """The kind of a group as its broker reports it (KIP-848, KIP-932, KIP-1071); UNKNOWN is a kind of newer brokers."""

    CLASSIC = "classic"
    CONSUMER = "consumer"
    STREAMS = "streams"
    SHARE = "share"
    UNKNOWN = "unknown"


IDLE_STATES = frozenset({"", "Empty", "Dead"})
"""States of a group without members, as ListGroups names them; an empty text means that the group does not exist."""


class Listed(NamedTuple):
    """One group as its coordinator lists it.

    Attributes:
        kind: What kind it is.
        state: Kafka's name for its state (Stable, Empty, ...).
    """

    kind: GroupKind
    state: str

    @property
    def is_active(self) -> bool:
        """Whether it has members."""
        return self.state not in IDLE_STATES


class Committed(NamedTuple):
    """What a group committed for one partition.

    Attributes:
        offset: The next record to read.
        metadata: Whatever the client added, kept verbatim.
        leader_epoch: Leader epoch of the last record read, -1 for none. It is meaningful only on its own cluster.
    """

    offset: int
    metadata: str = ""
    leader_epoch: int = -1


class GroupState(enum.StrEnum):
    """How the target compares with the source, for one partition of a group or for the worst of its partitions.

    IN_STEP: the target has what the last round wanted. The others say why it does not.
    """

    IN_STEP = "in_step"
    WAITING = "waiting"
    """The next round writes it: mirrors have not yet passed the end that the source had when the commit was read."""
    NOT_TRANSLATED = "not_translated"
    """The committed offset has no counterpart on the target (yet)."""
    ACTIVE_ON_TARGET = "active_on_target"
    """The group has members on the target: its offsets belong to them."""
    CHANGED_ON_TARGET = "changed_on_target"
    """Somebody else committed there: the offset belongs to them."""
    GONE_ON_SOURCE = "gone_on_source"
    """The source no longer has the commit; the target's stays, and is not renewed."""
    REFUSED = "refused"
    """The target does not accept it."""
    UNSUPPORTED = "unsupported"
    """One of the clusters does not support what this kind of group needs."""


@dataclass(frozen=True, slots=True)
class GroupPartition:
    """One partition of a group. Offsets are next records; None means unknown, or absent.

    Attributes:
        topic: Name on the source.
        target_topic: Name on the target.
        partition: The same on both.
        state: How the target compares with the source.
        source_offset: What the group last committed on the source.
        target_offset: The committed offset on the target.
        reread_records: Offsets that the group would read again if the target took over now.
        detail: Why, if there is more to say.
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
        source_state: Kafka's name for its state on the source, None if it does not exist there.
        target_state: The same for the target.
        checkpoint_age_seconds: Age of the commits that were last applied, None before the first time.
        reread_records: Sum over the partitions, None as soon as one is unknown.
        detail: What holds it back, in words.
        unmirrored: Commits for topics that this flow does not mirror: they are left alone.
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
    """What the last round did for one group, as a switch reports it.

    Attributes:
        group: Its id.
        state: The worst state of its partitions.
        exact: Whether all its commits on the source are on the target, as far as is known.
        written: How many partitions were written.
        reread_records: Offsets that it will read again as far as is known, None if that is unknown.
        cut_records: Offsets by which its commits were lowered because those records were never replicated.
        detail: What keeps it from being exact.
        partitions: The group's position per partition.
    """

    group: str
    state: GroupState
    exact: bool
    written: int = 0
    reread_records: int | None = None
    cut_records: int = 0
    detail: str | None = None
    partitions: tuple[GroupPartition, ...] = ()
