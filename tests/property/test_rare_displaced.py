"""Histories of batches that land further on, too rare to be met by chance, each with its rule broken once."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest

from replicator.core.copy.attaching.attach import decide
from replicator.core.copy.attaching.facts import Decision, Remap, SourceLog, TailPosition, TargetLog, Wait, Writer
from replicator.core.copy.machine import PartitionCopy
from replicator.core.copy.values import Batch, Phase
from replicator.engine.copy import pump
from replicator.engine.copy.attaching import attacher, facts
from replicator.engine.copy.partitions.live_maps import OffsetMaps
from replicator.engine.copy.partitions.partition import Slot
from replicator.engine.copy.partitions.recorded import Cleaning
from replicator.engine.state.topic.log import Change, StateLog
from replicator.model.batch import sequence_after
from replicator.model.spec import Offsets
from replicator.model.status.states import Reason
from tests.copy_world.daemon import Daemon
from tests.copy_world.home import at_home
from tests.copy_world.rules import SOUND, Rules, Violation
from tests.copy_world.steps import PRODUCE
from tests.copy_world.world import World
from tests.property.scripted import filled, ghost, started, started_only, step, with_patches, work, work_rounds

MAPPED, AUTO = Offsets.MAPPED, Offsets.AUTO
_INIT_PRODUCER_ID = 22


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
        daemon = filled(world)
        ghost(world)
        world.source.append(2, world.now_ms)
        work(world, daemon, answers=False)
        (pipe,) = daemon.pipes_for(*PRODUCE)
        world.deliver(pipe)
        world.target.commit()
        assert world.target.data()
        world.target.retain_from(world.target.log_end - left)
        world.hear(pipe)
        work_rounds(world, daemon, 4)
        world.source.append(2, world.now_ms)
        work_rounds(world, daemon, 4)

        assert (daemon.copy.phase, daemon.copy.shift) == (Phase.COPYING, 1)
        assert [target for target, _ in world.target.data()][-2:] == [4, 5]
        assert said == ["offsets are identical+1 from 1 on: retention removed what was before that, unseen"]


def _two_daemons_record_a_difference(rules: Rules) -> World:
    """Let one decide what to record, and wait; the other records it, and later another difference.

    All of it within seconds, or the first would be told that it waited for too long.
    """
    world = World(rules=rules, offsets=AUTO)
    with at_home(world, 0):
        daemon = filled(world)
        world.source.append(1, world.now_ms)  # what is remembered of it lets another go on without the claim
        work_rounds(world, daemon, 2)
        world.kill_daemon(daemon)
        ghost(world)
        world.target.commit()
        world.source.append(2, world.now_ms)
        slow = started_only(world)
        while not any(asked.api_key == _INIT_PRODUCER_ID for pipe in slow.pipes for asked in pipe.undelivered):
            step(world, slow)
        quick = started(world)
        work(world, quick)
        ghost(world)
        world.source.append(2, world.now_ms)
        work(world, quick)
        world.advance(1_000)
        work(world, quick)
        assert world.target.data() == [(1, 2), (3, 3), (4, 4), (6, 5), (7, 6)]
        assert world.current.displaced_from() is None
        for daemon in (slow, quick):
            for _ in range(4):
                work(world, daemon)
                world.advance(1_000)
    return world


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
        daemon = filled(world)
        world.source.append(1, world.now_ms)
        work(world, daemon, answers=False)
        ghost(world)
        (pipe,) = daemon.pipes_for(*PRODUCE)
        assert world.deliver(pipe)
        world.target.commit(1)
        world.target.tail_may_stay = True
        pipe.lose()
        world.settle()
        for _ in range(3):
            world.advance(5_000)
            work(world, daemon, answers=False)
        for pipe in daemon.pipes_for(*PRODUCE):
            world.deliver(pipe)
            world.check()
        world.target.commit()
        work_rounds(world, daemon, 5)
    return world


def test_a_sequence_that_follows_from_the_end_shows_nothing_where_markers_may_be_too_many() -> None:
    """As many markers too many below the end as there are records behind it look like none of either."""
    assert [record for _, record in _displaced_batch_behind_the_end(SOUND).target.data()] == [2]

    with pytest.raises(Violation, match="no copy of the source"):
        _displaced_batch_behind_the_end(with_patches(SOUND, (attacher, "decide", _trusts_a_sequence)))


def _displaced_beside_a_hole(rules: Rules) -> Daemon:
    """Let a batch land behind a marker too many, and a cleaner take the source's record at just that offset."""
    world = World(rules=rules, offsets=AUTO)
    with at_home(world, 0):
        daemon = filled(world)
        world.source.append(1, world.now_ms)
        work(world, daemon, answers=False)
        ghost(world)
        (pipe,) = daemon.pipes_for(*PRODUCE)
        assert world.deliver(pipe)
        world.target.commit()
        world.kill_daemon(daemon)  # with what it would have been told
        world.source.append(1, world.now_ms, "end")
        second = started(world)
        world.check()
        work_rounds(world, second, 8)
    return second


async def _stands_where_it_should(*_: object) -> TailPosition:
    """Believe that a cleaner took what is missing."""
    return TailPosition.AS_RECORDED


def test_a_record_that_a_cleaner_may_have_taken_is_none_that_stands_further_on() -> None:
    """Only the markers before it tell: the source has a record where they stand."""
    assert _displaced_beside_a_hole(SOUND).copy.reason is Reason.SOURCE_TRUNCATED

    with pytest.raises(Violation, match="a difference that is not recorded"):
        _displaced_beside_a_hole(with_patches(SOUND, (facts, "tail_position_of", _stands_where_it_should)))


def _displaced_and_lost(rules: Rules, *, compacted: bool, left: int) -> Daemon:
    """Let a batch land behind markers too many, and the source lose all that it is a copy of.

    At its last offset the source has a hole; where the others stand it has `left` records of its own.
    """
    world = World(rules=rules, offsets=AUTO)
    with at_home(world, 0):
        daemon = filled(world)
        world.source.append(2, world.now_ms)
        work(world, daemon, answers=False)
        ghost(world, 2)
        (pipe,) = daemon.pipes_for(*PRODUCE)
        assert world.deliver(pipe)
        world.target.commit()
        world.kill_daemon(daemon)  # with what it would have been told
        assert [target for target, _ in world.target.data()] == [3, 4]
        world.source.append(1, world.now_ms, "" if left else "end")
        world.source.append(1, world.now_ms, "end")
        world.source.delete_records(3)
        world.source.append(1, world.now_ms)
        second = started_only(world)
        second.slot.recorded.cleaning = Cleaning(possible=compacted)
        work_rounds(world, second, 8)
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
            with_patches(SOUND, (facts, "tail_position_of", _stands_where_it_should)), compacted=compacted, left=left
        )


class _OnlyWhileCopying(PartitionCopy):
    """Takes a displaced batch of a paused partition for a stranger's."""

    __slots__ = ()

    def _note_displaced(self, batch: Batch, base_offset: int) -> bool:
        return self.phase is Phase.COPYING and super()._note_displaced(batch, base_offset)


def _displaced_while_paused(rules: Rules) -> World:
    """Let a batch land behind a marker too many, and the partition be paused before it is told."""
    world = World(rules=rules, offsets=AUTO)
    with at_home(world, 0):
        daemon = filled(world)
        world.source.append(1, world.now_ms)
        work(world, daemon, answers=False)
        ghost(world)
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
            work(world, daemon)
    return world


def test_a_batch_of_a_paused_partition_that_landed_further_on_is_its_own() -> None:
    """The difference is recorded before the copy goes on, as if it had not been paused."""
    world = _displaced_while_paused(SOUND)
    assert world.target.data() == [(2, 2), (3, 3)]
    assert world.current.displaced_from() is None

    with pytest.raises(Violation, match="stopped without cause"):
        _displaced_while_paused(with_patches(SOUND, (pump, "PartitionCopy", _OnlyWhileCopying)))
