"""A reader with model brokers, for tests."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any, cast

from kio.schema.fetch.v12.request import FetchRequest
from kio.schema.fetch.v12.response import PartitionData

from replicator.core.copy.attaching.facts import Resume, Role, Writer, Writers
from replicator.core.copy.values import TargetLimits
from replicator.engine.copy.partitions.partition import Slot, release
from replicator.engine.copy.partitions.recorded import Cleaning
from replicator.engine.copy.pump import Pump
from replicator.engine.logs.side import Side
from replicator.model.names import TopicPartition
from replicator.model.security import ClusterSpec
from replicator.model.spec import FlowSpec, Pattern, PatternKind, Selection
from replicator.wire.cluster import Cluster
from tests.shards import shard_with
from tests.unit.engine.source_broker import SourceBroker

FLOW = FlowSpec("f", "east", "west", Selection((Pattern(PatternKind.GLOB, "*"),)))
WRITER = Writers(Writer(100, 0, Role.COPYING, 101, 0, 102))
FIVE = [b"a", b"b", b"c", b"d", b"e"]

Answered = Mapping[TopicPartition, PartitionData]


class Bench:
    """A pump, with a source of some brokers and a target that nobody writes to."""

    def __init__(self, *brokers: SourceBroker) -> None:
        self.brokers = brokers
        for broker in brokers:
            broker.cluster, broker.away = list(brokers), brokers[0].away
        self.landed: list[tuple[Slot, int, int]] = []

    async def begin(self, topics: list[str]) -> None:
        """Listen, and make the pump."""
        for broker in self.brokers:
            await broker.open()
        address = ("127.0.0.1", self.brokers[0].port)
        clusters = [Cluster(ClusterSpec(alias, (address,))) for alias in ("east", "west")]
        for cluster in clusters:
            await cluster.open()
            await cluster.refresh(topics)
        source, target = (Side(cluster, cluster.topic_ids) for cluster in clusters)
        watcher = SimpleNamespace(
            changed=lambda _slot, _before, _text: None,
            activated=lambda _slot: None,
            intact_below=lambda _slot, _end: 0,
            topics_stale=lambda: None,
        )
        shards = SimpleNamespace(of=lambda _where: shard_with(), close=lambda: None)
        maps = SimpleNamespace(forget=lambda _slot: None)
        self.pump = Pump(
            FLOW,
            source,
            target,
            WRITER,
            cast("Any", shards),
            producers={},
            watcher=cast("Any", watcher),
            maps=cast("Any", maps),
        )
        self.pump.has_work = self.land  # type: ignore[method-assign] # the writing side, reduced to its result
        self.pump.wake_writers = lambda: None  # type: ignore[method-assign]

    def read(self, where: TopicPartition, offset: int, *, compacted: bool = False) -> Slot:
        """Let a partition be copied from an offset on."""
        slot = self.pump.add(where, where, TargetLimits(1 << 20, 1000))
        slot.recorded.cleaning = Cleaning(certain=compacted)
        assert self.pump.begin_copying(slot, Resume(offset, offset, None), 0)
        self.pump.wake_readers()
        return slot

    async def until(self, what: Callable[[], bool]) -> None:
        """Wait for something."""
        async with asyncio.timeout(20):
            while not what():  # noqa: ASYNC110 - what is waited for is the state of real objects, no event
                await asyncio.sleep(0.005)

    def land(self, slot: Slot) -> None:
        """Let the target take what is queued, at once."""
        while (item := slot.copy.sending.next_to_send(self.pump.context.now_ms(), claimed=True)) is not None:
            self.landed.append((slot, item.base_offset, item.record_count))
            assert slot.copy.accepted(item, slot.copy.episode, item.base_offset)
            release([item])

    def close(self) -> None:
        """Stop."""
        self.pump.close()
        for cluster in (self.pump.source.cluster, self.pump.target.cluster):
            cluster.close()
        for broker in self.brokers:
            broker.close()


async def opened(bench: list[Bench], *brokers: SourceBroker) -> Bench:
    """Return a bench of these brokers."""
    one = Bench(*brokers)
    bench.append(one)
    await one.begin([f"orders-{broker.node}" for broker in brokers])
    return one


def asked_offsets(fetch: FetchRequest) -> dict[int, int]:
    """Return where a fetch asks the partitions to be read from."""
    return {int(part.partition): int(part.fetch_offset) for topic in fetch.topics for part in topic.partitions}


async def nothing(_broker: SourceBroker, _fetch: FetchRequest) -> Answered:
    """Hold the poll for a while, and answer with nothing."""
    await asyncio.sleep(0.05)
    return {}


def taken(bench: Bench, slot: Slot) -> list[tuple[int, int]]:
    """Return (first offset, length) of what was copied, and of fills that wait to be."""
    landed = [(base, count) for one, base, count in bench.landed if one is slot]
    return landed + [(item[0], item[1]) for item in slot.copy.sending._queue]


ZERO, ONE = TopicPartition("orders-1", 0), TopicPartition("orders-1", 1)
