"""Rules broken one at a time: the simulation has to notice each, or it proves nothing about the rule."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest

from replicator.core.copy import lifecycle
from replicator.core.copy.attaching.attach import decide
from replicator.core.copy.attaching.facts import Decision, Fault, Remap, Resume, SourceLog, TargetLog, Wait, Writer
from replicator.core.copy.machine import PartitionCopy
from replicator.core.copy.reading import intake
from replicator.core.copy.reading.coalesce import Group
from replicator.core.copy.reading.doubt import ResponseBounds
from replicator.core.copy.reading.pieces import Fill, Passes, Piece
from replicator.core.copy.track import Track
from replicator.core.copy.values import Batch, Ending, TargetLimits
from replicator.core.copy.writing.sending import Sending
from replicator.core.offsets.offset_map import Block, OffsetMap, OffsetPair
from replicator.core.offsets.pairing import Span, reading_from, spans_of
from replicator.engine.copy import pump
from replicator.engine.copy.attaching import attacher, examiner, facts
from replicator.engine.copy.partitions.live_maps import OffsetMaps, mapping_of
from replicator.engine.copy.partitions.partition import Slot
from replicator.engine.copy.partitions.producer_state import Guard
from replicator.engine.copy.reading import rewriting
from replicator.engine.copy.writing.writer import TargetWriter
from replicator.engine.logs import opening
from replicator.engine.logs.ranges import walking
from replicator.engine.logs.side import Side
from replicator.model.batch import CONTROL_BIT, BatchHeader, sequence_after
from replicator.model.names import TopicPartition
from replicator.model.security import ClusterSpec
from replicator.model.spec import Offsets
from replicator.model.status.states import Reason
from replicator.wire.cluster import Purpose
from tests.copy_world.histories import first_violation
from tests.copy_world.rules import Rules

_SEEDS = range(4000)
_NEAR = 40
"""How many histories are looked at from one on that is known to show it: what else changes moves it."""
_FOUND = {
    "batches that overlap believed": 102,
    "missing offsets believed in a log that no cleaner works on": 19,
    "a leader epoch above the leader's believed": 44,
    "what was doubted is not looked at again": 6,
    "map not refreshed before an attach": 5,
    "remap not recorded before copying": 5,
    "displaced batch not looked at": 28,
    "surplus markers used up by a shorter hole, unrecorded": 17,
    "an attach at each hole, however short": 0,
    "walk counts markers": 8,
    "walk counts aborted records": 44,
    "walk counts what was given up": 182,
    "walk counts what lies before its beginning": 368,
    "walk begins one offset late": 1,
    "walk begins within a gap that was given up": 427,
    "what was given up since the walk is no news": 77,
    "what was taken over compared": 1,
    "attach trusts log end and lastSequence apart": 122,
    "attach trusts the end of an empty log": 122,
    "attach trusts a stored epoch however old": 101,
    "attach compares no records": 163,
    "more than five in flight": 230,
    "base offset of the answer not checked": 155,
    "next sequence restarted at 0": 1,
    "old record times taken for guarded": 3,
    "a fill beside batches in flight": 11,
    "an attach does not know what was given up": 49,
    "no claim needed for unguarded work": 3,
    "guarded work goes on while another daemon lets the state age": 78,
}
"""The first history that shows each; one without is looked for by the long suite alone."""
SOUND = Rules()


def _copied_by(copy_type: type[PartitionCopy]) -> Rules:
    return Rules(((pump, "PartitionCopy", copy_type),))


def _decided_by(decided: Any) -> Rules:
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


# -- offsets that are not the source's ---------------------------------------------------------------------------


class _ReadOnce(OffsetMaps):
    """Reads a map once."""

    def refresh(self, slot: Slot) -> bool:
        """Keep what was read first."""
        return slot.copy.track is None and super().refresh(slot)


class _AnyGeneration(OffsetMaps):
    """Believes every block there is."""

    def _blocks(self, slot: Slot, generation: int) -> list[Block]:
        return [block for each in range(generation + 1) for block in super(_AnyGeneration, self)._blocks(slot, each)]


class _ForgetsGivenUp(OffsetMaps):
    """Takes new ranges that were given up for no news: what was walked before stays."""

    def refresh(self, slot: Slot) -> bool:
        """Keep the map."""
        track, record = slot.copy.track, slot.mapping.record
        changed = super().refresh(slot)
        if changed and record == slot.mapping.record:
            slot.copy.track = track
            return False
        return changed


class _HealsTooEarly(PartitionCopy):
    """Lets surplus markers stand for a hole that is shorter than they are many, and tells nobody."""

    __slots__ = ()

    def fill(self, fill: Fill) -> None:
        """Leave it out."""
        track = self.track
        if track is not None and not track.mapped and track.shift > fill.length:
            self.acked_offset = track.skip(fill.first_offset + fill.length, fill.length)
            return
        super().fill(fill)


class _HealsAtAnyHole(PartitionCopy):
    """Looks for a place with fewer markers at a hole that is too short: the attach finds nothing to change."""

    __slots__ = ()

    def offer(self, *given: Any) -> tuple[list[Piece], Ending | None]:
        """End the episode."""
        pieces, ending = super().offer(*given)
        short = (at for at, piece in enumerate(pieces) if isinstance(piece, Fill) and self.shift > piece.length)
        at = next(short, None)
        return (pieces, ending) if ending is not None or at is None else (pieces[:at], self.settle("a hole"))


def _counts_markers(header: BatchHeader, *given: Any, **named: Any) -> Iterator[Span]:
    if header.is_control:
        counted = header.last_offset_delta + 1
        header = header._replace(attributes=header.attributes & ~CONTROL_BIT, record_count=counted)
    return spans_of(header, *given, **named)


def _counts_aborted(header: BatchHeader, *given: Any, aborted: bool = False, **named: Any) -> Iterator[Span]:
    del aborted
    return spans_of(header, *given, **named)


def _counts_given_up(header: BatchHeader, *given: Any, **named: Any) -> Iterator[Span]:
    return spans_of(header, *given, **named | {"given_up": ()})


def _counts_whole_batches(header: BatchHeader, begin: int, end: int, *given: Any, **named: Any) -> Iterator[Span]:
    del begin
    return spans_of(header, 0, end, *given, **named)


def _begins_one_late(place: OffsetPair, given_up: Sequence[tuple[int, int]]) -> int:
    return reading_from(place, given_up) + 1


def _begins_within_the_gap(place: OffsetPair, given_up: Sequence[tuple[int, int]]) -> int:
    del given_up
    return place.source


# -- what an answer of the source claims ----------------------------------------------------------------------------


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


# -- how the I/O around the machine may be wrong ---------------------------------------------------------------------


async def _looks_at_nothing(*_: object) -> None:
    """Find nothing."""


_accept = TargetWriter._take
_source_ends = facts._source_ends
_ends_read: dict[Slot, Any] = {}


async def _counts_all(*given: Any, **named: Any) -> Any:
    """Know of nothing that was given up."""
    return await opening.spans_in(*given, **named | {"given_up": ()})


def _log_of_all(*given: Any, **named: Any) -> walking.Log:
    """Know of nothing that was given up."""
    return replace(walking.Log(*given, **named), given_up=())


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


def _judges_all(slot: Slot, *given: Any) -> Any:
    """Compare what was taken over."""
    mapping = mapping_of(slot, *given)
    return mapping if mapping is None else replace(mapping, judged_from=0)


class _ReadsNothingAfterTheLogs(OffsetMaps):
    """Does not look whether a map has changed while the logs were read."""

    async def read_to_end(self) -> None:
        """Read nothing."""

    async def refresh_from_end(self, slot: Slot) -> bool:
        """Read all the same."""
        await self._log.read_to_end()
        return await super().refresh_from_end(slot)


class _RecordsNothing(OffsetMaps):
    """Goes on with a new difference that nobody else knows of."""

    async def remap(self, slot: Slot, remap: Remap) -> None:
        """Change only what is in memory."""
        offsets = OffsetMap(OffsetPair(0, 0)) if slot.copy.track is None else slot.copy.track.offsets
        offsets.go_straight(remap.place)
        offsets.pass_over(remap.place)
        slot.copy.track = Track(offsets, mapped=remap.mapped)


DOUBT_MUTANTS = {
    "batches that overlap believed": Rules(((intake, "sound_length", len),)),
    "missing offsets believed in a log that no cleaner works on": _copied_by(_BelievesGaps),
    "a leader epoch above the leader's believed": _copied_by(_BelievesAnyEpoch),
    "what was doubted is not looked at again": Rules(((examiner, "reread", _looks_at_nothing),)),
}


MAPPED, AUTO = Offsets.MAPPED, Offsets.AUTO
MAP_MUTANTS = {
    "map not refreshed before an attach": (Rules(maps_type=_ReadOnce), AUTO),
    "map not read once more after the logs": (Rules(maps_type=_ReadsNothingAfterTheLogs), MAPPED),
    "remap not recorded before copying": (Rules(maps_type=_RecordsNothing), AUTO),
    "displaced batch not looked at": (Rules(((examiner, "what_displaced", _looks_at_nothing),)), AUTO),
    "surplus markers used up by a shorter hole, unrecorded": (_copied_by(_HealsTooEarly), AUTO),
    "an attach at each hole, however short": (_copied_by(_HealsAtAnyHole), AUTO),
    "walk counts markers": (Rules(((opening, "spans_of", _counts_markers),)), MAPPED),
    "walk counts aborted records": (Rules(((opening, "spans_of", _counts_aborted),)), MAPPED),
    "walk counts what was given up": (Rules(((opening, "spans_of", _counts_given_up),)), MAPPED),
    "walk counts what lies before its beginning": (Rules(((opening, "spans_of", _counts_whole_batches),)), MAPPED),
    "walk begins one offset late": (Rules(((walking, "reading_from", _begins_one_late),)), MAPPED),
    "walk begins within a gap that was given up": (Rules(((walking, "reading_from", _begins_within_the_gap),)), MAPPED),
    "an attach does not know what was given up": (
        Rules(((facts, "spans_in", _counts_all), (facts, "Log", _log_of_all))),
        AUTO,
    ),
    "what was given up since the walk is no news": (Rules(maps_type=_ForgetsGivenUp), MAPPED),
    "an offset left out is never looked at again": (
        Rules(((facts, "stepped_back", lambda _slot, mapping, _end: mapping),)),
        MAPPED,
    ),
    "blocks of another generation believed": (Rules(maps_type=_AnyGeneration), MAPPED),
    "what was taken over compared": (Rules(((facts, "mapping_of", _judges_all),)), MAPPED),
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
    "attach trusts log end and lastSequence apart": (_decided_by(_trusts_the_end), False),
    "attach trusts the end of an empty log": (_decided_by(_trusts_an_empty_log), False),
    "attach trusts a stored epoch however old": (_decided_by(_trusts_the_stored_epoch), False),
    "attach reads the source beside the target": (
        Rules(((attacher, "read_facts", _reads_source_first), (facts, "_source_ends", _what_was_read))),
        True,
    ),
    "attach compares no records": (_decided_by(_compares_nothing), False),
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
    "base offset of the answer not checked": (_copied_by(_AnyOffset), False),
    "next sequence restarted at 0": (_copied_by(_FirstSequence), False),
    "old record times taken for guarded": (_copied_by(_NeverAlone), True),
    "a fill repeated before the doubt time is over": (Rules(((Guard, "may_fill", _fills_at_once),)), False),
    "a fill beside batches in flight": (_one_by_one(_copied_by(_FillsBesideBatches)), False),
    "old record times merged with new ones": (Rules(((rewriting, "groups", _merges_old_with_new),)), True),
    "a sequence nobody remembers does not follow the offset": (_one_by_one(_copied_by(_CountsRecordsOnly)), True),
}


_HISTORIES: dict[str, tuple[Rules, dict[str, Any]]] = {
    **{name: (rules, {"doubtful": True}) for name, rules in DOUBT_MUTANTS.items()},
    **{name: (rules, {"offsets": offsets}) for name, (rules, offsets) in MAP_MUTANTS.items()},
    **{name: (rules, {"backlog": backlog}) for name, (rules, backlog) in MUTANTS.items()},
}


@pytest.mark.parametrize("name", _FOUND)
def test_the_simulation_catches(name: str) -> None:
    """Within a few histories of the first that is known to show it."""
    rules, kind = _HISTORIES[name]
    first = _FOUND[name]

    assert first_violation(rules, range(first, first + _NEAR), **kind) is not None


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", _HISTORIES)
def test_the_simulation_catches_from_the_first_history_on(name: str) -> None:
    """Within a fixed number of seeded histories."""
    rules, kind = _HISTORIES[name]

    assert first_violation(rules, _SEEDS, **kind) is not None
