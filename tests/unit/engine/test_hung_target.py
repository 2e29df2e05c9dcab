"""One target broker that hangs does not keep the others' partitions from being read: real sockets, pump and writer."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest

from replicator.core.copy.attaching.facts import Resume
from replicator.core.copy.values import TargetLimits
from replicator.engine.copy.attaching import attacher as attach_loop
from replicator.engine.copy.partitions.producer_state import ShardProducer
from replicator.engine.copy.writing import writer
from replicator.model.names import TopicPartition
from tests.shards import shard_with
from tests.unit.engine.reader_bench import Bench
from tests.unit.engine.source_broker import SourceBroker, batch, partition

if TYPE_CHECKING:
    from kio.schema.fetch.v12.request import FetchRequest

    from replicator.engine.copy.partitions.partition import Slot
    from tests.unit.engine.reader_bench import Answered

HEALTHY, HUNG = TopicPartition("orders-1", 0), TopicPartition("orders-1", 1)
_BATCHES = 60
_END = 1_000_000


class World:
    """Source broker 1 always has another batch of both partitions; of the targets broker 1 answers, and 2 does not."""

    def __init__(self) -> None:
        self.hung_bytes = 1
        self.places: dict[TopicPartition, int] = {}
        self.bench = Bench(SourceBroker(1, self.answer), SourceBroker(2, self.answer))

    async def answer(self, _broker: SourceBroker, fetch: FetchRequest) -> Answered:
        """Answer with one batch of one record of each partition that is to be read."""
        if fetch.session_epoch == 0:  # a new session: nothing of before counts
            self.places.clear()
        for topic in fetch.forgotten_topics_data:
            for number in topic.partitions:
                self.places.pop(TopicPartition(str(topic.topic), int(number)), None)
        for listed in fetch.topics:
            for one in listed.partitions:
                self.places[TopicPartition(str(listed.topic), int(one.partition))] = int(one.fetch_offset)
        await asyncio.sleep(0.005)
        return {
            where: partition(where, batch(place, [b"x" * (self.hung_bytes if where == HUNG else 1)]), end=_END)
            for where, place in self.places.items()
        }

    async def begin(self, *, connected: bool) -> None:
        """Let the second partition go to the broker that hangs, before it was connected to or after."""
        await self.bench.begin(["orders-1", "orders-2"])
        pump, land = self.bench.pump, self.bench.land
        really = type(pump).has_work

        def has_work(slot: Slot) -> None:
            if slot.source == HEALTHY:
                land(slot)
            else:
                really(pump, slot)
                pump.routes._writer_of[slot].kick()

        pump.has_work = has_work  # type: ignore[method-assign] # the healthy broker's answers, reduced to their result
        guard = SimpleNamespace(proven_since=lambda: 0.0, may_work_unguarded=lambda _: True, close=lambda: None)
        shard = shard_with(SimpleNamespace(effective_since=lambda: 0.0, number=1))
        pump.context.producers = {shard: ShardProducer(cast("Any", guard), cast("Any", None))}
        pump.shards = cast("Any", SimpleNamespace(of=lambda _: shard, close=lambda: None))
        slot = pump.add(HUNG, TopicPartition("orders-2", 1), TargetLimits(1 << 20, 1000))
        assert pump.begin_copying(slot, Resume(0, 0, None), 0)
        self.hung = slot
        link = pump.routes._writer_of[slot]._link
        if connected:
            await self.bench.until(lambda: link.get() is not None)
        self.bench.brokers[1].frozen = True
        self.healthy = self.bench.read(HEALTHY, 0)


@contextlib.asynccontextmanager
async def at_work(monkeypatch: pytest.MonkeyPatch, made: World, *, connected: bool) -> AsyncIterator[World]:
    """Return a world at work."""
    monkeypatch.setattr(writer, "_OWES_SECONDS", 0.3)
    monkeypatch.setattr(attach_loop, "_TICK_SECONDS", 0.05)
    await made.begin(connected=connected)
    loop = asyncio.create_task(made.bench.pump._attach_loop.run())
    yield made
    loop.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await loop
    made.bench.close()


@pytest.fixture(params=[True, False], ids=["connected", "not connected"])
async def world(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    """A world at work."""
    async with at_work(monkeypatch, World(), connected=request.param) as made:
        yield made


async def test_what_a_hung_broker_is_owed_holds_no_frame_of_the_others(world: World) -> None:
    """Every frame held a batch of it, and nothing was read for anybody until its requests had timed out."""
    pump = world.bench.pump
    await world.bench.until(lambda: bool(pump.routes._owing))
    before = world.healthy.copy.acked_offset
    await world.bench.until(lambda: world.healthy.copy.acked_offset >= before + _BATCHES)
    held = pump.context.line.frames.in_use
    await world.bench.until(lambda: world.healthy.copy.acked_offset >= before + 2 * _BATCHES)
    assert pump.context.line.frames.in_use <= held + 1
    assert world.hung.copy.acked_offset == 0


async def test_it_is_read_again_once_it_answers_or_has_timed_out(world: World) -> None:
    """Whatever the answer: it owes nothing then."""
    pump = world.bench.pump
    await world.bench.until(lambda: bool(pump.routes._owing))
    assert not pump.wants_more(world.hung)
    assert pump.wants_more(world.healthy)
    pump.settle(world.hung, "its requests have timed out")
    pump.routes._writers[2]._link.drop()
    await world.bench.until(lambda: not pump.routes._owing)


@pytest.mark.parametrize(
    "batch_kib", [700, 600], ids=["beside which is no room", "of which a second one waits for room"]
)
async def test_a_large_batch_that_a_hung_broker_is_owed_keeps_no_other_from_being_read(
    monkeypatch: pytest.MonkeyPatch, batch_kib: int
) -> None:
    """No frame was given out until there was room for another one of its size: nothing was read for anybody."""
    made = World()
    made.hung_bytes = batch_kib << 10
    begin = made.bench.begin

    async def begin_small(topics: list[str]) -> None:
        await begin(topics)
        made.bench.pump.context.line._in_flight_bytes = 1 << 20

    made.bench.begin = begin_small  # type: ignore[method-assign]
    async with at_work(monkeypatch, made, connected=True) as world:
        pump = world.bench.pump
        await world.bench.until(lambda: bool(pump.routes._owing))
        assert pump.context.line.frames.in_use_bytes > made.hung_bytes
        before = world.healthy.copy.acked_offset
        await world.bench.until(lambda: world.healthy.copy.acked_offset >= before + _BATCHES)
        frames = pump.context.line.frames
        assert frames.in_use_bytes <= frames.bytes_max + frames.frame_bytes
