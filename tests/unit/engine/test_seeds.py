"""Seeds that wait keep nobody else waiting, and end with the wish that they are for."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest

from replicator.core.copy.attaching.facts import Role, Writer, Writers
from replicator.core.copy.values import Phase, TargetLimits
from replicator.engine.copy.pump import Pump
from replicator.engine.copy.writing import seeder as seed
from replicator.engine.logs.side import Side
from replicator.model.names import TopicPartition
from tests.shards import shard_with
from tests.unit.engine.test_chosen import FLOW
from tests.unit.engine.test_chosen import Side as Sided

if TYPE_CHECKING:
    from collections.abc import Callable

    from replicator.engine.copy.partitions.partition import Slot

_PARTITIONS = 12
_SECONDS = 20.0


class World:
    """The real pump and its seeder over the partitions of two shards; the target's ends are asked for, and held back.

    Attributes:
        claims: Whether the claim on each shard is ours.
        asked: The partitions whose ends were asked for, in order.
        answers: Set when that is answered: their logs are where they should be.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.claims = [True, True]
        self.asked: list[int] = []
        self.at_once = self.at_once_max = 0
        self.answers = asyncio.Event()
        self.source, self.target = Sided("east"), Sided("west")
        for side in (self.source, self.target):
            side.add("t", partitions=_PARTITIONS)
        nothing: Callable[..., None] = lambda *_, **__: None  # noqa: E731 - a hole to call into
        self.shards = [
            shard_with(SimpleNamespace(effective_since=lambda of=number: 0.0 if self.claims[of] else None, number=1))
            for number in range(2)
        ]
        self.pump = Pump(
            FLOW,
            Side(self.source, {"t": bytes([1] * 16)}),
            Side(self.target, {"t": bytes([1] * 16)}),
            Writers(Writer(7, 0, Role.COPYING, 8, 0, 9)),
            cast("Any", SimpleNamespace(of=lambda where: self.shards[where.partition == _PARTITIONS - 1])),
            producers={},
            watcher=cast("Any", SimpleNamespace(changed=nothing, topics_stale=nothing, seeding=self._done)),
            maps=cast("Any", SimpleNamespace()),
        )
        monkeypatch.setattr(seed, "_CLAIM_POLL_SECONDS", 0.001)
        monkeypatch.setattr(seed, "of_slot", nothing)
        monkeypatch.setattr(seed, "confirm", self._done)
        monkeypatch.setattr("replicator.engine.copy.writing.seeder.control.list_offsets", self._ends)
        monkeypatch.setattr("replicator.engine.copy.writing.seeder.control.delete_records", self._done)
        monkeypatch.setattr(self.target, "connection", self._done)
        self.slots = [self._slot(number) for number in range(_PARTITIONS)]

    def _slot(self, number: int) -> Slot:
        where = TopicPartition("t", number)
        slot = self.pump.add(where, where, TargetLimits(1 << 20, 0))
        slot.copy.attach_again()
        return slot

    async def _done(self, *_: object) -> None:
        """It is done."""

    async def _ends(self, _connection: object, where: list[TopicPartition], *_: object, **__: object) -> Any:
        self.asked += [one.partition for one in where]
        self.at_once += 1
        self.at_once_max = max(self.at_once_max, self.at_once)
        await self.answers.wait()
        self.at_once -= 1
        return {one: SimpleNamespace(value=5, error=0) for one in where}

    async def until(self, what: Callable[[], bool]) -> None:
        """Wait for something."""
        async with asyncio.timeout(_SECONDS):
            while not what():  # noqa: ASYNC110 - nothing tells of it
                await asyncio.sleep(0.001)


@pytest.fixture
async def world(monkeypatch: pytest.MonkeyPatch) -> World:
    """A world."""
    return World(monkeypatch)


async def test_seeds_that_wait_for_a_claim_hold_nobody_up(world: World) -> None:
    """Eleven wait for a claim that another daemon has: the one of the other shard had no place, for ever."""
    world.claims = [False, True]
    world.answers.set()
    for slot in world.slots:
        world.pump.seed(slot, 5)
    last = world.slots[-1]
    await world.until(lambda: last.copy.phase is not Phase.SEEDING)
    assert last.recorded.seeded_to == 5
    assert {slot.copy.phase for slot in world.slots[:-1]} == {Phase.SEEDING}
    assert world.asked == [_PARTITIONS - 1]


async def test_a_claim_that_is_lost_in_line_is_waited_for_without_a_place(world: World) -> None:
    """More of them than places: those behind had theirs when they came, and not any more when it is their turn."""
    for slot in world.slots[:-1]:
        world.pump.seed(slot, 5)
    await world.until(lambda: len(world.asked) == seed._SEEDS_AT_ONCE_MAX)
    world.claims = [False, True]
    world.answers.set()
    world.pump.seed(world.slots[-1], 5)
    await world.until(lambda: world.slots[-1].copy.phase is not Phase.SEEDING)
    assert len(world.asked) == seed._SEEDS_AT_ONCE_MAX + 1


@pytest.mark.parametrize("claimed", [False, True], ids=["waits for the claim", "is at work"])
async def test_a_paused_partition_is_not_seeded_and_a_resumed_one_by_one_task(world: World, *, claimed: bool) -> None:
    """It went on; and each resume started another one beside it."""
    world.claims = [claimed, True]
    slot = world.slots[0]
    world.pump.seed(slot, 5)
    if claimed:
        await world.until(lambda: bool(world.asked))
    for _ in range(3):
        world.pump.pause(slot)
        slot.copy.attach_again()  # as the attach loop does once it is resumed, and
        world.pump.seed(slot, 5)  # what it decides then
        await asyncio.sleep(0.01)
    world.pump.pause(slot)
    world.claims = [True, True]
    world.answers.set()
    await world.until(lambda: not world.pump._tasks._tasks)
    assert [slot.copy.phase] == [Phase.PAUSED]
    assert len(world.asked) <= 1

    slot.copy.attach_again()
    world.pump.seed(slot, 5)
    await world.until(lambda: slot.copy.phase is not Phase.SEEDING)
    assert world.at_once_max == 1
    assert len(world.asked) <= 2
    assert [slot.copy.phase] == [Phase.ATTACHING]
