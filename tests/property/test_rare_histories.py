"""Histories of the copy too rare to be met by chance, each with the rule that it is about broken once."""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest

from replicator.core.copy.attaching.attach import decide
from replicator.core.copy.attaching.facts import Decision, Remap, SourceLog, TailPosition, TargetLog, Wait, Writer
from replicator.core.copy.machine import PartitionCopy
from replicator.core.copy.reading.doubt import ResponseBounds
from replicator.core.copy.reading.pieces import Piece
from replicator.core.copy.values import Batch, Ending, Phase
from replicator.core.offsets.offset_map import OffsetMap
from replicator.engine.copy import pump
from replicator.engine.copy.attaching import attacher, facts
from replicator.engine.copy.partitions.live_maps import OffsetMaps
from replicator.engine.copy.partitions.partition import Slot
from replicator.engine.copy.partitions.producer_state import Guard
from replicator.engine.copy.partitions.recorded import Cleaning
from replicator.engine.copy.pump import Pump
from replicator.engine.copy.reading.reader import SourceReader
from replicator.engine.copy.reading.taking import RequestedPartition
from replicator.engine.state.topic.log import Change, StateLog
from replicator.model.batch import sequence_after
from replicator.model.names import TopicPartition
from replicator.model.security import ClusterSpec
from replicator.model.spec import Offsets
from replicator.model.status.states import Reason
from replicator.wire.messages.data.markers import WRITE_TXN_MARKERS
from tests.copy_world.daemon import Daemon
from tests.copy_world.home import at_home
from tests.copy_world.lies import far_beyond
from tests.copy_world.network import Pipe
from tests.copy_world.rules import DOUBT_MS, SOUND, Rules, Violation
from tests.copy_world.steps import CONTROL, FETCH, PRODUCE, attend
from tests.copy_world.steps import begin as begin_daemon
from tests.copy_world.target_log import EXPIRY_MS
from tests.copy_world.world import World

MAPPED, AUTO = Offsets.MAPPED, Offsets.AUTO
_INIT_PRODUCER_ID = 22


def _started(world: World) -> Daemon:
    begin_daemon(world)
    return world.daemons[-1]


def _work(world: World, daemon: Daemon, *, answers: bool = True) -> None:
    daemon.step_claim()
    world.settle()
    attend(world, daemon, *CONTROL, *FETCH)
    if answers:
        attend(world, daemon, *CONTROL, *FETCH, *PRODUCE, commits=True)
    world.check()


def _work_rounds(world: World, daemon: Daemon, rounds: int, *, answers: bool = True) -> None:
    """Let the daemon work, five seconds apart."""
    for _ in range(rounds):
        _work(world, daemon, answers=answers)
        world.advance(5_000)


def _wait(world: World, daemon: Daemon, milliseconds: int) -> None:
    """Let time pass; the daemon keeps its claim."""
    for _ in range(milliseconds // 5_000):
        world.advance(5_000)
        daemon.step_claim()
        world.settle()
        attend(world, daemon, *CONTROL, commits=True)


def _with(rules: Rules, *patches: tuple[object, str, object]) -> Rules:
    return replace(rules, patches=(*rules.patches, *patches))


_LETS_AGE = ((Guard, "_may_end", lambda *_: True), (Guard, "proven_since", lambda _: 0.0))


def _doubt_about_a_batch_that_ends_the_guard(rules: Rules) -> World:
    """Lose the answer to an old batch while the state is still fresh; the batch arrives after the next attach."""
    world = World(rules=_with(rules, *_LETS_AGE))
    with at_home(world, 0):
        daemon = _started(world)
        world.source.append(2, world.now_ms)
        _work(world, daemon)
        world.source.append(2, world.now_ms - 2 * EXPIRY_MS)
        _work(world, daemon, answers=False)
        (pipe,) = daemon.pipes_for(*PRODUCE)
        pipe.lose()
        world.settle()
        (zombie,) = world.zombies
        _work(world, daemon, answers=False)
        world.deliver(zombie)
        world.target.commit()
        world.target.expire(world.now_ms)
        _wait(world, daemon, DOUBT_MS + 5_000)
        _work_rounds(world, daemon, 3)
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
        _doubt_about_a_batch_that_ends_the_guard(_with(SOUND, (Guard, "may_fill", _proves_nothing_anew)))


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
        first = _started(world)
        _work(world, first)
        _work(world, first)
        assert world.target.high_watermark == 4
        world.kill_daemon(first)
        world.fetch_opens_seconds = 1.0
        second = _started(world)
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
            _work(world, second)
    return second


def test_an_attach_that_does_not_tell_the_source_epoch_misses_a_truncation() -> None:
    """The first fetch after it carries no epoch, so that the broker cannot name the divergence."""
    assert _source_truncated_under_an_idle_daemon(SOUND).copy.reason is Reason.SOURCE_TRUNCATED

    with pytest.raises(Violation, match="no copy of the source"):
        _source_truncated_under_an_idle_daemon(_with(SOUND, (Pump, "begin_copying", _tells_no_epoch)))


def _compares_no_markers(writer: Writer, target: TargetLog, source: SourceLog, **given: Any) -> Decision:
    return decide(writer, target, replace(source, unfilled=None), **given)


def _source_truncated_under_markers(rules: Rules) -> Daemon:
    """Copy a record and a marker; the source loses the marker's offset and writes records there."""
    world = World(rules=rules)
    with at_home(world, 0):
        world.source.append(1, world.now_ms)
        world.source.append(1, world.now_ms, "control")
        first = _started(world)
        _wait(world, first, DOUBT_MS + 5_000)
        _work_rounds(world, first, 3)
        assert world.target.high_watermark == 2
        world.kill_daemon(first)
        world.source.truncate(1)
        world.source.append(3, world.now_ms)
        second = _started(world)
        _wait(world, second, DOUBT_MS + 15_000)
        _work_rounds(world, second, 4)
    return second


def test_a_marker_where_the_source_has_a_record_is_no_copy() -> None:
    """The last records of both sides are equal: only what stands behind them tells."""
    assert _source_truncated_under_markers(SOUND).copy.reason is Reason.CONTENT_MISMATCH

    with pytest.raises(Violation, match="no copy of the source"):
        _source_truncated_under_markers(_with(SOUND, (attacher, "decide", _compares_no_markers)))


def _ghost(world: World, markers: int = 1) -> None:
    """Let markers of an earlier fill land late."""
    world.current.haunted = True
    world.target.fill(world.target.term, world.target.fill_epoch, markers, world.now_ms, lambda *_: None)


def _filled(world: World) -> Daemon:
    """Copy a marker."""
    world.source.append(1, world.now_ms, "control")
    daemon = _started(world)
    _wait(world, daemon, DOUBT_MS + 5_000)
    _work_rounds(world, daemon, 3)
    assert world.target.high_watermark == 1
    return daemon


def _step(world: World, daemon: Daemon) -> None:
    """Let one request be taken and answered, of those of an attach."""
    for pipe in daemon.pipes_for(*CONTROL[:-1]):
        if world.deliver(pipe) or world.hear(pipe):
            return


class _NotesWhy(OffsetMaps):
    """Keeps what was said of each difference."""

    said: list[str]

    async def remap(self, slot: Slot, remap: Remap) -> None:
        """Note it."""
        self.said.append(remap.text)
        await super().remap(slot, remap)


@pytest.mark.parametrize("left", [1, 0])
def test_retention_takes_what_displaced_a_batch_before_it_is_looked_at(
    left: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The copy goes on, at the offsets that the batch's answer told of, also where nothing is left of it."""
    said: list[str] = []
    monkeypatch.setattr(_NotesWhy, "said", said, raising=False)
    world = World(rules=Rules(maps_type=_NotesWhy), offsets=AUTO)
    with at_home(world, 0):
        daemon = _filled(world)
        _ghost(world)
        world.source.append(2, world.now_ms)
        _work(world, daemon, answers=False)
        (pipe,) = daemon.pipes_for(*PRODUCE)
        world.deliver(pipe)
        world.target.commit()
        assert world.target.data()
        world.target.retain_from(world.target.log_end - left)
        world.hear(pipe)
        _work_rounds(world, daemon, 4)
        world.source.append(2, world.now_ms)
        _work_rounds(world, daemon, 4)

        assert (daemon.copy.phase, daemon.copy.shift) == (Phase.COPYING, 1)
        assert [target for target, _ in world.target.data()][-2:] == [4, 5]
        assert said == ["offsets are identical+1 from 1 on: retention removed what was before that, unseen"]


def _two_daemons_record_a_difference(rules: Rules) -> World:
    """Let one decide what to record, and wait; the other records it, and later another difference.

    All of it within seconds, or the first would be told that it waited for too long.
    """
    world = World(rules=rules, offsets=AUTO)
    with at_home(world, 0):
        daemon = _filled(world)
        world.source.append(1, world.now_ms)  # what is remembered of it lets another go on without the claim
        _work_rounds(world, daemon, 2)
        world.kill_daemon(daemon)
        _ghost(world)
        world.target.commit()
        world.source.append(2, world.now_ms)
        slow = _started_only(world)
        while not any(asked.api_key == _INIT_PRODUCER_ID for pipe in slow.pipes for asked in pipe.undelivered):
            _step(world, slow)
        quick = _started(world)
        _work(world, quick)
        _ghost(world)
        world.source.append(2, world.now_ms)
        _work(world, quick)
        world.advance(1_000)
        _work(world, quick)
        assert world.target.data() == [(1, 2), (3, 3), (4, 4), (6, 5), (7, 6)]
        assert world.current.displaced_from() is None
        for daemon in (slow, quick):
            for _ in range(4):
                _work(world, daemon)
                world.advance(1_000)
    return world


def _started_only(world: World) -> Daemon:
    """Start a daemon that has not heard of anything yet."""
    daemon = world.start_daemon()
    while not daemon.is_up:
        _step(world, daemon)
    return daemon


class _DecidesByWhatItKnew(OffsetMaps):
    """Compares with what was recorded when it began, not with what is recorded when it writes."""

    async def remap(self, slot: Slot, remap: Remap) -> None:
        """Give what is read since to nobody."""
        state_log = self._log
        known = dict(state_log.records)

        def change(uid: str, decide: Callable[[dict[bytes, bytes]], list[Change]]) -> Awaitable[object]:
            return state_log.change(uid, lambda _: decide(known))

        self._log = cast("StateLog", SimpleNamespace(change=change))
        try:
            await super().remap(slot, remap)
        finally:
            self._log = state_log


def test_a_difference_is_recorded_by_compare_and_set() -> None:
    """Else the one who comes late takes back what the other one recorded, and copied behind."""
    world = _two_daemons_record_a_difference(SOUND)
    assert world.current.displaced_from() is None
    assert len(world.target.data()) == 5

    with pytest.raises(Violation, match="stopped without cause"):
        _two_daemons_record_a_difference(Rules(maps_type=_DecidesByWhatItKnew))


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


def _displaced_batch_behind_the_end(rules: Rules) -> World:
    """Append a batch behind a marker too many; the marker is committed, the batch is not yet."""
    world = World(rules=rules, offsets=AUTO)
    with at_home(world, 0):
        daemon = _filled(world)
        world.source.append(1, world.now_ms)
        _work(world, daemon, answers=False)
        _ghost(world)
        (pipe,) = daemon.pipes_for(*PRODUCE)
        assert world.deliver(pipe)
        world.target.commit(1)
        world.target.tail_may_stay = True
        pipe.lose()
        world.settle()
        for _ in range(3):
            world.advance(5_000)
            _work(world, daemon, answers=False)
        for pipe in daemon.pipes_for(*PRODUCE):
            world.deliver(pipe)
            world.check()
        world.target.commit()
        _work_rounds(world, daemon, 5)
    return world


def test_a_sequence_that_follows_from_the_end_shows_nothing_where_markers_may_be_too_many() -> None:
    """As many markers too many below the end as there are records behind it look like none of either."""
    assert [record for _, record in _displaced_batch_behind_the_end(SOUND).target.data()] == [2]

    with pytest.raises(Violation, match="no copy of the source"):
        _displaced_batch_behind_the_end(_with(SOUND, (attacher, "decide", _trusts_a_sequence)))


class _PersistsWhatIsNotProven(OffsetMaps):
    """Writes blocks of maps that nobody copies by."""

    async def persist(self, slots: Iterable[Slot]) -> None:
        """Also of partitions that stand still."""
        for slot in slots:
            track, number = slot.copy.track, slot.shard.claim.number
            if track is not None and track.mapped and slot in self._written and number:
                changes, after = self._blocks_to_write(slot, track.offsets, number)
                await self._append(changes, [(slot, self._written[slot], after)])


def _written_while_an_attach_walks(rules: Rules) -> World:
    """Let the source lose a record and write others; the holder of the claim writes its map before it has compared."""
    world = World(rules=rules, offsets=MAPPED)
    with at_home(world, 0):
        for _ in range(2):
            world.source.append(1, world.now_ms)
        first = _started(world)
        for _ in range(3):
            _work(world, first)
        assert world.target.high_watermark == 2
        _wait(world, first, 5_000)
        world.source.truncate(1)
        world.source.append(1, world.now_ms, "control")
        world.source.append(1, world.now_ms)
        world.kill_daemon(first)
        second = _started_only(world)
        _wait_for_the_claim(world, second)
        while second.copy.track is None or second.copy.track.offsets.end.target < world.target.high_watermark:
            _step(world, second)
        second.persist()
        for _ in range(4):
            _work(world, second)
        world.check_blocks()
        assert second.copy.reason is Reason.CONTENT_MISMATCH
    return world


def _wait_for_the_claim(world: World, daemon: Daemon) -> None:
    """Let a daemon take the claim while nothing else of it gets anywhere."""
    for _ in range(40):
        world.advance(1_000)
        daemon.step_claim()
        world.settle()
        for pipe in daemon.pipes_for("target control", "target None"):
            while world.deliver(pipe) or world.hear(pipe):
                pass
        if daemon.claim.effective_since() is not None:
            return
    raise AssertionError("it never got the claim")


def test_a_map_that_is_not_proven_is_not_written() -> None:
    """A block is believed by everybody, and for good."""
    assert _written_while_an_attach_walks(SOUND).current.blocks() == []

    with pytest.raises(Violation, match="a block says"):
        _written_while_an_attach_walks(Rules(maps_type=_PersistsWhatIsNotProven))


def _restarted_behind_dropped_blocks() -> Daemon:
    """Let both logs lose what the first blocks of a map tell, and the blocks go with it."""
    world = World(offsets=MAPPED)
    with at_home(world, 0):
        daemon = _started(world)
        _wait(world, daemon, DOUBT_MS + 5_000)
        for _ in range(12):
            world.source.append(1, world.now_ms)
            world.source.append(1, world.now_ms, "control")
            _work(world, daemon)
            world.advance(100)  # the place is from before the claim, at first
            _work(world, daemon)
            daemon.persist()
            _work(world, daemon)
        assert world.target.high_watermark == 12
        world.source.delete_records(world.source.end - 4)
        world.target.retain_from(world.target.log_end - 2)
        world.source.bump_epoch()
        world.source.append(1, world.now_ms)
        for _ in range(3):
            daemon.pump.leaders_stale()
            _work(world, daemon)
            world.advance(1_000)
        daemon.persist()
        _work(world, daemon)
        assert daemon.copy.track is not None
        assert daemon.copy.track.offsets.begin.target > 0
        world.kill_daemon(daemon)
        second = _started(world)
        for _ in range(3):
            _work(world, second)
            world.advance(1_000)
    return second


def test_a_map_goes_on_behind_blocks_that_were_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    """The mirror record tells where it began, and nothing of what lies between there and the first block left."""
    assert _restarted_behind_dropped_blocks().copy.is_copying()

    monkeypatch.setattr(OffsetMap, "leap", lambda *_: False)
    with pytest.raises(Violation, match="stopped without cause"):
        _restarted_behind_dropped_blocks()


def _given_up_before_what_cannot_be_taken() -> World:
    """Let retention overtake a copy, and an operator give the gap up; behind it comes a batch that is too large."""
    world = World()
    with at_home(world, 0):
        world.source.append(1, world.now_ms)
        daemon = _started(world)
        _work(world, daemon)
        daemon.pause()
        world.source.append(2, world.now_ms)
        world.source.append(1, world.now_ms, "too_large")
        world.source.delete_records(3)
        daemon.unpause()
        world.advance(5_000)
        _work(world, daemon)
        assert daemon.copy.reason is Reason.OVERTAKEN_BY_RETENTION
        world.current.give_up(1, 3)
        daemon.resolve()
        for _ in range(12):
            world.advance(5_000)
            _work(world, daemon)
    return world


def test_a_gap_that_was_given_up_is_filled_whatever_comes_behind_it() -> None:
    """What comes behind it may have to wait until it is filled, and nobody else would say that there is work."""
    world = _given_up_before_what_cannot_be_taken()

    assert world.target.high_watermark == 3
    assert world.daemons[0].copy.reason is Reason.RECORD_TOO_LARGE


def _displaced_beside_a_hole(rules: Rules) -> Daemon:
    """Let a batch land behind a marker too many, and a cleaner take the source's record at just that offset."""
    world = World(rules=rules, offsets=AUTO)
    with at_home(world, 0):
        daemon = _filled(world)
        world.source.append(1, world.now_ms)
        _work(world, daemon, answers=False)
        _ghost(world)
        (pipe,) = daemon.pipes_for(*PRODUCE)
        assert world.deliver(pipe)
        world.target.commit()
        world.kill_daemon(daemon)  # with what it would have been told
        world.source.append(1, world.now_ms, "end")
        second = _started(world)
        world.check()
        _work_rounds(world, second, 8)
    return second


async def _stands_where_it_should(*_: object) -> TailPosition:
    """Believe that a cleaner took what is missing."""
    return TailPosition.AS_RECORDED


def test_a_record_that_a_cleaner_may_have_taken_is_none_that_stands_further_on() -> None:
    """Only the markers before it tell: the source has a record where they stand."""
    assert _displaced_beside_a_hole(SOUND).copy.reason is Reason.SOURCE_TRUNCATED

    with pytest.raises(Violation, match="a difference that is not recorded"):
        _displaced_beside_a_hole(_with(SOUND, (facts, "tail_position_of", _stands_where_it_should)))


def _displaced_and_lost(rules: Rules, *, compacted: bool, left: int) -> Daemon:
    """Let a batch land behind markers too many, and the source lose all that it is a copy of.

    At its last offset the source has a hole; where the others stand it has `left` records of its own.
    """
    world = World(rules=rules, offsets=AUTO)
    with at_home(world, 0):
        daemon = _filled(world)
        world.source.append(2, world.now_ms)
        _work(world, daemon, answers=False)
        _ghost(world, 2)
        (pipe,) = daemon.pipes_for(*PRODUCE)
        assert world.deliver(pipe)
        world.target.commit()
        world.kill_daemon(daemon)  # with what it would have been told
        assert [target for target, _ in world.target.data()] == [3, 4]
        world.source.append(1, world.now_ms, "" if left else "end")
        world.source.append(1, world.now_ms, "end")
        world.source.delete_records(3)
        world.source.append(1, world.now_ms)
        second = _started_only(world)
        second.slot.recorded.cleaning = Cleaning(possible=compacted)
        _work_rounds(world, second, 8)
    return second


@pytest.mark.parametrize("compacted", [False, True])
@pytest.mark.parametrize(("left", "says"), [(1, "further on than on the source"), (0, "below the source's start 3")])
def test_where_the_source_lost_what_a_displaced_batch_is_a_copy_of_nobody_goes_on(
    *, compacted: bool, left: int, says: str
) -> None:
    """Where the markers stand the source tells nothing any more: its other records do, or nothing is known."""
    daemon = _displaced_and_lost(SOUND, compacted=compacted, left=left)
    assert daemon.copy.reason is Reason.SOURCE_TRUNCATED
    assert says in str(daemon.copy.detail)

    with pytest.raises(Violation, match="a difference that is not recorded"):
        _displaced_and_lost(
            _with(SOUND, (facts, "tail_position_of", _stands_where_it_should)), compacted=compacted, left=left
        )


class _BelievesAnyEnd(PartitionCopy):
    """Does not ask where the log ends."""

    __slots__ = ()

    def offer(
        self, headers: Any, aborted: Any, edges: ResponseBounds, *given: Any
    ) -> tuple[list[Piece], Ending | None]:
        """Drop the log's end."""
        return super().offer(headers, aborted, ResponseBounds(leader_epoch=edges.leader_epoch), *given)


def _batch_beyond_the_end(rules: Rules) -> World:
    """Let a batch claim an offset that is far too high, and be filled up to before anything else is read."""
    world = World(rules=rules)
    with at_home(world, 0):
        daemon = _started(world)
        _wait(world, daemon, DOUBT_MS + 5_000)
        world.source.append(1, world.now_ms, "control")
        _work_rounds(world, daemon, 3)  # one fill, so that the next needs no look of its own
        world.source.append(1, world.now_ms)
        world.source.append(1, world.now_ms)
        world.current.lie = (far_beyond, 0)
        (pipe,) = daemon.pipes_for(*FETCH)
        world.hear(pipe)  # an empty answer, from before
        world.deliver(pipe)
        world.hear(pipe)
        assert world.current.lies == 1
        for _ in range(3):
            attend(world, daemon, *CONTROL, *PRODUCE, commits=True)
            world.check()
        _work_rounds(world, daemon, 6)
    return world


def test_a_batch_beyond_the_logs_end_is_not_believed() -> None:
    """The next fetch would be out of range; but what is missing before the batch may be filled sooner."""
    assert _batch_beyond_the_end(SOUND).target.data() == [(1, 2), (2, 3)]

    with pytest.raises(Violation, match="no copy of the source"):
        _batch_beyond_the_end(_with(SOUND, (pump, "PartitionCopy", _BelievesAnyEnd)))


_take = SourceReader._take
_send = SourceReader._send


def _takes_by_name(
    self: SourceReader, frame: Any, session: Any, asked_of: dict[TopicPartition, RequestedPartition]
) -> Any:
    """Take an answer for whoever has the name by now."""
    slots = self._plan.slots
    by_name = {where: asked._replace(slot=slots.get(where, asked.slot)) for where, asked in asked_of.items()}
    return _take(self, frame, session, by_name)


def _remembers_who_asked(
    self: SourceReader, connection: Any, body: Any, session: Any, asked_of: Any, frame: Any
) -> None:
    """Keep who asked, even where he is gone."""
    _send(self, connection, body, session, dict(asked_of), frame)


def _answer_for_a_successor(rules: Rules) -> World:
    """Let a partition begin anew, at an earlier place, while an answer to the one before is on its way."""
    world = World(rules=rules, offsets=MAPPED)
    with at_home(world, 0):
        world.source.append(1, world.now_ms)
        daemon = _started(world)
        _wait(world, daemon, DOUBT_MS + 5_000)
        daemon.hand_over()  # and taken up again under a claim that is effective at once: attached once, not twice
        while daemon.is_up:
            attend(world, daemon, *CONTROL)
            world.advance(100)
        daemon.take_up()
        _work(world, daemon)
        assert world.target.high_watermark == 1
        (pipe,) = daemon.pipes_for(*FETCH)
        world.source.append(1, world.now_ms)
        world.settle()
        assert world.hear(pipe)
        world.source.append(1, world.now_ms)
        assert world.deliver(pipe)
        (produce,) = daemon.pipes_for(*PRODUCE)
        produce.lose()
        world.settle()
        for lost in list(world.zombies):
            world.drop(lost)
        daemon.succeed()
        world.settle()
        attend(world, daemon, *CONTROL)
        assert daemon.copy.is_copying()
        world.hear(pipe)
        for _ in range(3):
            attend(world, daemon, *CONTROL, *PRODUCE, commits=True)
            world.check()
        _work_rounds(world, daemon, 8)
    return world


def test_an_answer_belongs_to_the_partition_that_asked() -> None:
    """A successor of the same name may be in an episode of the same number."""
    assert _answer_for_a_successor(SOUND).target.data() == [(0, 1), (1, 2), (2, 3)]

    by_name = ((SourceReader, "_take", _takes_by_name), (SourceReader, "_send", _remembers_who_asked))
    with pytest.raises(Violation, match="no copy of the source"):
        _answer_for_a_successor(_with(SOUND, *by_name))


class _OnlyWhileCopying(PartitionCopy):
    """Takes a displaced batch of a paused partition for a stranger's."""

    __slots__ = ()

    def _note_displaced(self, batch: Batch, base_offset: int) -> bool:
        return self.phase is Phase.COPYING and super()._note_displaced(batch, base_offset)


def _displaced_while_paused(rules: Rules) -> World:
    """Let a batch land behind a marker too many, and the partition be paused before it is told."""
    world = World(rules=rules, offsets=AUTO)
    with at_home(world, 0):
        daemon = _filled(world)
        world.source.append(1, world.now_ms)
        _work(world, daemon, answers=False)
        _ghost(world)
        (pipe,) = daemon.pipes_for(*PRODUCE)
        assert world.deliver(pipe)
        world.target.commit()
        daemon.pause()
        assert world.hear(pipe)
        world.check()
        daemon.unpause()
        world.source.append(1, world.now_ms)
        for _ in range(4):
            world.advance(5_000)
            _work(world, daemon)
    return world


def test_a_batch_of_a_paused_partition_that_landed_further_on_is_its_own() -> None:
    """The difference is recorded before the copy goes on, as if it had not been paused."""
    world = _displaced_while_paused(SOUND)
    assert world.target.data() == [(2, 2), (3, 3)]
    assert world.current.displaced_from() is None

    with pytest.raises(Violation, match="stopped without cause"):
        _displaced_while_paused(_with(SOUND, (pump, "PartitionCopy", _OnlyWhileCopying)))


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
        first = _started(world)
        _work_rounds(world, first, 2, answers=False)
        _work(world, first, answers=False)
        (pipe,) = first.pipes_for(*PRODUCE)
        assert world.deliver(pipe)
        world.target.tail_may_stay = True
        world.kill_daemon(first)
        second = _started(world)
        for _ in range(4):
            world.advance(5_000)
            _work(world, second, answers=False)
            for pipe in second.pipes_for(*PRODUCE):
                world.deliver(pipe)
            world.check()
        world.target.commit()
        _work_rounds(world, second, 6)
    return world


def test_a_tail_behind_what_was_taken_over_is_waited_for() -> None:
    """What was taken over is not compared; our last sequence has to be seen all the same."""
    assert _tail_behind_what_was_taken_over(SOUND).current.copied() == [(2, 1)]

    with pytest.raises(Violation, match="no copy of the source"):
        _tail_behind_what_was_taken_over(_with(SOUND, (attacher, "decide", _sees_no_tail_taken_over)))


def _tail_that_stays_uncommitted(*, log_end_shown: bool) -> World:
    """Append an old batch that nothing guards, and let its replicas follow only after another daemon's attach."""
    world = World(log_end_shown=log_end_shown)
    with at_home(world, 0):
        world.source.append(1, world.now_ms - 2 * EXPIRY_MS)
        first = _started(world)
        while not any(pipe.undelivered for pipe in first.pipes_for(*PRODUCE)):
            world.advance(1_000)
            _work(world, first, answers=False)
        (pipe,) = first.pipes_for(*PRODUCE)
        assert world.deliver(pipe)
        world.target.tail_may_stay = True
        world.kill_daemon(first)
        world.target.expire(world.now_ms)
        second = _started(world)
        for _ in range(16):
            world.advance(5_000)
            _work(world, second, answers=False)
            for pipe in second.pipes_for(*PRODUCE):
                world.deliver(pipe)
        world.target.commit()
        _work_rounds(world, second, 6)
    return world


def test_only_the_leaders_own_end_shows_a_tail_that_stays_uncommitted() -> None:
    """Without it this is the limit of the doubt time: with the guard off, the high watermark shows nothing of it."""
    assert _tail_that_stays_uncommitted(log_end_shown=True).target.data() == [(0, 1)]

    with pytest.raises(Violation, match="no copy of the source"):
        _tail_that_stays_uncommitted(log_end_shown=False)


def _lost_answer_to_an_old_batch(rules: Rules) -> World:
    """Lose the connection with an old batch on its way, which nothing guards; it arrives behind all that follows."""
    world = World(rules=_with(rules, *_LETS_AGE))
    with at_home(world, 0):
        daemon = _started(world)
        world.source.append(2, world.now_ms)
        _work(world, daemon)
        world.source.append(2, world.now_ms - 2 * EXPIRY_MS)
        _work(world, daemon, answers=False)
        (pipe,) = daemon.pipes_for(*PRODUCE)
        pipe.lose()
        world.settle()
        (zombie,) = world.zombies
        world.advance(5_000)
        _work(world, daemon)
        world.target.expire(world.now_ms)
        world.deliver(zombie)
        world.target.commit()
        world.check()
        for _ in range(8):
            world.advance(5_000)
            _work(world, daemon)
    return world


def test_a_write_without_an_answer_is_waited_out() -> None:
    """It may still arrive, and nobody remembers by then that its records are there."""
    assert [record for _, record in _lost_answer_to_an_old_batch(SOUND).target.data()] == [1, 2, 3, 4]

    with pytest.raises(Violation, match="no copy of the source"):
        _lost_answer_to_an_old_batch(_with(SOUND, (ClusterSpec, "doubt_seconds", 0.0)))


def _pipe_with_markers(world: World, daemon: Daemon) -> Pipe:
    """Go on until a fill is on its way; return on which connection."""
    moves = itertools.cycle((_read, _step, _wait_a_moment))
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
        daemon = _started(world)
        for _ in range(3):
            _work(world, daemon)
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
            _work(world, daemon)
        world.deliver(lost)
        world.target.commit()
        world.check()
        for _ in range(10):
            world.advance(5_000)
            _work(world, daemon)
    return world


def test_a_fill_without_an_answer_is_waited_out() -> None:
    """A marker is appended whatever stands before it: the lost one would be one too many."""
    assert _lost_answer_to_a_fill(SOUND).target.data() == [(0, 1), (2, 3)]

    def at_once(self: Guard, _slot: Slot) -> bool:
        return self.claim.effective_since() is not None

    with pytest.raises(Violation, match="no copy of the source"):
        _lost_answer_to_a_fill(_with(SOUND, (Guard, "may_fill", at_once)))
