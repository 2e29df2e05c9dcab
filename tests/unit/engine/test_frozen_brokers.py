"""Looks at many partitions while one of their brokers keeps its connections open and answers nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any, cast

import pytest

from replicator.core.copy.attaching.facts import Resume
from replicator.core.copy.machine import PartitionCopy
from replicator.core.copy.values import TargetLimits
from replicator.engine.copy.partitions.partition import Slot
from replicator.engine.copy.partitions.recorded import Recorded
from replicator.engine.copy.problems import Problems
from replicator.engine.copy.watching.log_starts import LogStarts
from replicator.engine.copy.watching.target_ends import TargetEnds
from replicator.engine.logs.side import Side
from replicator.engine.offsets.source_end_reader import SourceEndReader
from replicator.model.names import TopicPartition
from replicator.model.security import ClusterSpec
from replicator.model.spec import Isolation
from replicator.wire.cluster import Cluster, Purpose
from tests.pumps import pump_with
from tests.unit.engine.log_broker import Log, LogBroker

ME = "me"
SECONDS_MAX = 0.3


class World:
    """A cluster of three brokers, one of which freezes; every third partition is its own."""

    def __init__(self) -> None:
        self.brokers = [LogBroker(node) for node in (1, 2, 3)]
        self.settled: list[Slot] = []
        self.pump: Any = None

    async def begin(self) -> None:
        """Listen, and make the partitions."""
        for broker in self.brokers:
            broker.cluster = [*self.brokers]
            await broker.open()
        cluster = Cluster(ClusterSpec("west", (("127.0.0.1", self.brokers[0].port),)))
        await cluster.open()
        await cluster.refresh([f"orders-{broker.node}" for broker in self.brokers])
        side = Side(cluster, cluster.topic_ids)
        slots = {}
        for number in range(4):
            for broker in self.brokers:
                slot = _slot(TopicPartition(f"orders-{broker.node}", number))
                slots[slot.source] = slot
                broker.logs[slot.source] = Log(end=20, start=3)
        self.pump = pump_with(
            now=asyncio.get_running_loop().time,
            slots=slots,
            source=side,
            target=side,
            isolation=Isolation.READ_UNCOMMITTED,
            take_silence=lambda _: None,
            problems=Problems("east", "west"),
            settle=lambda slot, _: self.settled.append(slot),
        )
        for broker in self.brokers:  # while all answer: a connection that is open stays open
            await cluster.connection(broker.node, Purpose.CONTROL)
        self.brokers[0].frozen = True

    @property
    def sound(self) -> set[Slot]:
        """The partitions whose broker answers."""
        return {slot for slot in self.pump.slots.values() if slot.source.topic != "orders-1"}

    def close(self) -> None:
        """Stop."""
        self.pump.source.cluster.close()
        for broker in self.brokers:
            broker.close()


def _slot(where: TopicPartition) -> Slot:
    copy = PartitionCopy(where, TargetLimits(1 << 20, 0))
    copy.resume(Resume(10, 10, None))
    shard = SimpleNamespace(works=True, claim=SimpleNamespace(holder=ME))
    return Slot(where, where, copy, cast("Any", shard), Recorded(active=True))


@pytest.fixture
async def world(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    """A world in which answers are waited for briefly, and few partitions are asked for at once."""
    for module, pieces in (
        ("offsets.source_end_reader", "_PARTITIONS_PER_REQUEST"),
        ("copy.watching.target_ends", "_ASKED_AT_ONCE"),
        ("copy.watching.log_starts", "_ASKED_AT_ONCE"),
    ):
        monkeypatch.setattr(f"replicator.engine.{module}.{pieces}", 2)
        monkeypatch.setattr(f"replicator.engine.{module}._ANSWER_SECONDS_MAX", SECONDS_MAX)
    one = World()
    await one.begin()
    yield one
    one.close()


async def test_ends_of_the_source(world: World) -> None:
    """The first piece that nobody answered ended the look, and the next look began with it again."""
    async with asyncio.timeout(2 * SECONDS_MAX):
        await SourceEndReader(cast("Any", world.pump)).refresh()

    seen = {slot for slot in world.pump.slots.values() if slot.lag.observed_end == 20}
    assert seen == world.sound


async def test_ends_of_the_target(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """They had no bound but that of any request; now what is not known is told once it has lasted."""
    ends = TargetEnds(cast("Any", world.pump), ME)
    async with asyncio.timeout(2 * SECONDS_MAX):
        await ends.check()
    assert set(world.settled) == world.sound
    assert not world.pump.context.problems.by_subject, "a leader may have moved"

    monkeypatch.setattr("replicator.engine.copy.watching.target_ends._UNKNOWN_SECONDS", 0.0)
    await ends.check()
    told = world.pump.context.problems.by_subject["west ends of idle mirrors"]
    assert "it is unknown whether somebody else writes to 4 idle partitions: the end of orders-1-" in told

    world.pump.slots.clear()
    await ends.check()
    assert not world.pump.context.problems.by_subject


async def test_starts_of_logs(world: World) -> None:
    """Neither those."""
    flow = SimpleNamespace(follow_log_start=False)
    async with asyncio.timeout(4 * SECONDS_MAX):
        await LogStarts(cast("Any", flow), cast("Any", world.pump)).check()

    assert {slot for slot in world.pump.slots.values() if slot.seen.target_start == 3} == world.sound
