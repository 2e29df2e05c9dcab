"""Positions of partitions that another daemon copies, from what it has recorded."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

from replicator.core.copy.machine import PartitionCopy
from replicator.core.copy.values import TargetLimits
from replicator.core.offsets.offset_map import OffsetMap, OffsetPair, Run
from replicator.core.topics.plan import MirrorFault
from replicator.engine.copy.partitions.live_maps import offset_block
from replicator.engine.copy.partitions.partition import Slot
from replicator.engine.groups.positions import PumpPositions
from replicator.engine.state import records as state
from replicator.engine.topics.mirror import Mirror
from replicator.model.names import TopicPartition
from replicator.model.operations.translation import OffsetQuestion, TranslationState
from replicator.model.status.states import Reason
from replicator.state_pb import state_pb2 as pb
from tests.shards import shard_with

if TYPE_CHECKING:
    from replicator.engine.copy.pump import Pump
    from replicator.engine.state.topic.log import StateLog
    from replicator.engine.topics.sync import TopicSync

UID = "f1"
HERE, THERE = TopicPartition("orders", 0), TopicPartition("orders", 1)


class World:
    """A daemon with the first of two partitions; the second one is of another shard."""

    def __init__(self) -> None:
        self.log = SimpleNamespace(records={})
        self.mirror = Mirror("orders", "east.orders", partitions=2)
        slot = Slot(HERE, TopicPartition("east.orders", 0), PartitionCopy(HERE, TargetLimits(1 << 20, 0)), shard_with())
        nobody = SimpleNamespace(cluster=SimpleNamespace(leader=lambda _where: None))
        described = {"orders": SimpleNamespace(leaders={0: 1, 1: 1}), "a_b": SimpleNamespace(leaders={0: 1})}
        source = SimpleNamespace(cluster=SimpleNamespace(topics=described))
        self.pump = SimpleNamespace(partitions={HERE: slot}, target=nobody, source=source)
        self.positions = PumpPositions(
            cast("Pump", self.pump),
            cast("TopicSync", SimpleNamespace(mirrors={"orders": self.mirror}, meant=lambda: ["orders", "a_b"])),
            cast("StateLog", self.log),
            UID,
            2,
        )

    def copied(self, place: OffsetPair | None) -> None:
        """Let the other daemon record how far it is."""
        entry = pb.SourceEndBlock.Entry(topic="orders", partition=1, end=500)
        if place is not None:
            entry.copied, entry.copied_target = place
        key = state.key(pb.KIND_SOURCE_END, UID, partition=1)
        self.log.records[key] = pb.SourceEndBlock(shard=1, entries=[entry]).SerializeToString()

    def mapped(self, offsets: OffsetMap, *, mapped: bool) -> None:
        """Let it record a map."""
        known = pb.PartitionMap(generation=1, mapped=mapped, base=offset_block(offsets, offsets.end))
        record = pb.MirrorRecord(source_topic="orders", target_topic="east.orders", maps={1: known})
        self.log.records[state.mirror_key(UID, "east.orders")] = record.SerializeToString()

    async def ask(self, offset: int) -> tuple[TranslationState, int | None, int | None]:
        """Translate one offset of the other daemon's partition."""
        (told,) = await self.positions.translate([OffsetQuestion("orders", 1, offset)])
        return told.state, told.target_offset, told.behind_records


async def test_what_nobody_has_recorded_is_not_copied() -> None:
    """Nor what its holder does not know any more; a mirror that stands still says why."""
    world = World()
    assert world.positions.behind({HERE: 0, THERE: 0}) == {HERE: "not copied yet", THERE: "not copied yet"}
    world.copied(None)
    assert world.positions.behind({THERE: 0}) == {THERE: "not copied yet"}
    assert (await world.ask(5))[0] is TranslationState.NOT_ATTACHED

    world.copied(OffsetPair(90, 90))
    assert world.positions.behind({THERE: 90}) == {}
    assert world.positions.behind({THERE: 91}) == {THERE: "copied up to 90 of 91"}
    world.mirror.fault = MirrorFault(Reason.PARTITION_COUNT, "3 here, 2 there")
    assert world.positions.behind({THERE: 90}) == {THERE: "not copied: 3 here, 2 there"}


async def test_identical_offsets_up_to_what_is_copied() -> None:
    """Beyond it there is no answer."""
    world = World()
    world.copied(OffsetPair(90, 90))

    assert await world.ask(90) == (TranslationState.EXACT, 90, None)
    assert await world.ask(95) == (TranslationState.NOT_YET_REPLICATED, None, 5)
    world.copied(OffsetPair(95, 95))
    assert await world.ask(95) == (TranslationState.EXACT, 95, None)


async def test_a_surplus_goes_straight_on() -> None:
    """Two markers too many stand at 50."""
    world = World()
    offsets = OffsetMap(OffsetPair(0, 0))
    offsets.add(Run(0, 0, 50))
    offsets.pass_over(OffsetPair(50, 52))
    world.mapped(offsets, mapped=False)
    world.copied(OffsetPair(90, 92))

    assert await world.ask(49) == (TranslationState.EXACT, 49, None)
    assert await world.ask(60) == (TranslationState.EXACT, 62, None)
    assert (await world.ask(91))[0] is TranslationState.NOT_YET_REPLICATED


async def test_of_a_map_only_what_is_recorded_is_told() -> None:
    """Offsets left out behind its last run are known by the target's end, which has not moved."""
    world = World()
    offsets = OffsetMap(OffsetPair(0, 0))
    offsets.add(Run(0, 0, 10))
    offsets.add(Run(12, 10, 10))
    world.mapped(offsets, mapped=True)

    world.copied(OffsetPair(25, 20))
    assert await world.ask(11) == (TranslationState.EXACT, 10, None)
    assert await world.ask(25) == (TranslationState.EXACT, 20, None)
    # Five more were copied since the map was recorded: where, nothing tells yet.
    world.copied(OffsetPair(30, 25))
    assert await world.ask(22) == (TranslationState.EXACT, 20, None)
    assert (await world.ask(25))[0] is TranslationState.NOT_YET_REPLICATED


def test_groups_do_not_wait_for_a_topic_that_the_target_refuses() -> None:
    """It will never be copied as it is, and none of its offsets can be translated; a switch still hears of it."""
    world, refused = World(), Mirror("a_b", "a_b")
    world.positions._sync.mirrors["a_b"] = refused
    both = [HERE, THERE, TopicPartition("a_b", 0)]
    assert list(world.positions.wanted()) == both, "it is on its way"
    refused.fault = MirrorFault(Reason.TARGET_REFUSED, "Topic 'a_b' collides with existing topics: a.b")
    assert list(world.positions.wanted()) == [HERE, THERE]
    assert list(world.positions.wanted(every=True)) == both
    assert set(world.positions.mirrors(every=True)) == {"orders"}
    refused.fault = MirrorFault(Reason.WAITING_FOR_ACCESS, "a right is missing")
    assert list(world.positions.wanted()) == both, "that goes on by itself"
    world.mirror.fault = MirrorFault(Reason.TARGET_REFUSED, "settings")
    assert list(world.positions.wanted()) == both, "what was copied before is behind, not refused"
