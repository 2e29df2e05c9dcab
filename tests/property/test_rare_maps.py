"""Histories of offset maps, and of gaps, too rare to be met by chance, each with its rule broken once."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from replicator.core.offsets.offset_map import OffsetMap
from replicator.engine.copy.partitions.live_maps import OffsetMaps
from replicator.engine.copy.partitions.partition import Slot
from replicator.model.spec import Offsets
from replicator.model.status.states import Reason
from tests.copy_world.daemon import Daemon
from tests.copy_world.home import at_home
from tests.copy_world.rules import DOUBT_MS, SOUND, Rules, Violation
from tests.copy_world.world import World
from tests.property.scripted import started, started_only, step, wait, work

MAPPED, AUTO = Offsets.MAPPED, Offsets.AUTO


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
        first = started(world)
        for _ in range(3):
            work(world, first)
        assert world.target.high_watermark == 2
        wait(world, first, 5_000)
        world.source.truncate(1)
        world.source.append(1, world.now_ms, "control")
        world.source.append(1, world.now_ms)
        world.kill_daemon(first)
        second = started_only(world)
        _wait_for_the_claim(world, second)
        while second.copy.track is None or second.copy.track.offsets.end.target < world.target.high_watermark:
            step(world, second)
        second.persist()
        for _ in range(4):
            work(world, second)
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
        daemon = started(world)
        wait(world, daemon, DOUBT_MS + 5_000)
        for _ in range(12):
            world.source.append(1, world.now_ms)
            world.source.append(1, world.now_ms, "control")
            work(world, daemon)
            world.advance(100)  # the place is from before the claim, at first
            work(world, daemon)
            daemon.persist()
            work(world, daemon)
        assert world.target.high_watermark == 12
        world.source.delete_records(world.source.end - 4)
        world.target.retain_from(world.target.log_end - 2)
        world.source.bump_epoch()
        world.source.append(1, world.now_ms)
        for _ in range(3):
            daemon.pump.leaders_stale()
            work(world, daemon)
            world.advance(1_000)
        daemon.persist()
        work(world, daemon)
        assert daemon.copy.track is not None
        assert daemon.copy.track.offsets.begin.target > 0
        world.kill_daemon(daemon)
        second = started(world)
        for _ in range(3):
            work(world, second)
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
        daemon = started(world)
        work(world, daemon)
        daemon.pause()
        world.source.append(2, world.now_ms)
        world.source.append(1, world.now_ms, "too_large")
        world.source.delete_records(3)
        daemon.unpause()
        world.advance(5_000)
        work(world, daemon)
        assert daemon.copy.reason is Reason.OVERTAKEN_BY_RETENTION
        world.current.give_up(1, 3)
        daemon.resolve()
        for _ in range(12):
            world.advance(5_000)
            work(world, daemon)
    return world


def test_a_gap_that_was_given_up_is_filled_whatever_comes_behind_it() -> None:
    """What comes behind it may have to wait until it is filled, and nobody else would say that there is work."""
    world = _given_up_before_what_cannot_be_taken()

    assert world.target.high_watermark == 3
    assert world.daemons[0].copy.reason is Reason.RECORD_TOO_LARGE
