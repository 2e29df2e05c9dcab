"""A target broker that closes the connection over a batch: found, and only that batch's partition stops."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest

from replicator.core.copy.attaching.facts import Resume
from replicator.core.copy.values import Batch, Phase, TargetLimits
from replicator.core.copy.writing import request_limit
from replicator.engine.copy.partitions.partition import Slot
from replicator.engine.copy.partitions.producer_state import ShardProducer
from replicator.engine.copy.pump import Pump
from replicator.engine.logs.side import Side
from replicator.engine.work.shards import Shard
from replicator.model.names import TopicPartition
from replicator.model.security import ClusterSpec
from replicator.model.status.states import Reason
from replicator.wire.batches.records import NewRecord, encode
from replicator.wire.cluster import Cluster
from replicator.wire.frames import FramePool
from tests.shards import shard_with
from tests.unit.engine.reader_bench import FLOW, WRITER
from tests.unit.engine.target_broker import TargetBroker

LARGE, SMALL = TopicPartition("orders-1", 0), TopicPartition("orders-1", 1)
LIMIT_BYTES = 200_000


class Bench:
    """A pump that writes to one broker; what is lost is attached and queued again, as a source would have it."""

    def __init__(self, *, tells: bool, limit_bytes: int = LIMIT_BYTES) -> None:
        self.broker = TargetBroker(1, limit_bytes, tells=tells)
        self.slots: dict[Slot, bytes] = {}
        self.pool = FramePool(4, 1 << 10)

    async def begin(self) -> None:
        """Listen, and make the pump."""
        await self.broker.open()
        cluster = Cluster(ClusterSpec("west", (("127.0.0.1", self.broker.port),)))
        await cluster.open()
        await cluster.refresh(["orders-1"])
        side = Side(cluster, cluster.topic_ids)
        watcher = SimpleNamespace(
            changed=lambda *_: None,
            activated=lambda _slot: None,
            intact_below=lambda *_: 0,
            topics_stale=lambda: None,
        )
        shards = SimpleNamespace(of=lambda _: shard_with(), close=lambda: None)
        self.producers: dict[Shard, ShardProducer] = {}
        others: Any = {"producers": self.producers, "watcher": watcher, "maps": SimpleNamespace(forget=lambda _: None)}
        self.pump = Pump(FLOW, side, side, WRITER, cast("Any", shards), **others)
        self.pump.wake_readers = lambda: None  # type: ignore[method-assign] # nobody reads here

    def add(self, where: TopicPartition, value_bytes: int) -> Slot:
        """Let a partition send batches of that size, one after the other."""
        slot = self.pump.add(where, where, TargetLimits(1 << 20, 1 << 60))
        guard = SimpleNamespace(proven_since=lambda: 0.0, may_work_unguarded=lambda _: True, close=lambda: None)
        self.producers[slot.shard] = ShardProducer(cast("Any", guard), cast("Any", None))
        self.slots[slot] = encode([NewRecord(self.pump.context.now_ms(), None, bytes(value_bytes))])
        return slot

    def step(self) -> None:
        """Attach what has to be, and queue one batch of whoever has none."""
        for slot, raw in self.slots.items():
            copy = slot.copy
            if slot.wants_attach:
                if copy.phase is Phase.SETTLING:
                    copy.attach_again()
                end = self.broker.ends.get(slot.target, 0)
                slot.proof.verified_at = self.pump.context.now()
                assert self.pump.begin_copying(slot, Resume(end, end, self.pump.context.now_ms()), 0)
            if copy.is_copying() and copy.sending.idle:
                frame = self.pool.take()
                assert frame is not None
                batch = Batch(copy.reading.next_offset, 1, self.pump.context.now_ms(), len(raw), raw, frame)
                copy.reading.next_offset += 1
                copy.sending.queue([batch])
                self.pump.has_work(slot)
        self.pump.wake_writers()

    async def until(self, what: Any) -> None:
        """Go on until something is so."""
        async with asyncio.timeout(20):
            while not what():
                self.step()
                await asyncio.sleep(0.005)

    def close(self) -> None:
        """Stop."""
        self.pump.close()
        self.pump.target.cluster.close()
        self.broker.close()


@pytest.mark.parametrize("tells", [True, False])
async def test_only_the_partition_with_the_batch_stops(*, tells: bool) -> None:
    """The connection was opened again and again, with all partitions of it, and no reason was told."""
    bench = Bench(tells=tells)
    await bench.begin()
    try:
        small = bench.add(SMALL, 1000)
        await bench.until(lambda: small.copy.acked_offset >= 3)
        large = bench.add(LARGE, LIMIT_BYTES)
        await bench.until(large.copy.is_faulted)
        acked = small.copy.acked_offset
        await bench.until(lambda: small.copy.acked_offset >= acked + 20)

        assert (large.copy.reason, large.copy.acked_offset) == (Reason.RECORD_TOO_LARGE, 0)
        assert "broker 1 of the target" in (large.copy.detail or "")
        assert "socket.request.max.bytes" in (large.copy.detail or "")
        assert (f"{LIMIT_BYTES} bytes at most" in (large.copy.detail or "")) is tells
        assert bench.broker.closed == (1 if tells else 3)
        assert large.blocking_batch.request_bytes > LIMIT_BYTES
    finally:
        bench.close()


@pytest.mark.parametrize("tells", [True, False])
async def test_a_broker_that_takes_hardly_anything_is_named(monkeypatch: pytest.MonkeyPatch, *, tells: bool) -> None:
    """No batch of a partition may go through, however small: it was tried again for ever, without a reason."""
    monkeypatch.setattr(request_limit, "LOSSES_MAX", 5)  # ten take a quarter of a minute
    bench = Bench(tells=tells, limit_bytes=1000)
    await bench.begin()
    try:
        parts = [bench.add(LARGE, 1000), bench.add(SMALL, 1000)]
        await bench.until(lambda: all(slot.copy.is_faulted() for slot in parts))

        for slot in parts:
            assert (slot.copy.reason, slot.copy.acked_offset) == (Reason.RECORD_TOO_LARGE, 0)
            assert "socket.request.max.bytes" in (slot.copy.detail or "")
            assert "`replicator mirror resolve`" in (slot.copy.detail or "")
        assert bench.broker.closed <= (1 if tells else 8)
    finally:
        bench.close()


async def test_a_request_of_several_partitions_stays_within_it() -> None:
    """Each of their batches is small enough, and all of them together are not."""
    bench = Bench(tells=True)
    await bench.begin()
    try:
        parts = [bench.add(TopicPartition("orders-1", number), 90_000) for number in range(4)]
        await bench.until(lambda: min(slot.copy.acked_offset for slot in parts) >= 5)
        assert not any(slot.copy.is_faulted() for slot in parts)
        assert bench.broker.closed <= 1
    finally:
        bench.close()
