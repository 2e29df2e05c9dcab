"""What an attach knows and what it may decide: values only (the decision itself is `attach`)."""

from __future__ import annotations

import enum
from collections.abc import Mapping as MappingOf
from dataclasses import dataclass, field, replace

from replicator.core.offsets.offset_map import OffsetPair
from replicator.model.status.states import Reason


class Role(enum.StrEnum):
    """What the writer record on the target allows."""

    COPYING = "copying"
    FENCING = "fencing"
    PROMOTED = "promoted"


@dataclass(frozen=True, slots=True)
class Writer:
    """The flow's identity on the target, from the writer record.

    `continues_from` is the least epoch that a partition may show whose copy goes on under `producer_epoch` without a
    marker of it, since the flow was moved to another source; None if every partition was fenced at `producer_epoch`.
    """

    producer_id: int
    producer_epoch: int
    role: Role
    filler_id: int
    filler_epoch: int
    fill_id: int
    continues_from: int | None = None

    def for_mirror(self, role: Role | None, epoch: int, continues_from: int | None = None) -> Writer:
        """Return the identity for a mirror that was switched alone.

        Args:
            role: The mirror's own role, None for the flow's.
            epoch: The epoch that its partitions were last fenced with; that of other mirrors may differ.
            continues_from: See `Writer`.
        """
        return replace(self, role=role or self.role, producer_epoch=epoch, continues_from=continues_from)

    def may_go_on_from(self, epoch: int) -> bool:
        """Return whether the copy of a partition that shows this lower epoch goes on, with sequence 0."""
        return self.continues_from is not None and self.continues_from <= epoch < self.producer_epoch


@dataclass(frozen=True, slots=True)
class Writers:
    """Who may write to each mirror of a flow.

    Attributes:
        flow: The identity for mirrors that were never switched alone.
        own: The identities for the others, by target topic.
    """

    flow: Writer
    own: MappingOf[str, Writer] = field(default_factory=dict)

    def of(self, target_topic: str) -> Writer:
        """Return the identity for one mirror."""
        return self.own.get(target_topic, self.flow)

    def copies(self, target_topic: str) -> bool:
        """Return whether one mirror is copied to."""
        return self.of(target_topic).role is Role.COPYING

    @property
    def any_copies(self) -> bool:
        """Whether anything is copied at all."""
        return any(writer.role is Role.COPYING for writer in (self.flow, *self.own.values()))


@dataclass(frozen=True, slots=True)
class OwnProducerState:
    """What the target's broker remembers about our producer id on this partition. Time in ms."""

    producer_epoch: int
    last_sequence: int
    last_timestamp: int


@dataclass(frozen=True, slots=True)
class Tail:
    """The last data batch below the target's end.

    `content` is its last record without the offset (any comparable value), `last_offset` the offset of that record.
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

    `entry` is None if the broker holds no state for our producer id. `entry_known` is False if the broker does not
    support DescribeProducers; then the header of the tail is used instead.
    `log_end` is the leader's log end, committed or not (OffsetForLeaderEpoch of its present epoch), read after the
    producer state; None if unknown.
    """

    start: int
    end: int
    entry: OwnProducerState | None
    tail: Tail | None
    entry_known: bool = True
    log_end: int | None = None


class TailPosition(enum.Enum):
    """Where the target's last record belongs, if the source has no record to compare it with.

    `AS_RECORDED`: where the map says, as far as the source shows. `FURTHER_ON`: markers that are not the source's lie
    before it. `UNPROVEN`: it lies after markers that only history lost by the source could explain.
    """

    AS_RECORDED = enum.auto()
    FURTHER_ON = enum.auto()
    UNPROVEN = enum.auto()


@dataclass(frozen=True, slots=True)
class SourceLog:
    """The source's partition.

    `end` is the end for a reader of the flow's isolation level (last stable offset or high watermark).
    `content` is the record at the target tail's last offset; None if the source has none there.
    `epoch_end` is where the stored leader epoch ends in the source's present history, or None if nothing is stored.
    `epoch` is the leader epoch of the last batch below the target's end, -1 if it is unknown.
    `unfilled` is the first offset after the target tail's last record, and below the target's end, at which the source
    has a record to copy.
    `compacted`: records may vanish from inside this log.
    `log_end` is the leader's log end (OffsetForLeaderEpoch of its present epoch), read only if the log claims to be
    empty and to start above 0; None if unknown.
    `tail_position` says where the target's last record belongs if there is no `content` to compare it with.
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
    tail_position: TailPosition = TailPosition.AS_RECORDED


@dataclass(frozen=True, slots=True)
class Mapping:
    """What is known about a partition whose offsets on the target are not the source's own.

    `place` is the place at the target's end. Where offsets are mapped, it was found by walking both logs, and is None
    if they no longer show it; `tail_source` is the source offset of the target's last record, found on the way.
    Where offsets are not mapped, both follow from the last shift.
    What lies below `judged_from` on the target was there before and was taken over: others wrote it, and it is not
    compared with the source, unless `compared_from` is below it.
    """

    place: OffsetPair | None
    mapped: bool
    judged_from: int = 0
    tail_source: int | None = None
    compared_from: int | None = None


@dataclass(frozen=True, slots=True)
class Policy:
    """What the flow and its operator allow.

    `mapped`: new partitions start with mapped offsets. `may_be_mapped`: a partition switches to mapped offsets where
    identical ones are not possible. `surplus_allowed`: the copy may continue after surplus markers. `given_up` are
    source offsets that may be missing. `wants_mapping`: holes cannot be filled. `others_write`: the target's log is not
    ours alone; then the tail is our own last batch, wherever that is, and offsets are always mapped.
    """

    mapped: bool = False
    may_be_mapped: bool = False
    surplus_allowed: bool = False
    wants_mapping: bool = False
    given_up: tuple[tuple[int, int], ...] = ()
    others_write: bool = False


@dataclass(frozen=True, slots=True)
class Resume:
    """Continue from the source's `offset` with `sequence`, `shift` offsets further on the target.

    `state_time_ms` is the record time that the target's producer state rests on; None if there is no state.
    Source offsets up to `gap_to` are missing, and were given up.
    """

    offset: int
    sequence: int
    state_time_ms: int | None
    shift: int = 0
    gap_to: int = 0

    @property
    def place(self) -> OffsetPair:
        """Where the copy continues, in both logs."""
        return OffsetPair(self.offset, self.offset + self.shift)


@dataclass(frozen=True, slots=True)
class SeedTo:
    """Move the target's log start to `offset` before anything is copied."""

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
    """Record that source and target continue at `place` with another shift than before, then read the facts again.

    `fresh`: nothing of ours lies below it.
    """

    place: OffsetPair
    mapped: bool
    text: str
    fresh: bool = False


Decision = Resume | SeedTo | Wait | Fault | Remap
