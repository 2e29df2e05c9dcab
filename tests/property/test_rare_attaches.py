"""Histories of attaches too rare to be met by chance, each with the rule that it is about broken once."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import pytest

from replicator.core.copy.attaching.attach import decide
from replicator.core.copy.attaching.facts import Decision, SourceLog, TargetLog, Wait, Writer
from replicator.engine.copy.attaching import attacher
from replicator.engine.copy.partitions.partition import Slot
from replicator.engine.copy.partitions.producer_state import Guard
from replicator.engine.copy.pump import Pump
from replicator.model.security import ClusterSpec
from replicator.model.spec import Offsets
from replicator.model.status.states import Reason
from replicator.wire.messages.data.markers import WRITE_TXN_MARKERS
from tests.copy_world.daemon import Daemon
from tests.copy_world.home import at_home
from tests.copy_world.network import Pipe
from tests.copy_world.rules import DOUBT_MS, SOUND, Rules, Violation
from tests.copy_world.steps import CONTROL, FETCH, PRODUCE, attend
from tests.copy_world.target_log import EXPIRY_MS
from tests.copy_world.world import World
from tests.property.scripted import LETS_AGE, started, step, wait, with_patches, work, work_rounds

MAPPED, AUTO = Offsets.MAPPED, Offsets.AUTO


def _doubt_about_a_batch_that_ends_the_guard(rules: Rules) -> World:
    """Lose the answer to an old batch while the state is still fresh; the batch arrives after the next attach."""
    world = World(rules=with_patches(rules, *LETS_AGE))
    with at_home(world, 0):
        daemon = started(world)
        world.source.append(2, world.now_ms)
        work(world, daemon)
        world.source.append(2, world.now_ms - 2 * EXPIRY_MS)
        work(world, daemon, answers=False)
        (pipe,) = daemon.pipes_for(*PRODUCE)
        pipe.lose()
        world.settle()
        (zombie,) = world.zombies
        work(world, daemon, answers=False)
        world.deliver(zombie)
        world.target.commit()
        world.target.expire(world.now_ms)
        wait(world, daemon, DOUBT_MS + 5_000)
        work_rounds(world, daemon, 3)
    return world


def _proves_nothing_anew(self: Guard, slot: Slot) -> bool:
    """Wait the doubt time out, and go on from where the log was read before."""
    since = self.claim.effective_since()
    now = self._now()
    return since is not None and slot.proof.read_at >= since and now >= slot.attach.doubt_until


def test_a_place_read_before_the_end_of_the_doubt_time_proves_nothing() -> None:
    """Waiting is not enough: the log has to be read again after it."""
    world = _doubt_about_a_batch_that_ends_the_guard(SOUND)
    assert world.target.high_watermark == world.source.end == 4

    with pytest.raises(Violation, match="no copy of the source"):
        _doubt_about_a_batch_that_ends_the_guard(with_patches(SOUND, (Guard, "may_fill", _proves_nothing_anew)))


_begin_copying = Pump.begin_copying


def _tells_no_epoch(self: Pump, slot: Slot, decision: Any, _source_epoch: int) -> bool:
    """Forget which leader epoch was compared."""
    return _begin_copying(self, slot, decision, -1)


def _source_truncated_under_an_idle_daemon(rules: Rules) -> Daemon:
    """Attach, and let the source lose records and grow past the place again while nothing can be read yet.

    It happens under the same leader, of which the daemon hears at once: so nothing but what was told of the last record
    shows it to the fetch that follows.
    """
    world = World(rules=rules)
    with at_home(world, 0):
        for _ in range(2):
            world.source.append(2, world.now_ms)
        first = started(world)
        work(world, first)
        work(world, first)
        assert world.target.high_watermark == 4
        world.kill_daemon(first)
        world.fetch_opens_seconds = 1.0
        second = started(world)
        attend(world, second, *CONTROL)
        assert second.copy.is_copying()
        world.source.truncate(1)
        world.source.bump_epoch()
        for _ in range(2):
            world.source.append(2, world.now_ms)
        second.pump.leaders_stale()
        world.settle()
        attend(world, second, *CONTROL)
        assert second.copy.is_copying()
        world.advance(1_000)
        for _ in range(3):
            work(world, second)
    return second


def test_an_attach_that_does_not_tell_the_source_epoch_misses_a_truncation() -> None:
    """The first fetch after it carries no epoch, so that the broker cannot name the divergence."""
    assert _source_truncated_under_an_idle_daemon(SOUND).copy.reason is Reason.SOURCE_TRUNCATED

    with pytest.raises(Violation, match="no copy of the source"):
        _source_truncated_under_an_idle_daemon(with_patches(SOUND, (Pump, "begin_copying", _tells_no_epoch)))


def _compares_no_markers(writer: Writer, target: TargetLog, source: SourceLog, **given: Any) -> Decision:
    return decide(writer, target, replace(source, unfilled=None), **given)


def _source_truncated_under_markers(rules: Rules) -> Daemon:
    """Copy a record and a marker; the source loses the marker's offset and writes records there."""
    world = World(rules=rules)
    with at_home(world, 0):
        world.source.append(1, world.now_ms)
        world.source.append(1, world.now_ms, "control")
        first = started(world)
        wait(world, first, DOUBT_MS + 5_000)
        work_rounds(world, first, 3)
        assert world.target.high_watermark == 2
        world.kill_daemon(first)
        world.source.truncate(1)
        world.source.append(3, world.now_ms)
        second = started(world)
        wait(world, second, DOUBT_MS + 15_000)
        work_rounds(world, second, 4)
    return second


def test_a_marker_where_the_source_has_a_record_is_no_copy() -> None:
    """The last records of both sides are equal: only what stands behind them tells."""
    assert _source_truncated_under_markers(SOUND).copy.reason is Reason.CONTENT_MISMATCH

    with pytest.raises(Violation, match="no copy of the source"):
        _source_truncated_under_markers(with_patches(SOUND, (attacher, "decide", _compares_no_markers)))


def _sees_no_tail_taken_over(writer: Writer, target: TargetLog, source: SourceLog, **given: Any) -> Decision:
    decision = decide(writer, target, source, **given)
    mapping = given["mapping"]
    if isinstance(decision, Wait) and target.tail is not None and target.tail.last_offset < mapping.judged_from:
        return decide(writer, replace(target, log_end=target.end), source, **given)
    return decision


def _tail_behind_what_was_taken_over(rules: Rules) -> World:
    """Let the first batch behind a log that was taken over be appended, and stay uncommitted."""
    world = World(rules=rules, offsets=MAPPED)
    with at_home(world, 0):
        world.current.take_over(2)
        world.source.append(1, world.now_ms)
        first = started(world)
        work_rounds(world, first, 2, answers=False)
        work(world, first, answers=False)
        (pipe,) = first.pipes_for(*PRODUCE)
        assert world.deliver(pipe)
        world.target.tail_may_stay = True
        world.kill_daemon(first)
        second = started(world)
        for _ in range(4):
            world.advance(5_000)
            work(world, second, answers=False)
            for pipe in second.pipes_for(*PRODUCE):
                world.deliver(pipe)
            world.check()
        world.target.commit()
        work_rounds(world, second, 6)
    return world


def test_a_tail_behind_what_was_taken_over_is_waited_for() -> None:
    """What was taken over is not compared; our last sequence has to be seen all the same."""
    assert _tail_behind_what_was_taken_over(SOUND).current.copied() == [(2, 1)]

    with pytest.raises(Violation, match="no copy of the source"):
        _tail_behind_what_was_taken_over(with_patches(SOUND, (attacher, "decide", _sees_no_tail_taken_over)))


def _tail_that_stays_uncommitted(*, log_end_shown: bool) -> World:
    """Append an old batch that nothing guards, and let its replicas follow only after another daemon's attach."""
    world = World(log_end_shown=log_end_shown)
    with at_home(world, 0):
        world.source.append(1, world.now_ms - 2 * EXPIRY_MS)
        first = started(world)
        while not any(pipe.undelivered for pipe in first.pipes_for(*PRODUCE)):
            world.advance(1_000)
            work(world, first, answers=False)
        (pipe,) = first.pipes_for(*PRODUCE)
        assert world.deliver(pipe)
        world.target.tail_may_stay = True
        world.kill_daemon(first)
        world.target.expire(world.now_ms)
        second = started(world)
        for _ in range(16):
            world.advance(5_000)
            work(world, second, answers=False)
            for pipe in second.pipes_for(*PRODUCE):
                world.deliver(pipe)
        world.target.commit()
        work_rounds(world, second, 6)
    return world


def test_only_the_leaders_own_end_shows_a_tail_that_stays_uncommitted() -> None:
    """Without it this is the limit of the doubt time: with the guard off, the high watermark shows nothing of it."""
    assert _tail_that_stays_uncommitted(log_end_shown=True).target.data() == [(0, 1)]

    with pytest.raises(Violation, match="no copy of the source"):
        _tail_that_stays_uncommitted(log_end_shown=False)


def _lost_answer_to_an_old_batch(rules: Rules) -> World:
    """Lose the connection with an old batch on its way, which nothing guards; it arrives behind all that follows."""
    world = World(rules=with_patches(rules, *LETS_AGE))
    with at_home(world, 0):
        daemon = started(world)
        world.source.append(2, world.now_ms)
        work(world, daemon)
        world.source.append(2, world.now_ms - 2 * EXPIRY_MS)
        work(world, daemon, answers=False)
        (pipe,) = daemon.pipes_for(*PRODUCE)
        pipe.lose()
        world.settle()
        (zombie,) = world.zombies
        world.advance(5_000)
        work(world, daemon)
        world.target.expire(world.now_ms)
        world.deliver(zombie)
        world.target.commit()
        world.check()
        for _ in range(8):
            world.advance(5_000)
            work(world, daemon)
    return world


def test_a_write_without_an_answer_is_waited_out() -> None:
    """It may still arrive, and nobody remembers by then that its records are there."""
    assert [record for _, record in _lost_answer_to_an_old_batch(SOUND).target.data()] == [1, 2, 3, 4]

    with pytest.raises(Violation, match="no copy of the source"):
        _lost_answer_to_an_old_batch(with_patches(SOUND, (ClusterSpec, "doubt_seconds", 0.0)))


def _pipe_with_markers(world: World, daemon: Daemon) -> Pipe:
    """Go on until a fill is on its way; return on which connection."""
    moves = itertools.cycle((_read, step, _wait_a_moment))
    for move in itertools.islice(moves, 2000):
        for pipe in daemon.pipes:
            if any(asked.api_key == WRITE_TXN_MARKERS for asked in pipe.undelivered):
                return pipe
        move(world, daemon)
    raise AssertionError("nothing is filled")


def _wait_a_moment(world: World, _daemon: Daemon) -> None:
    """Let ten milliseconds pass."""
    world.advance(10)


def _read(world: World, daemon: Daemon) -> None:
    """Let the source take what is asked, or its answer arrive."""
    for pipe in daemon.pipes_for(*FETCH):
        if not world.hear(pipe):
            world.deliver(pipe)


def _lost_answer_to_a_fill(rules: Rules) -> World:
    """Lose the connection with a marker on its way, behind a record that lets the next attach go on at once."""
    world = World(rules=rules)
    with at_home(world, 0):
        world.source.append(1, world.now_ms)
        daemon = started(world)
        for _ in range(3):
            work(world, daemon)
            world.advance(2_000)
        assert world.target.high_watermark == 1
        world.source.append(1, world.now_ms, "control")
        world.source.append(1, world.now_ms)
        world.settle()
        lost = _pipe_with_markers(world, daemon)
        lost.lose()
        world.settle()
        world.advance(5_000)
        for _ in range(3):
            work(world, daemon)
        world.deliver(lost)
        world.target.commit()
        world.check()
        for _ in range(10):
            world.advance(5_000)
            work(world, daemon)
    return world


def test_a_fill_without_an_answer_is_waited_out() -> None:
    """A marker is appended whatever stands before it: the lost one would be one too many."""
    assert _lost_answer_to_a_fill(SOUND).target.data() == [(0, 1), (2, 3)]

    def at_once(self: Guard, _slot: Slot) -> bool:
        return self.claim.effective_since() is not None

    with pytest.raises(Violation, match="no copy of the source"):
        _lost_answer_to_a_fill(with_patches(SOUND, (Guard, "may_fill", at_once)))
