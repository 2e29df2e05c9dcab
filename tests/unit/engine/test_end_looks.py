"""Logs that end in a hole, though no cleaner runs on them any more: their leader proves it, or nothing is concluded."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any, cast

import pytest

from replicator.core.attach_facts import Role, Writer, Writers
from replicator.core.intake import Fill
from replicator.core.offset_map import Place
from replicator.core.partition_values import TargetLimits
from replicator.engine.look import Side
from replicator.engine.pump import Pump
from replicator.engine.slot import Slot, release
from replicator.model.names import TopicPartition
from replicator.model.security import ClusterSpec
from replicator.model.spec import FlowSpec, Offsets, Pattern, PatternKind, Selection
from replicator.model.states import Reason
from replicator.wire.cluster import Cluster
from tests.shards import shard_with
from tests.unit.engine.log_broker import Log, LogBroker, written

FLOW = FlowSpec("f", "east", "west", Selection((Pattern(PatternKind.GLOB, "*"),)), offsets=Offsets.IDENTICAL)
WRITER = Writers(Writer(100, 0, Role.COPYING, 101, 0, 102))
ZERO, ONE = TopicPartition("orders-1", 0), TopicPartition("orders-1", 1)


class World:
    """The real pump between two brokers with logs; nothing is sent to the target, only shown as acknowledged."""

    def __init__(self, *, tells_local: bool = True) -> None:
        self.source, self.target = LogBroker(1, tells_local=tells_local), LogBroker(1)
        self.tasks: list[asyncio.Task[None]] = []
        self.pump: Any = None

    async def begin(self) -> None:
        """Listen, and make the pump."""
        sides = []
        for alias, broker in (("east", self.source), ("west", self.target)):
            await broker.open()
            cluster = Cluster(ClusterSpec(alias, (("127.0.0.1", broker.port),)))
            await cluster.open()
            await cluster.refresh(["orders-1"])
            sides.append(Side(cluster, cluster.topic_ids))
        watcher = SimpleNamespace(
            changed=lambda _slot, _before, _text: None,
            activated=lambda slot: setattr(slot, "active", True),
            intact_below=lambda _slot, _end: 0,
            topics_stale=lambda: None,
        )
        shards = SimpleNamespace(of=lambda _where: shard_with(), close=lambda: None)
        maps = SimpleNamespace(forget=lambda _slot: None, refresh=lambda _slot: False, refresh_from_end=self._no_news)
        others: Any = {"watcher": watcher, "maps": maps}
        self.pump = Pump(FLOW, sides[0], sides[1], WRITER, cast("Any", shards), **others)
        self.pump.ready = self.land
        self.pump.writers_kick = lambda: None

    @staticmethod
    async def _no_news(_slot: Slot) -> bool:
        return False

    def add(self, where: TopicPartition, source: Log, target: Log) -> Slot:
        """Begin with a partition that was copied from before."""
        self.source.logs[where], self.target.logs[where] = source, target
        slot: Slot = self.pump.add(where, where, TargetLimits(1 << 20, 1000))
        slot.active = True
        return slot

    def run(self) -> None:
        """Let the pump run."""
        self.tasks.append(asyncio.create_task(self.pump.run()))

    async def until(self, what: Any) -> None:
        """Wait for something."""
        async with asyncio.timeout(20):
            while not what():  # noqa: ASYNC110 - what is waited for is the state of real objects, no event
                await asyncio.sleep(0.005)

    def land(self, slot: Slot) -> None:
        """Let the target take what is queued, at once; fills wait."""
        while (item := slot.copy.next_to_send(self.pump.now_ms(), claimed=True)) is not None:
            assert slot.copy.accepted(item, slot.copy.episode, item.base_offset)
            release([item])

    def close(self) -> None:
        """Stop."""
        for task in self.tasks:
            task.cancel()
        self.pump.close()
        for cluster in (self.pump.source.cluster, self.pump.target.cluster):
            cluster.close()
        self.source.close()
        self.target.close()


@pytest.fixture
async def worlds() -> AsyncIterator[list[World]]:
    """Worlds, closed afterwards."""
    made: list[World] = []
    yield made
    for each in made:
        each.close()


async def opened(worlds: list[World], *, tells_local: bool = True) -> World:
    """Return a world."""
    world = World(tells_local=tells_local)
    worlds.append(world)
    await world.begin()
    return world


def copied(count: int, end: int) -> Log:
    """Return a target log with `count` records of ours, and markers or nothing behind them."""
    return Log([written(0, count, producer_id=100)], end=end)


async def test_the_end_of_a_log_that_was_compacted_once_is_filled(worlds: list[World]) -> None:
    """The lag stayed above 0 until the next record came."""
    world = await opened(worlds)
    slot = world.add(ZERO, Log([written(0, 50), written(50, 40)], end=100), copied(50, 50))
    world.run()
    await world.until(lambda: slot.copy.head_fill is not None)

    assert slot.copy.head_fill == Fill(90, 10)
    assert (slot.copy.acked_offset, slot.copy.next_offset) == (90, 100)


async def test_an_attach_behind_such_an_end_goes_on(worlds: list[World]) -> None:
    """It waited for a leader for ever, as the source "gives nothing"."""
    world = await opened(worlds)
    slot = world.add(ZERO, Log([written(0, 90)], end=100), copied(90, 100))
    world.run()
    await world.until(slot.copy.is_copying)

    assert slot.copy.next_offset == 100


async def test_the_last_record_may_be_in_the_hole(worlds: list[World]) -> None:
    """A tombstone that was copied and cleaned away since is no lost history: its leader holds nothing at its offset."""
    world = await opened(worlds)
    slot = world.add(ZERO, Log([written(0, 90)], end=100), copied(95, 100))
    world.run()
    await world.until(lambda: slot.copy.is_copying() or slot.copy.is_faulted())

    assert (slot.copy.reason, slot.copy.next_offset) == (None, 100)


SHOWS_TOO_LITTLE = {
    "a remote tier that is slow": (Log([written(0, 90)], end=100, local=100, slow=True), True),
    "a leader that does not tell": (Log([written(0, 90)], end=100), False),
}


@pytest.mark.parametrize("name", SHOWS_TOO_LITTLE)
async def test_an_end_that_is_not_proven_is_waited_for(worlds: list[World], name: str) -> None:
    """Nothing is filled, and the attach says what it waits for."""
    log, tells_local = SHOWS_TOO_LITTLE[name]
    world = await opened(worlds, tells_local=tells_local)
    slot = world.add(ZERO, log, copied(90, 100))
    reading = world.add(ONE, Log([written(0, 90)], end=90), copied(90, 90))
    world.run()
    await world.until(lambda: slot.copy.reason is not None and reading.copy.is_copying())
    there = world.source.logs[ONE]
    there.end, there.local, there.slow = 95, log.local, log.slow
    reading.lag.observe(95, world.pump.now())
    world.source.looks.clear()
    await world.until(lambda: (ONE, 90) in world.source.looks)
    await asyncio.sleep(0.2)

    assert slot.copy.reason is Reason.WAITING_FOR_LEADER
    assert "gives nothing from offset" in (slot.copy.detail or "")
    assert reading.copy.head_fill is None
    assert reading.copy.next_offset <= 90


async def test_what_stands_above_an_open_transaction_is_no_hole(worlds: list[World]) -> None:
    """A reader of committed records is shown nothing there."""
    world = await opened(worlds)
    slot = world.add(ZERO, Log([written(0, 90)], end=100, stable=95), copied(90, 90))
    world.run()
    await world.until(lambda: slot.copy.head_fill is not None)

    assert slot.copy.head_fill == Fill(90, 5)


async def test_looks_at_ends_are_bounded_and_come_round(worlds: list[World], monkeypatch: pytest.MonkeyPatch) -> None:
    """Partitions that only wait for their turn are not asked for all at once, and keep nobody else from being."""
    monkeypatch.setattr("replicator.engine.end_looks._LOOKS_AT_ONCE", 1)
    monkeypatch.setattr("replicator.engine.end_looks._IN_VAIN_MAX", 1)
    world = await opened(worlds)
    waits = world.add(ZERO, Log([written(0, 50), written(50, 50)], end=100), copied(50, 50))
    ends = world.add(ONE, Log([written(0, 50)], end=100), copied(50, 50))
    world.pump.queued_bytes_max = 0  # nothing is read
    world.run()
    await world.until(lambda: waits.copy.is_copying() and ends.copy.is_copying())
    for slot in (waits, ends):
        slot.lag.observe(100, world.pump.now())
    world.source.looks.clear()
    await world.until(lambda: ends.copy.head_fill is not None)

    assert waits.copy.head_fill is None
    assert ends.copy.head_fill == Fill(50, 50)
    assert len([where for where, _ in world.source.looks if where == ZERO]) <= 4


def _flipped(raw: bytes) -> bytes:
    """Return a batch one bit of whose records is another."""
    return raw[:-2] + bytes([raw[-2] ^ 1]) + raw[-1:]


async def test_a_damaged_target_stops_its_partition_and_says_what_helps(worlds: list[World]) -> None:
    """Whether it is met at the end of the log, or where a batch landed behind something unknown."""
    world = await opened(worlds)
    source = Log([written(0, 100)], end=100)
    at_end = world.add(ZERO, source, Log([_flipped(written(0, 100, producer_id=100))], end=100))
    overlapping = [written(0, 60, producer_id=100), written(50, 50, producer_id=100)]
    behind = world.add(ONE, source, Log(overlapping, end=100))
    behind.copy.displaced = Place(90, 95)
    world.run()
    await world.until(lambda: at_end.copy.is_faulted() and behind.copy.is_faulted())

    for slot in (at_end, behind):
        assert slot.copy.reason is Reason.CORRUPT_BATCH
        assert f"{slot.target} of the target west holds a damaged batch" in (slot.copy.detail or "")
        assert "--how recreate" in (slot.copy.detail or "")
