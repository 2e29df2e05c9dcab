"""What an attach knows and what it may decide: values only (the decision itself is `core.copy.attach`)."""

from __future__ import annotations

import enum
from collections.abc import Mapping as MappingOf
from dataclasses import dataclass, field, replace

from replicator.core.offsets.offset_map import Place
from replicator.model.states import Reason


class Role(enum.StrEnum):
    """What the writer record on the target allows."""

    COPYING = "copying"
    FENCING = "fencing"
    PROMOTED = "promoted"


@dataclass(frozen=True, slots=True)
class Writer:
    """The flow's identity on the target, as the writer record has it."""

    producer_id: int
    producer_epoch: int
    role: Role
    filler_id: int
    filler_epoch: int
    fill_id: int

    def for_mirror(self, role: Role | None, epoch: int) -> Writer:
        """Return what holds for a mirror that was switched alone.

        Args:
            role: Its own, None for the flow's.
            epoch: What its partitions were fenced with last, which need not be what the others were.
        """
        return replace(self, role=role or self.role, producer_epoch=epoch)


@dataclass(frozen=True, slots=True)
class Writers:
    """Who may write to each mirror of a flow.

    Attributes:
        flow: What holds for mirrors that were never switched alone.
        own: What holds for the others, by target topic.
    """

    flow: Writer
    own: MappingOf[str, Writer] = field(default_factory=dict)

    def of(self, target_topic: str) -> Writer:
        """Return what holds for one mirror."""
        return self.own.get(target_topic, self.flow)

    def copies(self, target_topic: str) -> bool:
        """Return whether one mirror is copied to."""
        return self.of(target_topic).role is Role.COPYING

    @property
    def any_copies(self) -> bool:
        """Whether anything is copied at all."""
        return any(writer.role is Role.COPYING for writer in (self.flow, *self.own.values()))


@dataclass(frozen=True, slots=True)
class Entry:
    """What the target's broker remembers of our producer id on this partition. Time in ms."""

    producer_epoch: int
    last_sequence: int
    last_timestamp: int


@dataclass(frozen=True, slots=True)
class Tail:
    """The last data batch below the target's end.

    `content` is its last record without the offset (any comparable value); `last_offset` that record's offset.
    """

    last_offset: int
    producer_id: int
    producer_epoch: int
    last_sequence: int
    max_timestamp: int
    content: object


@dataclass(frozen=True, slots=True)
class TargetLog:
    """The target's partition. `end` is the high watermark.

    `entry` is None where the broker holds no state for our producer id; `entry_known` is False where the broker
    does not offer DescribeProducers at all, and the tail's header has to serve.
    `log_end` is the leader's own end, committed or not (OffsetForLeaderEpoch of its present epoch), read after the
    producer state; None if unknown.
    """

    start: int
    end: int
    entry: Entry | None
    tail: Tail | None
    entry_known: bool = True
    log_end: int | None = None


class Standing(enum.Enum):
    """Where the last record of a target stands that the source has no record for to compare it with.

    `AS_RECORDED`: where the map says, as far as the source tells. `FURTHER_ON`: markers that are none of the source's
    stand before it. `UNPROVEN`: it stands behind markers that only what the source has lost could explain.
    """

    AS_RECORDED = enum.auto()
    FURTHER_ON = enum.auto()
    UNPROVEN = enum.auto()


@dataclass(frozen=True, slots=True)
class SourceLog:
    """The source's partition.

    `end` is what a reader of the flow's isolation level may read up to, `high_watermark` the end of what exists.
    `content` is the record that stands at the target tail's last offset: None when the source has none there.
    `epoch_end` is where the stored leader epoch ends in the source's present history, or None if nothing is stored.
    `epoch` is the leader epoch of the last batch below the target's end, -1 if it is unknown.
    `unfilled` is the first offset behind the target tail's last record, and below the target's end, at which the source
    has a record to copy.
    `compacted` tells whether records may vanish from inside this log.
    `log_end` is the leader's own end (OffsetForLeaderEpoch of its present epoch), asked for only where a log is said to
    hold nothing and to start above 0; None if unknown.
    `standing` tells where `content` would be looked for in vain whether the target's last record belongs there.
    """

    start: int
    end: int
    high_watermark: int
    content: object | None
    epoch_end: int | None
    epoch: int = -1
    unfilled: int | None = None
    compacted: bool = False
    log_end: int | None = None
    standing: Standing = Standing.AS_RECORDED


@dataclass(frozen=True, slots=True)
class Mapping:
    """What is known of a partition whose source offsets do not stand at the same ones on the target.

    `place` is what the target's end stands for: where offsets are mapped it was found by walking both logs, and is None
    where they do not tell any more. `tail_source` is the source offset of the target's last record, as found on the
    way. Elsewhere both follow from the last difference.
    What lies below `judged_from` on the target was there before, and taken over: others wrote it, and it is not
    compared with the source; unless `compared_from` is below it.
    """

    place: Place | None
    mapped: bool
    judged_from: int = 0
    tail_source: int | None = None
    compared_from: int | None = None


@dataclass(frozen=True, slots=True)
class Policy:
    """What the flow and its operator allow.

    `mapped` begins new partitions with mapped offsets, `may_be_mapped` goes over to them where identical ones cannot be
    had, `surplus_allowed` goes on behind markers too many, and `given_up` are source offsets that may be missing.
    `wants_mapping` tells that holes cannot be filled. `others_write` tells that the target's log is not ours alone: its
    tail is our own last batch then, wherever that stands, and its offsets are always mapped.
    """

    mapped: bool = False
    may_be_mapped: bool = False
    surplus_allowed: bool = False
    wants_mapping: bool = False
    given_up: tuple[tuple[int, int], ...] = ()
    others_write: bool = False


@dataclass(frozen=True, slots=True)
class Resume:
    """Copy on from the source's `offset` with `sequence`, `shift` offsets further on the target.

    `state_time_ms` is the newest record time the target's producer state rests on; None where there is no state.
    Source offsets up to `gap_to` are missing, and given up.
    """

    offset: int
    sequence: int
    state_time_ms: int | None
    shift: int = 0
    gap_to: int = 0

    @property
    def place(self) -> Place:
        """The same in both logs."""
        return Place(self.offset, self.offset + self.shift)


@dataclass(frozen=True, slots=True)
class SeedTo:
    """Bring the target's log start to `offset` before anything is copied."""

    offset: int


@dataclass(frozen=True, slots=True)
class Wait:
    """Read the facts again a little later."""

    reason: Reason
    detail: str


@dataclass(frozen=True, slots=True)
class Fault:
    """Stop the partition."""

    reason: Reason
    detail: str


@dataclass(frozen=True, slots=True)
class Remap:
    """Record that source and target go on at `place`, with another difference than before, and look again.

    `anew` tells that nothing of ours stands below it.
    """

    place: Place
    mapped: bool
    text: str
    anew: bool = False


Decision = Resume | SeedTo | Wait | Fault | Remap
