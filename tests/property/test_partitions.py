"""Several partitions of one topic, in the same answers and requests: what stops one of them stops no other."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from replicator.engine.copy.partitions import live_maps
from replicator.engine.copy.partitions.live_maps import OffsetMaps, given_up_of
from replicator.engine.copy.pump import Pump
from replicator.engine.copy.reading.reader import SourceReader
from replicator.model.spec import Offsets
from replicator.state_pb import state_pb2 as pb
from tests.copy_world.histories import first_violation, run_history
from tests.copy_world.rules import Rules
from tests.property.test_one_partitions_trouble import stops_all

if TYPE_CHECKING:
    from replicator.core.offsets.offset_map import Block
    from replicator.engine.copy.partitions.partition import Slot
    from replicator.engine.copy.reading.taking import RequestedPartition
    from replicator.model.names import TopicPartition


_SHORT = range(5)
_LONG = range(100_000, 102_500)
_NEAR = 20
_SEEDS = range(300)
_PARTITIONS = 3

KINDS: dict[str, dict[str, Any]] = {
    "all kinds": {},
    "old record times": {"backlog": True},
    "offsets that may differ": {"offsets": Offsets.AUTO},
    "mapped": {"offsets": Offsets.MAPPED},
    "others write to the target": {"offsets": Offsets.MAPPED, "shared": True},
    "spoiled answers": {"doubtful": True},
    "by leases": {"moving": True},
    "by leases, offsets that may differ": {"moving": True, "offsets": Offsets.AUTO},
    "handed over, old record times": {"relayed": True, "backlog": True},
    "seeded, by leases": {"late": True, "moving": True},
}


@pytest.mark.parametrize("name", KINDS)
def test_seeded_histories_keep_each_copy_exact(name: str) -> None:
    """Invariant after every event, and after every storm each is equal, or has stopped for a reason of its own."""
    for seed in _SHORT:
        run_history(seed, partitions=_PARTITIONS, **KINDS[name])


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", KINDS)
def test_many_seeded_histories_keep_each_copy_exact(name: str) -> None:
    """The same, many more and longer."""
    for seed in _LONG:
        run_history(seed, steps=200, partitions=_PARTITIONS, **KINDS[name])


def test_one_partition_stops_while_others_go_on_in_these_histories() -> None:
    """A simulation in which all of them do the same would prove little."""
    mixed = copied = 0
    for seed in range(15):
        world = run_history(seed, partitions=_PARTITIONS, offsets=Offsets.AUTO)
        equal = [each.target.high_watermark >= each.source.end > 0 for each in world.partitions]
        mixed += bool(world.reasons) and any(equal)
        copied += sum(len(each.copied()) for each in world.partitions)

    assert mixed > 2
    assert copied > 120


def _given_up_of_all(record: pb.MirrorRecord, _number: int) -> tuple[tuple[int, int], ...]:
    return tuple(sorted({one for number in record.given_up for one in given_up_of(record, number)}))


class _OneMapForAll(OffsetMaps):
    """Takes the first map that is recorded of a topic for that of each partition."""

    def _record(self, topic: str) -> pb.MirrorRecord | None:
        """Exchange the maps."""
        record = super()._record(topic)
        if record is None or not record.maps:
            return record
        made = pb.MirrorRecord()
        made.CopyFrom(record)
        for number in range(_PARTITIONS):
            made.maps[number].CopyFrom(record.maps[min(record.maps)])
        return made


class _BlocksOfAll(OffsetMaps):
    """Believes the blocks of every partition."""

    def _blocks(self, slot: Slot, generation: int) -> list[Block]:
        slots = [replace(slot, target=slot.target._replace(partition=number)) for number in range(_PARTITIONS)]
        return [block for each in slots for block in super(_BlocksOfAll, self)._blocks(each, generation)]


def _remembers_who_asked_last(
    self: SourceReader,
    connection: Any,
    body: Any,
    session: Any,
    asked_of: dict[TopicPartition, RequestedPartition],
    frame: Any,
) -> None:
    """Take each part of an answer for that of the partition that was asked for last."""
    *_, last = asked_of.values()
    _send(self, connection, body, session, dict.fromkeys(asked_of, last), frame)


_send = SourceReader._send

MUTANTS: dict[str, tuple[Rules, str]] = {
    "a partition that stops is a topic that stops": (Rules(((Pump, "ended", stops_all),)), "all kinds"),
    "what is given up of one partition is given up of all": (
        Rules(((live_maps, "given_up_of", _given_up_of_all),)),
        "offsets that may differ",
    ),
    "the map of one partition is that of all": (Rules(maps_type=_OneMapForAll), "offsets that may differ"),
    "blocks of one partition believed of all": (Rules(maps_type=_BlocksOfAll), "mapped"),
    "an answer belongs to who asked last": (Rules(((SourceReader, "_send", _remembers_who_asked_last),)), "all kinds"),
}
_FOUND = {
    "a partition that stops is a topic that stops": 9,
    "what is given up of one partition is given up of all": 150,
    "the map of one partition is that of all": 17,
    "blocks of one partition believed of all": 243,
    "an answer belongs to who asked last": 0,
}
"""The first history that shows each."""


@pytest.mark.parametrize("name", _FOUND)
def test_the_simulation_catches(name: str) -> None:
    """Within a few histories of the first that is known to show it."""
    rules, kind = MUTANTS[name]
    first = _FOUND[name]

    assert first_violation(rules, range(first, first + _NEAR), partitions=_PARTITIONS, **KINDS[kind]) is not None


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", MUTANTS)
def test_the_simulation_catches_from_the_first_history_on(name: str) -> None:
    """Within a fixed number of seeded histories."""
    rules, kind = MUTANTS[name]

    assert first_violation(rules, _SEEDS, partitions=_PARTITIONS, **KINDS[kind]) is not None
