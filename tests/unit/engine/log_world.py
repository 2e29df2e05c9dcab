"""The real pump between two brokers that hold logs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any, cast

import pytest

from replicator.core.copy.attaching.facts import Role, Writer, Writers
from replicator.core.copy.values import TargetLimits
from replicator.engine.copy.partitions.partition import Slot, release
from replicator.engine.copy.pump import Pump
from replicator.engine.logs.side import Side
from replicator.model.names import TopicPartition
from replicator.model.security import ClusterSpec
from replicator.model.spec import FlowSpec, Offsets, Pattern, PatternKind, Selection
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
            activated=lambda _slot: None,
            intact_below=lambda _slot, _end: 0,
            topics_stale=lambda: None,
        )
        shards = SimpleNamespace(of=lambda _where: shard_with(), close=lambda: None)
        maps = SimpleNamespace(forget=lambda _slot: None, refresh=lambda _slot: False, refresh_from_end=self._no_news)
        others: Any = {"producers": {}, "watcher": watcher, "maps": maps}
        self.pump = Pump(FLOW, sides[0], sides[1], WRITER, cast("Any", shards), **others)
        self.pump.has_work = self.land
        self.pump.wake_writers = lambda: None

    @staticmethod
    async def _no_news(_slot: Slot) -> bool:
        return False

    def add(self, where: TopicPartition, source: Log, target: Log) -> Slot:
        """Begin with a partition that was copied from before."""
        self.source.logs[where], self.target.logs[where] = source, target
        slot: Slot = self.pump.add(where, where, TargetLimits(1 << 20, 1000))
        slot.recorded.active = True
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
        while (item := slot.copy.sending.next_to_send(self.pump.context.now_ms(), claimed=True)) is not None:
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
