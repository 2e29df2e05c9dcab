"""What grows with a flow is written together, and lets everything else run in between."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

from benchmarks.holds import run_holds
from replicator.core.copy.machine import PartitionCopy
from replicator.core.copy.track import Track
from replicator.core.copy.values import Phase, TargetLimits
from replicator.core.offsets.offset_map import OffsetMap, OffsetPair, Run
from replicator.engine.copy.partitions.live_maps import OffsetMaps, offset_block
from replicator.engine.copy.partitions.partition import Slot
from replicator.engine.state import records as state
from replicator.engine.state.topic.index import StateRecords, indexed
from replicator.model.names import TopicPartition
from replicator.state_pb import state_pb2 as pb
from tests.shards import shard_with

if TYPE_CHECKING:
    from collections.abc import Iterable

    from replicator.engine.state.topic.log import Change

UID = "uid"


class Log:
    """A state topic that counts requests."""

    def __init__(self) -> None:
        self.records = StateRecords()
        self.appends: list[int] = []
        self.meanwhile: Any = lambda: None

    async def append(self, changes: Iterable[Change]) -> None:
        """Take facts."""
        some = list(changes)
        self.appends.append(len(some))
        for key, value in some:
            self.records[key] = value or b""
        self.meanwhile()


def mapped(count: int) -> tuple[Log, OffsetMaps, list[Slot]]:
    """Return mapped partitions of one topic that have copied something."""
    log = Log()
    maps = OffsetMaps(UID, cast("Any", log))
    record = pb.MirrorRecord(target_topic="t")
    base = offset_block(OffsetMap(OffsetPair(0, 0)), OffsetPair(0, 0))
    for number in range(count):
        record.maps[number].CopyFrom(pb.PartitionMap(generation=1, mapped=True, base=base))
    log.records.update([cast("Any", state.put(state.mirror_key(UID, "t"), record))])
    claim = SimpleNamespace(number=1, effective_since=lambda: 0.0)
    slots = []
    for number in range(count):
        where = TopicPartition("t", number)
        slot = Slot(where, where, PartitionCopy(where, TargetLimits(1 << 20, 1000)), shard_with(claim))
        maps.refresh(slot)
        offsets = OffsetMap(OffsetPair(0, 0))
        offsets.add(Run(5, 0, 9))
        slot.copy.track, slot.copy.phase = Track(offsets, mapped=True), Phase.COPYING
        slots.append(slot)
    return log, maps, slots


async def test_maps_of_many_partitions_are_written_together() -> None:
    """4,000 of them took 20 s: one request after the other."""
    log, maps, slots = mapped(1000)
    await maps.persist(slots)
    assert sum(log.appends) == 1000
    assert len(log.appends) < 5
    blocks = [block for number in range(1000) for _, block in state.segments_of(log.records, UID, "t", number)]
    assert {one.block.target_end for one in blocks} == {9}
    assert len(blocks) == 1000

    log.appends.clear()
    await maps.persist(slots)
    assert log.appends == [], "nothing is news"


async def test_a_map_that_is_read_anew_while_it_is_written_is_written_again() -> None:
    """What was remembered as written was that of the map before."""
    log, maps, slots = mapped(1)
    slot = slots[0]

    def read_anew() -> None:
        slot.mapping.record = b""
        maps.refresh(slot)

    log.meanwhile = read_anew
    before = maps._written[slot]
    await maps.persist(slots)
    assert maps._written[slot] is not before
    assert maps._written[slot].number == 0, "as it was read, not as it was written"


def test_an_index_of_records_is_true_whatever_becomes_of_them() -> None:
    """Kinds, flows, topics and partitions are found without a look at all records."""
    records = StateRecords()
    keys = [state.segment_key(uid, topic, number, 1) for uid in "ab" for topic in "tu" for number in range(3)]
    for key in keys:
        records[key] = b"1"
        records[key] = b"2"
    records[b"\xff"] = b"unreadable"
    assert [found[0] for found in records.find(pb.KIND_SEGMENT, "a", "t", 1)] == [state.segment_key("a", "t", 1, 1)]
    assert len(list(records.find(pb.KIND_SEGMENT, "a"))) == 6
    assert len(list(records.find(pb.KIND_SEGMENT, topic="u"))) == 6
    assert len(list(records.of_flow("b"))) == 6
    for key in keys[1:]:
        del records[key]
    assert [found[0] for found in records.find(pb.KIND_SEGMENT)] == keys[:1]
    assert records.pop(keys[0]) == b"2"
    assert (list(records.find(pb.KIND_SEGMENT)), dict(records)) == ([], {b"\xff": b"unreadable"})
    assert records._index[pb.KIND_SEGMENT] == {}
    assert indexed(records) is records


def test_what_is_made_of_a_record_is_made_once_for_each_value() -> None:
    """A journal is asked for with each step, status and metric."""
    records = StateRecords({b"k": b"1"})
    made: list[bytes] = []

    def make(raw: bytes) -> int:
        made.append(raw)
        return int(raw)

    assert [records.made(b"k", make), records.made(b"k", make)] == [1, 1]
    records[b"k"] = b"2"
    assert records.made(b"k", make) == 2
    assert made == [b"1", b"2"]


def test_the_modelled_flow_runs() -> None:
    """Its figures are for `make bench`; here it must only still be the flow that it models."""
    assert len(run_holds(8)) > 10
