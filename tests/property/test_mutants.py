"""Rules broken one at a time: the simulation has to notice each, or it proves nothing about the rule."""

from __future__ import annotations

from dataclasses import replace

import pytest

from replicator.core.attach import Decision, Fault, Resume, SourceLog, TargetLog, Wait, Writer, decide
from replicator.core.coalesce import Run
from replicator.core.intake import Fill, Passes
from replicator.core.partition import Batch, PartitionCopy, TargetLimits
from replicator.model.batch import sequence_after
from replicator.model.names import TopicPartition
from replicator.model.states import Reason
from tests.property.histories import first_violation
from tests.property.model_broker import EXPIRY_MS
from tests.property.model_daemon import DOUBT_MS, Daemon, Rules, Violation, World

_SEEDS = range(4000)
SOUND = Rules()


def _trusts_the_end(writer: Writer, target: TargetLog, source: SourceLog, *, ours: bool, begin_at: int) -> Decision:
    decision = decide(writer, target, source, ours=ours, begin_at=begin_at)
    if isinstance(decision, Wait) and target.entry is not None:
        return Resume(target.end, sequence_after(target.entry.last_sequence, 1), target.entry.last_timestamp)
    return decision


def _trusts_an_empty_log(
    writer: Writer, target: TargetLog, source: SourceLog, *, ours: bool, begin_at: int
) -> Decision:
    decision = decide(writer, target, source, ours=ours, begin_at=begin_at)
    if isinstance(decision, Wait) and target.entry is not None and target.tail is None:
        return Resume(target.end, sequence_after(target.entry.last_sequence, 1), target.entry.last_timestamp)
    return decision


def _trusts_the_stored_epoch(
    writer: Writer, target: TargetLog, source: SourceLog, *, ours: bool, begin_at: int
) -> Decision:
    if source.epoch_end is not None and source.epoch_end < target.end:
        return Fault(Reason.SOURCE_TRUNCATED, "")
    return decide(writer, target, source, ours=ours, begin_at=begin_at)


def _compares_nothing(writer: Writer, target: TargetLog, source: SourceLog, *, ours: bool, begin_at: int) -> Decision:
    tail = target.tail
    content = None if tail is None else tail.content
    return decide(writer, target, replace(source, content=content), ours=ours, begin_at=begin_at)


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


def _compares_no_markers(
    writer: Writer, target: TargetLog, source: SourceLog, *, ours: bool, begin_at: int
) -> Decision:
    return decide(writer, target, replace(source, unfilled=None), ours=ours, begin_at=begin_at)


def _merges_nothing(passes: Passes, batch_bytes_max: int) -> list[Run]:
    del batch_bytes_max
    return [Run(passes, merged=False)]


def _merges_old_with_new(passes: Passes, batch_bytes_max: int) -> list[Run]:
    del batch_bytes_max
    return [Run(passes, merged=len(passes) > 1)]


ONE_BY_ONE = replace(SOUND, runs=_merges_nothing)
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
    "old record times merged with new ones": (replace(SOUND, runs=_merges_old_with_new), True),
    "a sequence nobody remembers does not follow the offset": (replace(ONE_BY_ONE, copy_type=_CountsRecordsOnly), True),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_the_simulation_catches(name: str) -> None:
    """Within a fixed number of seeded histories."""
    rules, backlog = MUTANTS[name]

    assert first_violation(rules, _SEEDS, backlog=backlog) is not None


def test_a_tail_that_stays_uncommitted_is_caught_and_the_true_log_end_helps() -> None:
    """With the guard off, the high watermark alone does not show what was appended: the limit of the doubt time."""
    assert first_violation(SOUND, _SEEDS, backlog=True, tail_may_stay=True) is not None
    known = replace(SOUND, log_end_known=True)
    assert first_violation(known, range(1500), backlog=True, tail_may_stay=True) is None


def test_a_leader_that_moved_is_no_hidden_danger() -> None:
    """Its refusal may come after the append, but a new leader tells no end before its tail is committed (KIP-207)."""
    assert first_violation(replace(SOUND, moved_is_doubt=False), range(1500), backlog=True) is None


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
