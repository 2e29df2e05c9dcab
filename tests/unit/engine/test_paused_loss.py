"""What a failover would lose of a paused flow: the source goes on, and somebody has to look at it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, cast

import pytest

from replicator.engine.flow.assembly.source_ends import SourceEnds
from replicator.engine.offsets.source_end_reader import SourceEndReader
from replicator.engine.switch.places import ObservedSource
from replicator.model.names import TopicPartition
from tests.unit.engine.log_broker import Log, LogBroker
from tests.unit.engine.reader_bench import Bench
from tests.unit.engine.test_source_seen import FakeLog

if TYPE_CHECKING:
    from replicator.engine.copy.partitions.partition import Slot
    from replicator.engine.state.topic.log import StateLog

WHERE = TopicPartition("orders-1", 0)


class World:
    """A real pump that copied ten records of a real broker, and was paused."""

    def __init__(self) -> None:
        self.broker = LogBroker(1)
        self.broker.logs = {TopicPartition("orders-1", number): Log() for number in range(4)}
        self.broker.logs[WHERE].end = 10
        self.bench = Bench(self.broker)
        self.log = cast("StateLog", FakeLog())

    async def begin(self) -> Slot:
        """Copy, then pause."""
        await self.bench.begin([WHERE.topic])
        slot = self.bench.read(WHERE, 10)
        await self.bench.until(lambda: slot.lag.observed_end == 10)
        self.bench.pump.pause(slot)
        return slot

    async def look(self) -> None:
        """Do what recurs beside the copy."""
        pump = self.bench.pump
        await SourceEndReader(pump).refresh()
        await SourceEnds("uid", self.log).record(pump, {slot.shard for slot in pump.slots.values()})

    def recorded(self) -> tuple[int | None, int | None, int | None]:
        """Return what a failover goes by: the source's end, when it was seen (ms), and what was copied."""
        observed = ObservedSource(self.log, "uid")
        return (*observed.end(WHERE), observed.copied(WHERE))


@pytest.fixture
async def world() -> AsyncIterator[World]:
    """A world of its own."""
    one = World()
    yield one
    one.bench.close()


async def test_what_the_source_takes_while_a_flow_is_paused_is_part_of_the_loss(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was told as 0, with a fresh age; and once the source is silent the age is that of its last answer."""
    slot = await world.begin()
    world.broker.logs[WHERE].end = 17
    monkeypatch.setattr("replicator.engine.offsets.source_end_reader._FRESH_SECONDS", 0.0)
    before_ms = world.bench.pump.context.now_ms()
    await world.look()
    end, seen_ms, copied = world.recorded()
    assert (end, copied) == (17, 10)
    assert seen_ms is not None
    assert before_ms - 1 <= seen_ms <= world.bench.pump.context.now_ms()
    assert slot.lag.lag_records() == 7

    world.broker.frozen = True
    monkeypatch.setattr("replicator.engine.offsets.source_end_reader._ANSWER_SECONDS_MAX", 0.2)
    await world.look()
    end, then_ms, copied = world.recorded()
    assert (end, copied) == (17, 10)
    assert then_ms is not None
    assert abs(then_ms - seen_ms) <= 1, "the age of the loss is that of the look, not of the record"
