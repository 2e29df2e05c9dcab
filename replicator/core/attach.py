"""What to do with a partition before the first Produce: the attach table and log matching (DESIGN section 4).

The facts are read by `engine.attach`; the decision is made here, from facts only.

Why so careful.
ListOffsets gives clients the high watermark, while a broker's lastSequence includes the tail that is not committed
yet; trusting the two apart doubled records within a minute on a real three-node cluster (KAFKA.md 0b.14).
So the last data batch below the end is read back and must end at lastSequence, and its last record must equal the
source's at the same offset.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from replicator.model.batch import SEQUENCE_MODULUS, sequence_after
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


@dataclass(frozen=True, slots=True)
class SourceLog:
    """The source's partition.

    `end` is what a reader of the flow's isolation level may read up to, `high_watermark` the end of what exists.
    `content` is the record at the target tail's last offset: None when the source has none there.
    `epoch_end` is where the stored leader epoch ends in the source's present history, or None if nothing is stored.
    `epoch` is the leader epoch of the last batch below the target's end, -1 if it is unknown.
    `unfilled` is the first offset above the target's tail and below its end at which the source has a record to copy.
    `compacted` tells whether records may vanish from inside this log.
    """

    start: int
    end: int
    high_watermark: int
    content: object | None
    epoch_end: int | None
    epoch: int = -1
    unfilled: int | None = None
    compacted: bool = False


@dataclass(frozen=True, slots=True)
class Resume:
    """Copy on from `offset` with `sequence`.

    `state_time_ms` is the newest record time the target's producer state rests on; None where there is no state.
    """

    offset: int
    sequence: int
    state_time_ms: int | None


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


Decision = Resume | SeedTo | Wait | Fault


def decide(
    writer: Writer, target: TargetLog, source: SourceLog, *, ours: bool, begin_at: int, seeded_to: int = 0
) -> Decision:
    """Return what to do.

    Args:
        writer: The flow's identity.
        target: The target's partition.
        source: The source's partition.
        ours: Whether the mirror record says that this partition was ACTIVE under this flow before.
            If not, the topic was empty when the flow registered it: only our own seed can have moved its offsets.
        seeded_to: Offset below which the target may hold fillers, 0 if it never was seeded.
        begin_at: Where a partition that is not ours yet begins: the source's start, or its end (`start: latest`).
    """
    refusal = (
        _refuse_by_epoch(writer, target)
        or _refuse_foreign(writer, target)
        or _refuse_beyond_source(target, source, ours=ours)
        or _refuse_marker(source)
    )
    if refusal is not None:
        return refusal
    unfinished = _unfinished(target, seeded_to)
    if unfinished is not None:
        return unfinished
    if target.tail is not None:
        return _go_on(writer, target, target.tail, source, ours=ours, begin_at=begin_at)
    unseen = _unseen_tail(target)
    if unseen is not None:
        return unseen
    if ours:
        return _overtaken(target, source) if target.end < source.start else _resume(target, target.tail)
    return _begin(target, source, begin_at)


def _unfinished(target: TargetLog, seeded_to: int) -> Wait | SeedTo | None:
    if target.log_end is not None and target.log_end > target.end:
        # Without a guard nothing else would show it, and the broker would take our next batch behind that tail.
        return Wait(
            Reason.WAITING_FOR_TAIL, f"the target's log ends at {target.log_end}, committed is {target.end} so far"
        )
    if target.start < seeded_to <= target.end:
        # A broker writes a moved log start to disk once a minute only: killed before, it shows the fillers again.
        return SeedTo(seeded_to)
    return None


def _refuse_by_epoch(writer: Writer, target: TargetLog) -> Fault | None:
    epoch = target.entry.producer_epoch if target.entry else writer.producer_epoch
    if writer.role is not Role.COPYING:
        why = f"the writer record on the target says {writer.role.value}"
    elif epoch > writer.producer_epoch:
        why = f"epoch {epoch} stands on the target, ours is {writer.producer_epoch}"
    elif epoch < writer.producer_epoch:
        why = f"a fence to epoch {writer.producer_epoch} was not finished here (found {epoch})"
    else:
        return None
    return Fault(Reason.FENCED, why)


def _refuse_foreign(writer: Writer, target: TargetLog) -> Fault | None:
    tail = target.tail
    if tail is None or tail.producer_id in {writer.producer_id, writer.filler_id}:
        return None
    return Fault(
        Reason.FOREIGN_WRITER,
        f"producer {tail.producer_id} wrote offset {tail.last_offset} of the target; "
        f"this flow writes as {writer.producer_id}",
    )


def _refuse_beyond_source(target: TargetLog, source: SourceLog, *, ours: bool) -> Fault | None:
    if target.end <= source.high_watermark:
        return None
    return Fault(
        Reason.SOURCE_TRUNCATED if ours else Reason.FOREIGN_WRITER,
        f"the target ends at {target.end}, the source only at {source.high_watermark}",
    )


def _refuse_marker(source: SourceLog) -> Fault | None:
    if source.unfilled is None:
        return None
    return Fault(
        Reason.CONTENT_MISMATCH, f"the target holds a marker at offset {source.unfilled}, where the source has a record"
    )


def _unseen_tail(target: TargetLog) -> Wait | None:
    """Wait where the broker has a sequence of ours, but no data below the end shows it.

    The first batches of a log are appended and not committed yet: the end still says 0.
    Where the leader's own end is known, it was found equal to the end that is shown: there is no such tail, and the log
    holds markers only, or was emptied by retention. Elsewhere a sequence that follows from the end tells the same.
    """
    entry = target.entry
    if (
        entry is None
        or target.log_end is not None
        or sequence_after(entry.last_sequence, 1) == target.end % SEQUENCE_MODULUS
    ):
        return None
    return Wait(
        Reason.WAITING_FOR_TAIL,
        f"the broker has our sequence {entry.last_sequence}, the committed log shows no data below {target.end}",
    )


def _begin(target: TargetLog, source: SourceLog, begin_at: int) -> Decision:
    """Decide for a partition that was never active and holds no data: new, or just seeded."""
    if target.start <= begin_at < target.end:
        # Markers of ours, from before a partition could be recorded as active: no record of the source is there.
        return _resume(target, None)
    if target.end > begin_at:
        return Fault(
            Reason.FOREIGN_WRITER, f"the target is empty but ends at {target.end}, beyond the copy's start {begin_at}"
        )
    # A log that is empty but does not start at 0 was seeded by us; the source's start may have moved on meanwhile.
    # `begin_at` itself moves with every record where it is the source's end: it must not be chased.
    if target.end < begin_at and (target.end == 0 or target.end < source.start):
        return SeedTo(begin_at)
    return _resume(target, None)


def _go_on(writer: Writer, target: TargetLog, tail: Tail, source: SourceLog, *, ours: bool, begin_at: int) -> Decision:
    """Decide for a target log that holds data."""
    if tail.producer_id == writer.filler_id:
        return SeedTo(max(target.end, begin_at))
    entry = target.entry
    if entry is not None and tail.last_sequence != entry.last_sequence:
        return Wait(
            Reason.WAITING_FOR_TAIL,
            f"the broker has our sequence {entry.last_sequence}, the committed log shows {tail.last_sequence}",
        )
    if target.end < source.start and ours:
        return _overtaken(target, source)
    return _match(tail, target, source) or _resume(target, tail)


def _resume(target: TargetLog, tail: Tail | None) -> Resume:
    if target.entry is not None:
        return Resume(target.end, sequence_after(target.entry.last_sequence, 1), target.entry.last_timestamp)
    if tail is not None and not target.entry_known:
        return Resume(target.end, sequence_after(tail.last_sequence, 1), None)
    # Without state the broker takes any sequence. One that follows from the offset makes two racing daemons collide
    # instead of both fitting.
    return Resume(target.end, target.end % SEQUENCE_MODULUS, None)


def _match(tail: Tail, target: TargetLog, source: SourceLog) -> Fault | None:
    """Log matching: is what we wrote last still what the source has there?

    The stored epoch speaks only where the source holds no record to compare with: it is recorded now and then, so
    it may be older than the epoch of the tail, and ends below it then though nothing was lost.
    """
    if source.content is not None:
        if source.content == tail.content:
            return None
        return Fault(Reason.CONTENT_MISMATCH, f"source and target hold different records at offset {tail.last_offset}")
    if not source.compacted and tail.last_offset >= source.start:
        return Fault(Reason.SOURCE_TRUNCATED, f"the source has no record at offset {tail.last_offset} any more")
    if source.epoch_end is not None and source.epoch_end < target.end:
        return Fault(
            Reason.SOURCE_TRUNCATED,
            f"the source's history ends at {source.epoch_end} in the epoch that was copied up to {target.end}",
        )
    return None


def _overtaken(target: TargetLog, source: SourceLog) -> Fault:
    lost = source.start - target.end
    return Fault(
        Reason.OVERTAKEN_BY_RETENTION,
        f"the source now starts at {source.start}, the copy stands at {target.end}: {lost} offsets are gone",
    )
