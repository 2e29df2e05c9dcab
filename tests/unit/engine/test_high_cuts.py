"""Cuts that an earlier version recorded above the marker of their fence."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any, ClassVar, cast

import pytest

from replicator.core.copy.track import Track
from replicator.core.offsets.offset_map import OffsetMap, OffsetPair
from replicator.engine.copy.partitions.live_maps import offset_block, restored
from replicator.engine.state import records as state
from replicator.engine.state.cuts import cuts_of, put_cuts, unchecked_cuts
from replicator.engine.state.journal import put_switches, switches_of
from replicator.engine.switch.repairs import high_cuts
from replicator.engine.switch.repairs.high_cuts import HighCut, lowering, lowering_way_back
from replicator.errors import BrokerRefused
from replicator.model.switch.journal import Journal, Switches
from replicator.model.switch.terms import Cut, Outcome, StepName, StepRecord, Verb
from replicator.state_pb import state_pb2 as pb

UID, BACK = "forth", "back"
HIGH = Cut("t", 0, 11, 11, "t", observed_end=12, observed_ms=5, tail_end=12)
RIGHT = Cut("t", 1, 7, 7, "t", observed_end=7, observed_ms=5, tail_end=7)


def applied(records: dict[bytes, bytes], changes: list[tuple[bytes, bytes | None]]) -> dict[bytes, bytes]:
    """Return records after some changes."""
    after = dict(records)
    for key, value in changes:
        assert value is not None
        after[key] = value
    return after


def old_records() -> dict[bytes, bytes]:
    """Return what an earlier version left: cuts without a word of what others wrote, and the journal of a failover."""
    ((key, raw),) = put_cuts(UID, "s1", 3, (HIGH, RIGHT), 9)
    assert raw is not None
    record = pb.CutRecord.FromString(raw)
    del record.cuts.foreign[:]
    journal = Journal("s1", Verb.FAILOVER, outcome=Outcome.DONE, cuts=(HIGH, RIGHT), revision=4)
    changes = [
        (key, record.SerializeToString(deterministic=True)),
        state.put(state.mirror_key(UID, "t"), pb.MirrorRecord(source_topic="t", target_topic="t")),
        *put_switches(UID, Switches(journal)),
    ]
    return applied({}, changes)


def test_what_is_recorded_of_a_switch() -> None:
    """The cut, and the tail that follows from it; once it was looked at nothing is looked at again."""
    before = old_records()
    unlooked = unchecked_cuts(before, UID)
    assert list(unlooked) == ["t"]
    after = applied(before, lowering(before, UID, unlooked, [HighCut(HIGH, 1)]))
    lowered = replace(HIGH, source=10, target=10)
    assert cuts_of(after, UID, ["t"]) == ((lowered, RIGHT), 3)
    current = switches_of(after, UID).current
    assert current is not None
    assert (current.cuts, current.revision) == ((lowered, RIGHT), 5)
    assert (lowered.loss, lowered.tail) == (2, 2)
    assert not unchecked_cuts(after, UID)
    assert not lowering(after, UID, unlooked, [HighCut(HIGH, 1)])


@pytest.mark.parametrize(
    ("verb", "done", "reached", "lowers"),
    [
        (Verb.SWITCHOVER, StepName.RECORD_CUT, StepName.RECORD_CUT, True),
        (Verb.FAILBACK, StepName.EXPORT_TAILS, StepName.PROVE_QUIESCENCE, True),
        (Verb.FAILBACK, StepName.CONFIRM, StepName.CONFIRM, False),
    ],
)
def test_a_switch_under_way(verb: Verb, done: StepName, reached: StepName, *, lowers: bool) -> None:
    """An earlier version had come as far: what follows goes by the true cut, unless the operator has agreed."""
    before = old_records()
    history = (StepRecord(StepName.PROVE_QUIESCENCE, 1), StepRecord(done, 2))
    journal = Journal("s2", verb, cuts=(HIGH, RIGHT), revision=4, reached=done, history=history, confirmed="digest")
    before = applied(before, put_switches(UID, Switches(journal)))
    after = switches_of(
        applied(before, lowering(before, UID, unchecked_cuts(before, UID), [HighCut(HIGH, 1)])), UID
    ).current
    assert after is not None
    assert after.reached is reached
    assert after.cuts == ((replace(HIGH, source=10, target=10) if lowers else HIGH), RIGHT)
    assert after.revision == (5 if lowers else 4)


async def test_a_log_that_does_not_tell_where_it_starts() -> None:
    """Whether a marker stands below its cut is not known then: nothing is noted as looked at."""

    class Cluster:
        spec = SimpleNamespace(alias="west")
        topic_ids: ClassVar[dict[str, bytes]] = {}
        there: ClassVar[dict[int, int]] = {0: -1, 1: -1}

        async def existing(self, _: object) -> dict[str, object]:
            return {"t": SimpleNamespace(leaders=self.there)}

        async def refresh(self, _: object) -> None:
            pass

        def leader(self, _: object) -> None:
            pass

    async def describe_configs(_: object) -> dict[str, object]:
        return {}

    admin = SimpleNamespace(describe_configs=describe_configs)
    records = applied(old_records(), [state.put(state.writer_key(UID), pb.WriterRecord(producer_id=7))])
    context = SimpleNamespace(target=Cluster(), admins=(admin, admin), log=SimpleNamespace(records=records), uid=UID)
    (record,) = unchecked_cuts(records, UID).values()
    with pytest.raises(BrokerRefused, match="the start of t-0 on west is not known"):
        await high_cuts._high_in(cast("Any", context), record)
    Cluster.there.clear()
    assert await high_cuts._high_in(cast("Any", context), record) == []  # a topic of that name with fewer partitions


def test_cuts_that_are_right() -> None:
    """They are only noted as looked at; a switch that was recorded meanwhile is left alone."""
    before = old_records()
    unlooked = unchecked_cuts(before, UID)
    after = applied(before, lowering(before, UID, unlooked, []))
    assert cuts_of(after, UID, ["t"]) == ((HIGH, RIGHT), 3)
    assert switches_of(after, UID) == switches_of(before, UID)
    assert not unchecked_cuts(after, UID)
    unlooked["t"].switch_id = "s0"
    assert not lowering(before, UID, unlooked, [])


def way_back(place: OffsetPair, how: str = "take_over") -> dict[bytes, bytes]:
    """Return the mirror of a way back that began at a place."""
    offsets = OffsetMap(OffsetPair(0, 0))
    offsets.go_straight(place)
    mirror = pb.MirrorRecord(source_topic="t", target_topic="t", generation=2, map_generation=6)
    mirror.resolutions.append(pb.Resolution(how=how, why="switchover s1 of f"))
    known = pb.PartitionMap(generation=6, base=offset_block(offsets, place), judged_from=place.target)
    mirror.maps[0].CopyFrom(known)
    return applied({}, [state.put(state.mirror_key(BACK, "t"), mirror)])


def test_the_way_back_that_began_there() -> None:
    """What stands above the true cut is compared from now on, and every daemon begins with the record anew."""
    before = way_back(OffsetPair(11, 11))
    after = applied(before, lowering_way_back(before, BACK, [HighCut(HIGH, 1)]))
    mirror = state.get_mirror(after, BACK, "t")
    assert mirror is not None
    assert (mirror.generation, mirror.map_generation, mirror.maps[0].generation) == (3, 7, 7)
    assert mirror.maps[0].judged_from == 10
    offsets = restored(mirror.maps[0].base)
    assert (offsets.end, offsets.straight_to_target(40)) == (OffsetPair(10, 10), 40)
    assert not lowering_way_back(after, BACK, [HighCut(HIGH, 1)])


def test_a_way_back_that_began_elsewhere() -> None:
    """It is left alone: it was resolved since, or did not begin at this cut."""
    for records in (way_back(OffsetPair(11, 11), "accept"), way_back(OffsetPair(12, 12)), {}):
        assert not lowering_way_back(records, BACK, [HighCut(HIGH, 1)])


def test_a_log_that_ends_below_its_map() -> None:
    """The map is believed up to the log's end, and copying goes on there; it raised an error before."""
    offsets = OffsetMap(OffsetPair(0, 0))
    offsets.go_straight(OffsetPair(11, 13))
    offsets.pass_over(OffsetPair(11, 13))
    track = Track(offsets, mapped=False)
    track.begin(OffsetPair(9, 9))
    assert (track.acked, track.shift, track.offsets.end) == (OffsetPair(9, 9), 0, OffsetPair(9, 9))
    assert track.land(12) == 12
