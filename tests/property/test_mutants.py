"""Rules broken one at a time: the simulation has to notice each, or it proves nothing about the rule."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest

from replicator.core.copy import intake
from replicator.core.copy.attach import decide
from replicator.core.copy.attach_facts import Decision, Fault, Remap, Resume, SourceLog, TargetLog, Wait, Writer
from replicator.core.copy.coalesce import Group
from replicator.core.copy.doubt import Edges
from replicator.core.copy.intake import Fill, Passes, Piece
from replicator.core.copy.machine import PartitionCopy
from replicator.core.copy.values import Batch, Phase, TargetLimits
from replicator.core.offsets.offset_map import Block, OffsetMap, Place
from replicator.core.offsets.pairing import Span, reading_from, spans_of
from replicator.engine.copy.live_maps import OffsetMaps
from replicator.engine.copy.partition import Slot
from replicator.engine.state import records as state
from replicator.model.batch import CONTROL_BIT, BatchHeader, sequence_after
from replicator.model.names import TopicPartition
from replicator.model.spec import Offsets
from replicator.model.states import Reason
from tests.property.histories import first_violation
from tests.property.model_broker import EXPIRY_MS
from tests.property.model_daemon import Daemon
from tests.property.model_rules import DOUBT_MS, Rules, Violation
from tests.property.model_world import World

_SEEDS = range(4000)
_LATE = {
    "attach compares no records": 2200,
    "guarded work goes on while another daemon lets the state age": 3300,
    "an answer heard late proves the place for now": 2800,
    "a fill repeated before the doubt time is over": 700,
    "a fill beside batches in flight": 1500,
    "a sequence nobody remembers does not follow the offset": 1900,
    "map not read once more after the logs": 1400,
    "walk begins within a gap that was given up": 700,
    "an offset left out is never looked at again": 500,
    "blocks of another generation believed": 2100,
    "an answer taken by a successor of the same name": 1800,
}
"""Where the first history that shows it comes late, the search begins just before it; it is as long as the others."""
SOUND = Rules()


def _seeds(mutant: str) -> range:
    first = _LATE.get(mutant, 0)
    return range(first, first + len(_SEEDS))


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


class _WideWindow(PartitionCopy):
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

    def resume(self, decision: Resume, source_epoch: int = -1) -> None:
        """Restart the sequence."""
        super().resume(replace(decision, sequence=0), source_epoch)


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
        outstanding, self.outstanding = self.outstanding, 0
        due = super().fill_due() if len(self._in_flight) == outstanding else None
        self.outstanding = outstanding
        return due


class _CountsRecordsOnly(PartitionCopy):
    """Never lets the sequence follow the offset through a fill."""

    __slots__ = ()

    def resume(self, decision: Resume, source_epoch: int = -1) -> None:
        """Go on from the sequence of the attach, remembered or not."""
        super().resume(decision, source_epoch)
        self._sequence_free = False


def _compares_no_markers(writer: Writer, target: TargetLog, source: SourceLog, **given: Any) -> Decision:
    return decide(writer, target, replace(source, unfilled=None), **given)


# -- offsets that are not the source's ---------------------------------------------------------------------------


class _ReadOnce(OffsetMaps):
    """Reads a map once."""

    def refresh(self, slot: Slot) -> bool:
        """Keep what was read first."""
        return slot.copy.track is None and super().refresh(slot)


class _RemapsBlindly(OffsetMaps):
    """Changes the map without a look at what it has become since it was read."""

    async def remap(self, slot: Slot, remap: Remap) -> None:
        """Take whatever is recorded now for what was read."""
        await self.read_to_end()
        record = state.get_mirror(self._log.records, self._uid, slot.target.topic)
        number = slot.source.partition
        found = record.maps[number] if record is not None and number in record.maps else None
        slot.map_record = found.SerializeToString(deterministic=True) if found is not None else b""
        await super().remap(slot, remap)


class _AnyGeneration(OffsetMaps):
    """Believes every block there is."""

    def _blocks(self, slot: Slot, generation: int) -> list[Block]:
        return [block for each in range(generation + 1) for block in super(_AnyGeneration, self)._blocks(slot, each)]


class _PersistsWhatIsNotProven(OffsetMaps):
    """Writes blocks of maps that nobody copies by."""

    async def persist(self, slots: Iterable[Slot]) -> None:
        """Also of partitions that stand still."""
        for slot in slots:
            track, number = slot.copy.track, slot.shard.claim.number
            if track is not None and track.mapped and slot in self._written and number:
                changes, after = self._blocks_to_write(slot, track.offsets, number)
                await self._append(changes, [(slot, self._written[slot], after)])


class _ForgetsGivenUp(OffsetMaps):
    """Takes new ranges that were given up for no news: what was walked before stays."""

    def refresh(self, slot: Slot) -> bool:
        """Keep the map."""
        track, record = slot.copy.track, slot.map_record
        changed = super().refresh(slot)
        if changed and record == slot.map_record:
            slot.copy.track = track
            return False
        return changed


class _HealsTooEarly(PartitionCopy):
    """Lets surplus markers stand for a hole that is shorter than they are many, and tells nobody."""

    __slots__ = ()

    def queue_fill(self, fill: Fill) -> None:
        """Leave it out."""
        track = self.track
        if track is not None and not track.mapped and track.shift > fill.length:
            self.acked_offset = track.skip(fill.first_offset + fill.length, fill.length)
            return
        super().queue_fill(fill)


class _HealsAtAnyHole(PartitionCopy):
    """Looks for a place with fewer markers at a hole that is too short: the attach finds nothing to change."""

    __slots__ = ()

    def queue_fill(self, fill: Fill) -> None:
        """End the episode."""
        if self.shift > fill.length:
            self.settle("a hole", doubtful=False)
            return
        super().queue_fill(fill)


class _OnlyWhileCopying(PartitionCopy):
    """Takes a displaced batch of a paused partition for a stranger's."""

    __slots__ = ()

    def _note_displaced(self, batch: Batch, base_offset: int) -> bool:
        return self.phase is Phase.COPYING and super()._note_displaced(batch, base_offset)


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


def _begins_one_late(place: Place, given_up: Sequence[tuple[int, int]]) -> int:
    return reading_from(place, given_up) + 1


def _begins_within_the_gap(place: Place, given_up: Sequence[tuple[int, int]]) -> int:
    del given_up
    return place.source


def _trusts_a_sequence(writer: Writer, target: TargetLog, source: SourceLog, **given: Any) -> Decision:
    decision = decide(writer, target, source, **given)
    entry = target.entry
    if (
        isinstance(decision, Wait)
        and entry is not None
        and target.tail is None
        and sequence_after(entry.last_sequence, 1) == target.end
    ):
        return decide(writer, replace(target, log_end=target.end), source, **given)
    return decision


def _sees_no_tail_taken_over(writer: Writer, target: TargetLog, source: SourceLog, **given: Any) -> Decision:
    decision = decide(writer, target, source, **given)
    mapping = given["mapping"]
    if isinstance(decision, Wait) and target.tail is not None and target.tail.last_offset < mapping.judged_from:
        return decide(writer, replace(target, log_end=target.end), source, **given)
    return decision


# -- what an answer of the source claims ----------------------------------------------------------------------------


class _BelievesGaps(PartitionCopy):
    """Takes every offset without a batch for one that a cleaner took."""

    __slots__ = ()

    def resume(self, decision: Resume, source_epoch: int = -1) -> None:
        """Believe that a cleaner works on each log."""
        self.compacted = True
        super().resume(decision, source_epoch)


class _BelievesAnyEnd(PartitionCopy):
    """Does not ask where the log ends."""

    __slots__ = ()

    def offer(self, headers: Any, aborted: Any, edges: Edges, *given: Any) -> tuple[list[Piece], list[Batch]]:
        """Drop the log's end."""
        return super().offer(headers, aborted, Edges(leader_epoch=edges.leader_epoch), *given)


class _BelievesAnyEpoch(PartitionCopy):
    """Does not ask which epoch the leader stands in."""

    __slots__ = ()

    def offer(self, headers: Any, aborted: Any, edges: Edges, *given: Any) -> tuple[list[Piece], list[Batch]]:
        """Drop the leader's epoch."""
        return super().offer(headers, aborted, Edges(edges.end), *given)


DOUBT_MUTANTS = {
    "an answer taken by a successor of the same name": replace(SOUND, asked_by_identity=False),
    "missing offsets believed in a log that no cleaner works on": replace(SOUND, copy_type=_BelievesGaps),
    "a batch beyond the log's end believed": replace(SOUND, copy_type=_BelievesAnyEnd),
    "a leader epoch above the leader's believed": replace(SOUND, copy_type=_BelievesAnyEpoch),
    "what was doubted is not looked at again": replace(SOUND, looked_again=False),
}


@pytest.mark.parametrize("name", DOUBT_MUTANTS)
def test_the_simulation_of_spoiled_answers_catches(name: str) -> None:
    """As below, where answers of the source are spoiled on their way, or belong to a partition that is gone."""
    assert first_violation(DOUBT_MUTANTS[name], _seeds(name), doubtful=True) is not None


def test_the_simulation_of_spoiled_answers_catches_batches_that_overlap(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a cleaner may have taken any offset, only its neighbours show that a batch stands elsewhere."""
    monkeypatch.setattr(intake, "sound_length", len)

    assert first_violation(SOUND, _SEEDS, doubtful=True) is not None


MAPPED, AUTO = Offsets.MAPPED, Offsets.AUTO
MAP_MUTANTS = {
    "map not refreshed before an attach": (replace(SOUND, maps_type=_ReadOnce), AUTO),
    "map not read once more after the logs": (replace(SOUND, map_read_after_logs=False), MAPPED),
    "remap not recorded before copying": (replace(SOUND, remap_recorded=False), AUTO),
    "displaced batch not looked at": (replace(SOUND, displaced_looked_at=False), AUTO),
    "displaced batch of a paused partition taken for a stranger's": (replace(SOUND, copy_type=_OnlyWhileCopying), AUTO),
    "surplus markers used up by a shorter hole, unrecorded": (replace(SOUND, copy_type=_HealsTooEarly), AUTO),
    "an attach at each hole, however short": (replace(SOUND, copy_type=_HealsAtAnyHole), AUTO),
    "an unseen tail behind what was taken over": (replace(SOUND, decide=_sees_no_tail_taken_over), MAPPED),
    "walk counts markers": (replace(SOUND, spans=_counts_markers), MAPPED),
    "walk counts aborted records": (replace(SOUND, spans=_counts_aborted), MAPPED),
    "walk counts what was given up": (replace(SOUND, spans=_counts_given_up), MAPPED),
    "walk counts what lies before its beginning": (replace(SOUND, spans=_counts_whole_batches), MAPPED),
    "walk begins one offset late": (replace(SOUND, reading_from=_begins_one_late), MAPPED),
    "walk begins within a gap that was given up": (replace(SOUND, reading_from=_begins_within_the_gap), MAPPED),
    "an attach does not know what was given up": (replace(SOUND, given_up_known=False), AUTO),
    "what was given up since the walk is no news": (replace(SOUND, maps_type=_ForgetsGivenUp), MAPPED),
    "an offset left out is never looked at again": (replace(SOUND, skips_forgotten=False), MAPPED),
    "blocks of another generation believed": (replace(SOUND, maps_type=_AnyGeneration), MAPPED),
    "what was taken over compared": (replace(SOUND, judged_from_known=False), MAPPED),
}


@pytest.mark.parametrize("name", MAP_MUTANTS)
def test_the_simulation_of_maps_catches(name: str) -> None:
    """As below, where offsets may differ."""
    rules, offsets = MAP_MUTANTS[name]

    assert first_violation(rules, _seeds(name), offsets=offsets) is not None


def _merges_nothing(passes: Passes, batch_bytes_max: int) -> list[Group]:
    del batch_bytes_max
    return [Group(passes, merged=False)]


def _merges_old_with_new(passes: Passes, batch_bytes_max: int) -> list[Group]:
    del batch_bytes_max
    return [Group(passes, merged=len(passes) > 1)]


ONE_BY_ONE = replace(SOUND, groups=_merges_nothing)
"""More batches, so more moments between them: what these histories show comes sooner."""

MUTANTS = {
    "attach trusts log end and lastSequence apart": (replace(SOUND, decide=_trusts_the_end), False),
    "attach trusts the end of an empty log": (replace(SOUND, decide=_trusts_an_empty_log), False),
    "attach trusts a stored epoch however old": (replace(SOUND, decide=_trusts_the_stored_epoch), False),
    "attach reads the source beside the target": (replace(SOUND, reads_in_order=False), True),
    "attach compares no records": (replace(SOUND, decide=_compares_nothing), False),
    "no claim needed for unguarded work": (replace(SOUND, claim_needed=False), True),
    "doubt not waited out": (replace(SOUND, doubt_waited=False), True),
    "guarded work goes on while another daemon lets the state age": (replace(SOUND, aging_waited=False), True),
    "an answer heard late proves the place for now": (replace(SOUND, proven_when_sent=False), True),
    "more than five in flight": (replace(SOUND, copy_type=_WideWindow), False),
    "base offset of the answer not checked": (replace(SOUND, copy_type=_AnyOffset), False),
    "next sequence restarted at 0": (replace(SOUND, copy_type=_FirstSequence), False),
    "old record times taken for guarded": (replace(SOUND, copy_type=_NeverAlone), True),
    "a fill repeated before the doubt time is over": (replace(SOUND, fill_doubt_waited=False), False),
    "a fill beside batches in flight": (replace(ONE_BY_ONE, copy_type=_FillsBesideBatches), False),
    "old record times merged with new ones": (replace(SOUND, groups=_merges_old_with_new), True),
    "a sequence nobody remembers does not follow the offset": (replace(ONE_BY_ONE, copy_type=_CountsRecordsOnly), True),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_the_simulation_catches(name: str) -> None:
    """Within a fixed number of seeded histories."""
    rules, backlog = MUTANTS[name]

    assert first_violation(rules, _seeds(name), backlog=backlog) is not None


def test_a_tail_that_stays_uncommitted_is_caught_and_the_true_log_end_helps() -> None:
    """With the guard off, the high watermark alone does not show what was appended: the limit of the doubt time."""
    assert first_violation(SOUND, _SEEDS, backlog=True, tail_may_stay=True) is not None
    known = replace(SOUND, log_end_known=True)
    assert first_violation(known, range(500), backlog=True, tail_may_stay=True) is None


def test_a_leader_that_moved_is_no_hidden_danger() -> None:
    """Its refusal may come after the append, but a new leader tells no end before its tail is committed (KIP-207)."""
    assert first_violation(replace(SOUND, moved_is_doubt=False), range(500), backlog=True) is None


# -- histories too rare to be met by chance ----------------------------------------------------------------------


def _work(world: World, daemon: Daemon, *, answers: bool = True) -> None:
    daemon.work_claim()
    daemon.attach_for_claim()
    while daemon.step_attach() and daemon.attaching is not None:
        pass
    daemon.fetch(9)
    daemon.take()
    while daemon.send():
        pass
    while answers and daemon.connection is not None and (world.deliver(daemon.connection) or daemon.hear()):
        world.target.commit()
    world.check()


def _wait(world: World, daemon: Daemon, milliseconds: int) -> None:
    for _ in range(milliseconds // 5_000):
        world.advance(5_000)
        daemon.work_claim()


def _doubt_about_a_batch_that_ends_the_guard(rules: Rules) -> World:
    """Lose the answer to an old batch while the state is still fresh; the batch arrives after the next attach."""
    world = World(rules=replace(rules, aging_waited=False))
    daemon = world.start_daemon()
    world.source.append(2, world.now_ms)
    _work(world, daemon)
    world.source.append(2, world.now_ms - 2 * EXPIRY_MS)
    _work(world, daemon, answers=False)
    daemon.lose_connection()
    (zombie,) = world.zombies
    _work(world, daemon)
    world.deliver(zombie)
    world.target.commit()
    world.target.expire(world.now_ms)
    _wait(world, daemon, DOUBT_MS + 5_000)
    for _ in range(3):
        _work(world, daemon)
    return world


def test_a_place_read_before_the_end_of_the_doubt_time_proves_nothing() -> None:
    """Waiting is not enough: the log has to be read again after it."""
    world = _doubt_about_a_batch_that_ends_the_guard(SOUND)
    assert world.target.high_watermark == world.source.end == 4

    with pytest.raises(Violation, match="no copy of the source"):
        _doubt_about_a_batch_that_ends_the_guard(replace(SOUND, proven_after_doubt=False))


def _source_truncated_under_an_idle_daemon(rules: Rules) -> Daemon:
    """Attach, read nothing, and let the source lose records and grow past the place again."""
    world = World(rules=rules)
    for _ in range(2):
        world.source.append(2, world.now_ms)
    first = world.start_daemon()
    _work(world, first)
    _work(world, first)
    assert world.target.high_watermark == 4
    world.kill_daemon(first)
    second = world.start_daemon()
    _work(world, second)
    world.source.truncate(1)
    for _ in range(2):
        world.source.append(2, world.now_ms)
    for _ in range(3):
        _work(world, second)
    return second


def test_an_attach_that_does_not_tell_the_source_epoch_misses_a_truncation() -> None:
    """The first fetch after it carries no epoch, so that the broker cannot name the divergence."""
    assert _source_truncated_under_an_idle_daemon(SOUND).copy.reason is Reason.SOURCE_TRUNCATED

    with pytest.raises(Violation, match="no copy of the source"):
        _source_truncated_under_an_idle_daemon(replace(SOUND, source_epoch_known=False))


def _source_truncated_under_markers(rules: Rules) -> Daemon:
    """Copy a record and a marker; the source loses the marker's offset and writes records there."""
    world = World(rules=rules)
    world.source.append(1, world.now_ms)
    world.source.append(1, world.now_ms, "control")
    first = world.start_daemon()
    _wait(world, first, DOUBT_MS + 5_000)
    for _ in range(3):
        _work(world, first)
    assert world.target.high_watermark == 2
    world.kill_daemon(first)
    world.source.truncate(1)
    world.source.append(3, world.now_ms)
    second = world.start_daemon()
    _wait(world, second, DOUBT_MS + 15_000)
    for _ in range(3):
        _work(world, second)
    return second


def test_a_marker_where_the_source_has_a_record_is_no_copy() -> None:
    """The last records of both sides are equal: only what stands behind them tells."""
    assert _source_truncated_under_markers(SOUND).copy.reason is Reason.CONTENT_MISMATCH

    with pytest.raises(Violation, match="no copy of the source"):
        _source_truncated_under_markers(replace(SOUND, decide=_compares_no_markers))


def _ghost(world: World, markers: int = 1) -> None:
    """Let markers of an earlier fill land late."""
    world.haunted = True
    world.target.fill(world.target.term, world.target.fill_epoch, markers, world.now_ms, lambda *_: None)


def _filled(rules: Rules) -> tuple[World, Daemon]:
    """Copy a marker."""
    world = World(rules=rules, offsets=AUTO)
    world.source.append(1, world.now_ms, "control")
    daemon = world.start_daemon()
    _wait(world, daemon, DOUBT_MS + 5_000)
    for _ in range(3):
        _work(world, daemon)
    assert world.target.high_watermark == 1
    return world, daemon


def _two_daemons_record_a_difference(rules: Rules) -> World:
    """Let one decide what to record, and wait; the other records it, and later another difference."""
    world, daemon = _filled(rules)
    world.kill_daemon(daemon)
    _ghost(world)
    world.target.commit()
    world.source.append(2, world.now_ms)
    slow, quick = world.start_daemon(), world.start_daemon()
    while world.state.fence == 0:
        slow.step_attach()
    slow.step_attach()
    _wait(world, quick, DOUBT_MS + 15_000)
    for _ in range(3):
        _work(world, quick)
    _ghost(world)
    world.source.append(2, world.now_ms)
    for _ in range(4):
        _work(world, quick)
    assert [target for target, _ in world.target.data()] == [2, 3, 5, 6]
    for daemon in (slow, quick):
        world.source.bump_epoch()
        world.source.append(1, world.now_ms)
        for _ in range(4):
            _work(world, daemon)
    return world


def test_a_difference_is_recorded_by_compare_and_set() -> None:
    """Else the one who comes late takes back what the other one recorded, and copied behind."""
    world = _two_daemons_record_a_difference(SOUND)
    assert world.displaced_from() is None
    assert len(world.target.data()) == 6

    with pytest.raises(Violation, match="stopped without cause"):
        _two_daemons_record_a_difference(replace(SOUND, maps_type=_RemapsBlindly, remap_compared=False))


def _displaced_batch_behind_the_end(rules: Rules) -> World:
    """Append a batch behind a marker too many; the marker is committed, the batch is not yet."""
    world, daemon = _filled(rules)
    world.source.append(1, world.now_ms)
    _work(world, daemon, answers=False)
    _ghost(world)
    connection = daemon.connection
    assert connection is not None
    world.deliver(connection)
    world.target.commit(1)
    daemon.lose_connection()
    for _ in range(3):
        _work(world, daemon, answers=False)
    if daemon.connection is not connection and daemon.connection is not None:
        world.deliver(daemon.connection)
        world.check()
    world.target.commit()
    for _ in range(3):
        _work(world, daemon)
    return world


def test_a_sequence_that_follows_from_the_end_shows_nothing_where_markers_may_be_too_many() -> None:
    """As many markers too many below the end as there are records behind it look like none of either."""
    assert [record for _, record in _displaced_batch_behind_the_end(SOUND).target.data()] == [2]

    with pytest.raises(Violation, match="no copy of the source"):
        _displaced_batch_behind_the_end(replace(SOUND, decide=_trusts_a_sequence))


def _written_while_an_attach_walks(rules: Rules) -> World:
    """Let the source lose a record and write others; the holder of the claim writes its map before it has compared."""
    world = World(rules=rules, offsets=MAPPED)
    for _ in range(2):
        world.source.append(1, world.now_ms)
    first = world.start_daemon()
    for _ in range(3):
        _work(world, first)
    assert world.target.high_watermark == 2
    world.kill_daemon(first)
    second = world.start_daemon()
    _wait(world, second, DOUBT_MS + 15_000)
    world.source.truncate(1)
    world.source.append(1, world.now_ms, "control")
    world.source.append(1, world.now_ms)
    while second.copy.track is None or second.copy.track.offsets.end.target < world.target.high_watermark:
        second.step_attach()
    second.persist("taken")
    _work(world, second)
    assert second.copy.reason is Reason.CONTENT_MISMATCH
    return world


def test_a_map_that_is_not_proven_is_not_written() -> None:
    """A block is believed by everybody, and for good."""
    assert _written_while_an_attach_walks(SOUND).state.blocks() == []

    with pytest.raises(Violation, match="a block says"):
        _written_while_an_attach_walks(replace(SOUND, maps_type=_PersistsWhatIsNotProven))


def _restarted_behind_dropped_blocks() -> Daemon:
    """Let both logs lose what the first blocks of a map tell, and the blocks go with it."""
    world = World(offsets=MAPPED)
    daemon = world.start_daemon()
    _wait(world, daemon, DOUBT_MS + 5_000)
    for _ in range(12):
        world.source.append(1, world.now_ms)
        world.source.append(1, world.now_ms, "control")
        _work(world, daemon)
        _work(world, daemon)
        daemon.persist("taken")
    assert world.target.high_watermark == 12
    world.source.delete_records(world.source.end - 4)
    world.target.retain_from(world.target.log_end - 2)
    world.source.bump_epoch()
    world.source.append(1, world.now_ms)
    for _ in range(3):
        _work(world, daemon)
    daemon.persist("taken")
    assert daemon.copy.track is not None
    assert daemon.copy.track.offsets.begin.target > 0
    world.kill_daemon(daemon)
    second = world.start_daemon()
    for _ in range(3):
        _work(world, second)
    return second


def test_a_map_goes_on_behind_blocks_that_were_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    """The mirror record tells where it began, and nothing of what lies between there and the first block left."""
    assert _restarted_behind_dropped_blocks().copy.is_copying()

    monkeypatch.setattr(OffsetMap, "leap", lambda *_: False)
    with pytest.raises(Violation, match="stopped without cause"):
        _restarted_behind_dropped_blocks()
