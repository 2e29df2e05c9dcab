"""What to do with a partition before the first Produce: the attach table and log matching (DESIGN: Attach).

`engine.copy.attaching.facts` reads the facts; the decision is made here, from facts only.

Why so careful?
ListOffsets returns the high watermark to clients, while a broker's lastSequence includes the tail that is not committed
yet. Trusting each by itself doubled records within a minute on a real three-node cluster (KAFKA_FACTS K7).
So the last data batch below the end is read back and must end at lastSequence, and its last record must equal the
source's at the same offset.
"""

from __future__ import annotations

from dataclasses import dataclass

from replicator.core.copy.attaching.displaced import not_proven_by
from replicator.core.copy.attaching.facts import (
    Decision,
    Fault,
    Mapping,
    Policy,
    Remap,
    Resume,
    Role,
    SeedTo,
    SourceLog,
    Tail,
    TargetLog,
    Wait,
    Writer,
)
from replicator.core.copy.attaching.unseen_tail import uncommitted_tail, unseen_tail
from replicator.core.offsets.offset_map import OffsetPair
from replicator.model.batch import SEQUENCE_MODULUS, sequence_after
from replicator.model.status.states import Reason

_STRICT = Policy()


def decide(
    writer: Writer,
    target: TargetLog,
    source: SourceLog,
    *,
    ours: bool,
    begin_at: int,
    seeded_to: int = 0,
    mapping: Mapping | None = None,
    policy: Policy = _STRICT,
) -> Decision:
    """Return what to do.

    Args:
        writer: The flow's identity.
        target: The target's partition.
        source: The source's partition.
        ours: Whether the mirror record says that this partition was ACTIVE under this flow before.
            If not, the topic was empty when the flow registered it: only our own seed can have moved its offsets.
        seeded_to: Offset below which the target may hold fillers, 0 if it was never seeded.
        begin_at: Where a partition that is not ours yet begins: the source's start, or its end (`start: latest`).
        mapping: What is recorded about its offsets, if they are not the source's own.
        policy: What is allowed.
    """
    at_once = (
        _contradicting(target)
        or _start_of_nothing(source)
        or _refuse_by_epoch(writer, target)
        or _refuse_foreign(writer, target, mapping)
        or _join_others(target, policy, begin_at, new=mapping is None and not ours)
    )
    if at_once is not None:
        return at_once
    known = mapping or Mapping(OffsetPair(target.end, target.end), mapped=False)
    if known.place is None:
        return _place_lost(target, source)
    case = _Case(
        target,
        source,
        known.place,
        _judged(target, known),
        known.tail_source,
        mapped=known.mapped,
        others_write=policy.others_write,
        epoch=writer.producer_epoch,
    )
    beyond = case.is_beyond_source(ours=ours or mapping is not None, surplus_allowed=policy.surplus_allowed)
    if beyond is not None:
        return beyond
    unfinished = _unfinished(target, seeded_to)
    if unfinished is not None:
        return unfinished
    if case.tail is None and not ours and mapping is None:
        return unseen_tail(target, by_sequence=not policy.surplus_allowed) or _begin(
            target, source, begin_at, mapped=policy.mapped
        )
    return _go_on(writer, case, policy, begin_at, ours=ours or mapping is not None)


@dataclass(frozen=True, slots=True)
class _Case:
    """A partition that holds data of ours, or will: its place, and the tail that proves it."""

    target: TargetLog
    source: SourceLog
    place: OffsetPair
    tail: Tail | None
    found_at: int | None
    mapped: bool
    others_write: bool = False
    epoch: int = 0

    @property
    def tail_source(self) -> int:
        """Source offset of the last record, -1 for none."""
        if self.found_at is not None or self.tail is None:
            return -1 if self.found_at is None else self.found_at
        return self.tail.last_offset - self.shift

    @property
    def shift(self) -> int:
        return self.place.target - self.place.source

    @property
    def better_place(self) -> OffsetPair:
        """The place at the target's end if markers after the last record are counted as they are needed.

        After the last record neither log holds another up to here, so any source offset in between is equally true.
        The one with the smallest shift is taken: surplus markers become a shift where a record comes next, and make up
        for one where a hole does.
        """
        place, source = self.place, self.source
        if self.mapped or self.shift < 0:
            return place
        if source.unfilled is not None and (source.unfilled < place.source or self.shift):
            return OffsetPair(source.unfilled, place.target)
        if self.shift or self._only_markers_beyond(source.end):
            return OffsetPair(min(source.end, place.target), place.target)
        return place

    def _only_markers_beyond(self, end: int) -> bool:
        return self.place.source > end and self.tail_source < end

    def is_beyond_source(self, *, ours: bool, surplus_allowed: bool) -> Fault | None:
        """Return the fault of a target that holds more than its source; None if it does not."""
        end = self.source.high_watermark
        if self.place.source <= end or (
            ours and surplus_allowed and not self.mapped and self._only_markers_beyond(end)
        ):
            return None
        return Fault(
            Reason.SOURCE_TRUNCATED if ours else Reason.FOREIGN_WRITER,
            f"the target ends at {self.target.end}, the source only at {end}"
            if not self.shift
            else f"the source was copied up to offset {self.place.source}, but it ends at {end}",
        )

    def resume(self, gap_to: int = 0) -> Resume:
        entry, tail, target = self.target.entry, self.tail, self.target
        source = self.place.source
        # The first batch under a higher epoch has sequence 0 (ProducerAppendInfo.checkSequence). It is the fence here.
        if entry is not None:
            sequence = sequence_after(entry.last_sequence, 1) if entry.producer_epoch >= self.epoch else 0
            return Resume(source, sequence, entry.last_timestamp, self.shift, gap_to)
        if tail is not None and not target.entry_known:
            sequence = sequence_after(tail.last_sequence, 1) if tail.producer_epoch >= self.epoch else 0
            return Resume(source, sequence, None, self.shift, gap_to)
        # Without producer state the broker accepts any sequence. One derived from the offset makes two racing daemons
        # collide instead of both being accepted. Where others write, the end moves without us: there the sequence is
        # derived from the source offset that was copied last.
        if self.others_write:
            follows = source if self.tail_source < 0 else self.tail_source + 1
            return Resume(source, follows % SEQUENCE_MODULUS, None, self.shift, gap_to)
        return Resume(source, target.end % SEQUENCE_MODULUS, None, self.shift, gap_to)


def _judged(target: TargetLog, known: Mapping) -> Tail | None:
    compared_from = known.judged_from if known.compared_from is None else known.compared_from
    return target.tail if target.tail is not None and target.tail.last_offset >= compared_from else None


def _place_lost(target: TargetLog, source: SourceLog) -> Fault:
    return Fault(
        Reason.OVERTAKEN_BY_RETENTION,
        f"nothing shows which source offset the target's end {target.end} corresponds to: the source now starts at "
        f"{source.start}, and the offset map has no place from there on that the target still holds",
    )


def _unfinished(target: TargetLog, seeded_to: int) -> Wait | SeedTo | None:
    if target.log_end is not None and target.log_end > target.end:
        # Without a guard nothing else would show it, and the broker would append our next batch after that tail.
        return Wait(
            Reason.WAITING_FOR_TAIL,
            f"the target's log ends at {target.log_end}, and is committed only up to {target.end} so far",
        )
    if target.start < seeded_to <= target.end:
        # A broker writes a moved log start to disk once a minute; if killed before that, it shows the fillers again.
        return SeedTo(seeded_to)
    return None


def _contradicting(target: TargetLog) -> Wait | None:
    """Wait while the target's leader says two things about its log that cannot both be true.

    Its log end was read after the high watermark, which is never above the log end. If we concluded anything from a
    wrong end (that there are markers below it, that retention emptied the log), we would write after the real one.
    """
    if target.start > target.end:
        said = f"the log starts at {target.start} and ends at {target.end}"
    elif target.log_end is not None and target.log_end < target.end:
        said = f"it shows clients a log that ends at {target.end}, but its own log end is {target.log_end}"
    else:
        return None
    return Wait(Reason.WAITING_FOR_BROKER, f"the target contradicts itself: {said}")


def _start_of_nothing(source: SourceLog) -> Wait | None:
    """Wait while the source's leader says that its log starts above its log end.

    If we believed it, everything not copied yet would count as lost, or as many offsets would be seeded, which nothing
    can undo.
    """
    if source.log_end is None or source.log_end >= source.start:
        return None
    said = f"the log starts at {source.start}, but its own log end is {source.log_end}"
    return Wait(Reason.WAITING_FOR_BROKER, f"the source contradicts itself: {said}")


def _refuse_by_epoch(writer: Writer, target: TargetLog) -> Fault | None:
    epoch = target.entry.producer_epoch if target.entry else writer.producer_epoch
    if writer.role is not Role.COPYING:
        why = f"the writer record on the target says {writer.role.value}"
    elif epoch > writer.producer_epoch:
        why = f"the target has producer epoch {epoch}, ours is {writer.producer_epoch}"
    elif epoch < writer.producer_epoch and not writer.may_go_on_from(epoch):
        why = f"a fence to epoch {writer.producer_epoch} was not finished here (found epoch {epoch})"
    else:
        return None
    return Fault(Reason.FENCED, why)


def _refuse_foreign(writer: Writer, target: TargetLog, mapping: Mapping | None) -> Fault | None:
    tail = target.tail
    if tail is None or tail.producer_id in {writer.producer_id, writer.filler_id}:
        return None
    if mapping is not None and tail.last_offset < mapping.judged_from:
        return None
    return Fault(
        Reason.FOREIGN_WRITER,
        f"producer {tail.producer_id} wrote offset {tail.last_offset} of the target; "
        f"this flow writes as {writer.producer_id}",
    )


def _join_others(target: TargetLog, policy: Policy, begin_at: int, *, new: bool) -> Remap | None:
    """Begin after whatever is in a log that others write to as well."""
    if not (new and policy.others_write):
        return None
    text = "others write to it as well: its offsets are mapped"
    return Remap(OffsetPair(begin_at, target.end), mapped=True, text=text, fresh=True)


def _begin(target: TargetLog, source: SourceLog, begin_at: int, *, mapped: bool) -> Decision:
    """Decide for a partition that was never active and holds no data: new, or just seeded."""
    if mapped:
        text = "its offsets are mapped from the start"
        return Remap(OffsetPair(begin_at, target.end), mapped=True, text=text, fresh=True)
    straight = _Case(target, source, OffsetPair(target.end, target.end), None, None, mapped=False)
    if target.start <= begin_at < target.end:
        # Markers of ours, written before the partition could be recorded as active: the source has no record there.
        return _refuse_marker(source) or straight.resume()
    if target.end > begin_at:
        return Fault(
            Reason.FOREIGN_WRITER, f"the target is empty but ends at {target.end}, above the copy's start {begin_at}"
        )
    # An empty log that does not start at 0 was seeded by us; the source's start may have moved on meanwhile.
    # Where `begin_at` is the source's end, it moves with every record: do not chase it.
    if target.end < begin_at and (target.end == 0 or target.end < source.start):
        return SeedTo(begin_at)
    return straight.resume()


def _refuse_marker(source: SourceLog) -> Fault | None:
    if source.unfilled is None:
        return None
    return Fault(
        Reason.CONTENT_MISMATCH, f"the target holds a marker at offset {source.unfilled}, where the source has a record"
    )


def _go_on(writer: Writer, case: _Case, policy: Policy, begin_at: int, *, ours: bool) -> Decision:
    """Decide for a target log that holds data, or once held some."""
    target, tail = case.target, case.tail
    if tail is not None and tail.producer_id == writer.filler_id:
        return SeedTo(max(target.end, begin_at))
    # Also in what was taken over, which is not compared: our last sequence has to be seen somewhere.
    seen = target.tail if target.tail is not None and target.tail.producer_id == writer.producer_id else None
    by_sequence = not (policy.surplus_allowed or case.mapped or case.shift)
    waits = unseen_tail(target, by_sequence=by_sequence) if seen is None else uncommitted_tail(target, seen)
    if waits is not None:
        return waits
    overtaken = _gap(case, policy, ours=ours)
    if isinstance(overtaken, Fault):
        return overtaken
    mismatch = None if tail is None else _match(tail, case)
    return mismatch or _remap(case, policy) or case.resume(overtaken)


def _remap(case: _Case, policy: Policy) -> Remap | Fault | None:
    """Return the place that must be recorded first, if it differs from the recorded one."""
    better = case.better_place
    if better != case.place and better.source < case.place.source and not policy.surplus_allowed:
        return _refuse_marker(case.source)
    if policy.wants_mapping and policy.may_be_mapped and not case.mapped:
        return Remap(
            better, mapped=True, text="offsets without a record cannot be filled: from now on they are left out"
        )
    if better == case.place:
        return None
    surplus = better.target - better.source
    text = f"the target holds {surplus} surplus markers" if surplus else "identical again"
    return Remap(better, mapped=False, text=text)


def _match(tail: Tail, case: _Case) -> Fault | None:
    """Log matching: does the source still hold what we wrote last?

    The stored epoch counts only where the source holds no record to compare with. It is recorded only now and then, so
    it may be older than the tail's epoch; then it ends below the tail although nothing was lost.
    """
    source = case.source
    if source.content is not None:
        if source.content == tail.content:
            return None
        return Fault(Reason.CONTENT_MISMATCH, f"source and target hold different records at offset {tail.last_offset}")
    misplaced = not_proven_by(source, tail.last_offset)
    if misplaced is not None:
        return misplaced
    if not source.compacted and case.tail_source >= source.start:
        return Fault(
            Reason.SOURCE_TRUNCATED, f"the source no longer has the record at offset {tail.last_offset} of the target"
        )
    # Compare the tail, not the place: between the two there may be a gap that was given up, over many epochs.
    if source.epoch_end is not None and source.epoch_end <= case.tail_source:
        return Fault(
            Reason.SOURCE_TRUNCATED,
            f"on the source, a leader epoch ends at {source.epoch_end}, but offset {case.tail_source} was copied from "
            "it: the source has lost that history",
        )
    return None


def _gap(case: _Case, policy: Policy, *, ours: bool) -> Fault | int:
    """Return the end of missing source offsets that were given up, 0 for none; or the fault of an overtaken log."""
    place, start = case.place.source, case.source.start
    if place >= start or not ours:
        return 0
    if any(first <= place and start <= end for first, end in policy.given_up):
        return start
    return _overtaken(case)


def _overtaken(case: _Case) -> Fault:
    place, start = case.place.source, case.source.start
    return Fault(
        Reason.OVERTAKEN_BY_RETENTION,
        f"the source now starts at {start}, the copy is at {place}: {start - place} offsets are gone",
    )
