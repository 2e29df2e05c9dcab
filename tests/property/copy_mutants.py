"""Rules about attaches, sequences, the guard and the source's answers, broken one at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from replicator.core.copy import lifecycle
from replicator.core.copy.attaching.attach import decide
from replicator.core.copy.attaching.facts import Decision, Fault, Resume, SourceLog, TargetLog, Wait, Writer
from replicator.core.copy.machine import PartitionCopy
from replicator.core.copy.reading import intake
from replicator.core.copy.reading.coalesce import Group
from replicator.core.copy.reading.doubt import ResponseBounds
from replicator.core.copy.reading.pieces import Fill, Passes, Piece
from replicator.core.copy.values import Batch, Ending, TargetLimits
from replicator.core.copy.writing.sending import Sending
from replicator.engine.copy.attaching import attacher, examiner, facts
from replicator.engine.copy.partitions.partition import Slot
from replicator.engine.copy.partitions.producer_state import Guard
from replicator.engine.copy.reading import rewriting
from replicator.engine.copy.writing.writer import TargetWriter
from replicator.engine.logs.side import Side
from replicator.model.batch import sequence_after
from replicator.model.names import TopicPartition
from replicator.model.security import ClusterSpec
from replicator.model.status.states import Reason
from replicator.wire.cluster import Purpose
from tests.copy_world.rules import Rules
from tests.property.map_mutants import copied_by, looks_at_nothing


def decided_by(decided: Any) -> Rules:
    """Decide attaches by another function."""
    return Rules(((attacher, "decide", decided),))


def _trusts_the_end(writer: Writer, target: TargetLog, source: SourceLog, **given: Any) -> Decision:
    decision = decide(writer, target, source, **given)
    if isinstance(decision, Wait) and target.entry is not None:
        return Resume(target.end, sequence_after(target.entry.last_sequence, 1), target.entry.last_timestamp)
    return decision


def _trusts_an_empty_log(writer: Writer, target: TargetLog, source: SourceLog, **given: Any) -> Decision:
    decision = decide(writer, target, source, **given)
    if isinstance(decision, Wait) and target.entry is not None and target.tail is None:
        return Resume(target.end, sequence_after(target.entry.last_sequence, 1), target.entry.last_timestamp)
    return decision


def _trusts_the_stored_epoch(writer: Writer, target: TargetLog, source: SourceLog, **given: Any) -> Decision:
    if source.epoch_end is not None and source.epoch_end < target.end:
        return Fault(Reason.SOURCE_TRUNCATED, "")
    return decide(writer, target, source, **given)


def _compares_nothing(writer: Writer, target: TargetLog, source: SourceLog, **given: Any) -> Decision:
    tail = target.tail
    content = None if tail is None else tail.content
    return decide(writer, target, replace(source, content=content), **given)


class _WideWindow(Sending):
    """Forgets how many batches are in flight."""

    __slots__ = ()

    def next_to_send(self, now_ms: int, *, claimed: bool) -> Batch | None:
        """Send though five are in flight."""
        kept = list(self._in_flight)
        self._in_flight.clear()
        batch = super().next_to_send(now_ms, claimed=claimed)
        self._in_flight.extendleft(reversed(kept))
        return batch


class _AnyOffset(PartitionCopy):
    """Believes that every accepted batch landed where it should."""

    __slots__ = ()

    def accepted(self, batch: Batch, episode: int, base_offset: int) -> bool:
        """Ignore the offset."""
        del base_offset
        return super().accepted(batch, episode, batch.base_offset)


class _FirstSequence(PartitionCopy):
    """Begins each episode at sequence 0."""

    __slots__ = ()

    def resume(self, decision: Resume, source_epoch: int = -1) -> Ending | None:
        """Restart the sequence."""
        return super().resume(replace(decision, sequence=0), source_epoch)


class _NeverAlone(PartitionCopy):
    """Treats every batch as guarded."""

    __slots__ = ()

    def __init__(self, where: TopicPartition, limits: TargetLimits) -> None:
        super().__init__(where, replace(limits, guard_ms=1 << 50))


class _FillsBesideBatches(PartitionCopy):
    """Fills while batches are in flight."""

    __slots__ = ()

    def fill_due(self) -> Fill | None:
        """Do not wait for answers to batches."""
        sending = self.sending
        outstanding, sending.outstanding = sending.outstanding, 0
        due = super().fill_due() if len(sending._in_flight) == outstanding else None
        sending.outstanding = outstanding
        return due


class _CountsRecordsOnly(PartitionCopy):
    """Never lets the sequence follow the offset through a fill."""

    __slots__ = ()

    def resume(self, decision: Resume, source_epoch: int = -1) -> Ending | None:
        """Go on from the sequence of the attach, remembered or not."""
        ending = super().resume(decision, source_epoch)
        self.reading._sequence_free = False
        return ending


class _BelievesGaps(PartitionCopy):
    """Takes every offset without a batch for one that a cleaner took."""

    __slots__ = ()

    def resume(self, decision: Resume, source_epoch: int = -1) -> Ending | None:
        """Believe that a cleaner works on each log."""
        self.reading.missing.compacted = True
        return super().resume(decision, source_epoch)


class _BelievesAnyEpoch(PartitionCopy):
    """Does not ask which epoch the leader stands in."""

    __slots__ = ()

    def offer(
        self, headers: Any, aborted: Any, edges: ResponseBounds, *given: Any
    ) -> tuple[list[Piece], Ending | None]:
        """Drop the leader's epoch."""
        return super().offer(headers, aborted, ResponseBounds(edges.end), *given)


_accept = TargetWriter._take
_source_ends = facts._source_ends
_ends_read: dict[Slot, Any] = {}


def _proves_when_heard(self: TargetWriter, sent: Any, answered: Any, _sent_at: float) -> None:
    """Take the moment at which an answer is heard for that at which it proves something."""
    _accept(self, sent, answered, self._context.now())


def _fills_at_once(self: Guard, _slot: Slot) -> bool:
    """Wait for nothing but the claim."""
    return self.claim.effective_since() is not None


async def _reads_source_first(source: Side, target: Side, writer: Writer, slots: Sequence[Slot], **named: Any) -> Any:
    """Read where the source ends before the target is looked at."""
    leader = source.cluster.leader(slots[0].source)
    if leader is not None:
        there = await source.cluster.connection(leader.node, Purpose.CONTROL)
        _ends_read.update(await _source_ends(there, slots))
    return await facts.read_facts(source, target, writer, slots, **named)


async def _what_was_read(_connection: Any, slots: Sequence[Slot]) -> Any:
    """Return what was read before."""
    return {slot: _ends_read.pop(slot) for slot in slots}


DOUBT_MUTANTS = {
    "batches that overlap believed": Rules(((intake, "sound_length", len),)),
    "missing offsets believed in a log that no cleaner works on": copied_by(_BelievesGaps),
    "a leader epoch above the leader's believed": copied_by(_BelievesAnyEpoch),
    "what was doubted is not looked at again": Rules(((examiner, "reread", looks_at_nothing),)),
}


def _merges_nothing(passes: Passes, batch_bytes_max: int, *, far: bool) -> list[Group]:
    del batch_bytes_max, far
    return [Group(passes, merged=False)]


def _merges_old_with_new(passes: Passes, batch_bytes_max: int, *, far: bool) -> list[Group]:
    del batch_bytes_max, far
    return [Group(passes, merged=len(passes) > 1)]


def _one_by_one(rules: Rules) -> Rules:
    """Merge nothing: more batches, so more moments between them, and what these histories show comes sooner."""
    return replace(rules, patches=(*rules.patches, (rewriting, "groups", _merges_nothing)))


MUTANTS = {
    "attach trusts log end and lastSequence apart": (decided_by(_trusts_the_end), False),
    "attach trusts the end of an empty log": (decided_by(_trusts_an_empty_log), False),
    "attach trusts a stored epoch however old": (decided_by(_trusts_the_stored_epoch), False),
    "attach reads the source beside the target": (
        Rules(((attacher, "read_facts", _reads_source_first), (facts, "_source_ends", _what_was_read))),
        True,
    ),
    "attach compares no records": (decided_by(_compares_nothing), False),
    "no claim needed for unguarded work": (
        Rules(((Guard, "may_work_unguarded", lambda *_: True), (Guard, "may_fill", lambda *_: True))),
        True,
    ),
    "doubt not waited out": (Rules(((ClusterSpec, "doubt_seconds", 0.0),)), True),
    "guarded work goes on while another daemon lets the state age": (
        Rules(((Guard, "_may_end", lambda *_: True), (Guard, "proven_since", lambda _: 0.0))),
        True,
    ),
    "an answer heard late proves the place for now": (Rules(((TargetWriter, "_take", _proves_when_heard),)), True),
    "more than five in flight": (Rules(((lifecycle, "Sending", _WideWindow),)), False),
    "base offset of the answer not checked": (copied_by(_AnyOffset), False),
    "next sequence restarted at 0": (copied_by(_FirstSequence), False),
    "old record times taken for guarded": (copied_by(_NeverAlone), True),
    "a fill repeated before the doubt time is over": (Rules(((Guard, "may_fill", _fills_at_once),)), False),
    "a fill beside batches in flight": (_one_by_one(copied_by(_FillsBesideBatches)), False),
    "old record times merged with new ones": (Rules(((rewriting, "groups", _merges_old_with_new),)), True),
    "a sequence nobody remembers does not follow the offset": (_one_by_one(copied_by(_CountsRecordsOnly)), True),
}
