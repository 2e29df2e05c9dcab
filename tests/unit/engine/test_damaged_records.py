"""A record of `replicator.state` that cannot be read is named, and stops what it is about, and nothing else."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest

from replicator.core.copy.attaching.facts import Role
from replicator.core.groups.sync import WrittenCommit
from replicator.core.work.claim import Timing
from replicator.engine.flow.assembly.source_ends import SourceEnds
from replicator.engine.state import records as state
from replicator.engine.state.groups import GroupRecords
from replicator.engine.state.held_back import held_back_key, held_back_of
from replicator.engine.state.journal import journal_key, switches_of
from replicator.engine.state.ownership.provenance import made_there
from replicator.engine.state.topic.damage import damaged_record
from replicator.engine.state.topic.view import StateView
from replicator.engine.work.claim import ClaimKeeper
from replicator.engine.work.presence import Presence
from replicator.errors import DamagedRecord
from replicator.model.names import TopicPartition
from replicator.state_pb import state_pb2 as pb
from tests.lease_world import Topic, View
from tests.unit.engine.test_group_records import UID, Log, records

if TYPE_CHECKING:
    from collections.abc import Mapping

    from replicator.engine.state.topic.log import StateLog

_BROKEN = b"\x0a\xff"
"""The beginning of a field whose rest is missing."""
_TIMING = Timing(10.0, 3.0)


def found(*changes: tuple[bytes, bytes | None]) -> Mapping[bytes, bytes]:
    """Return the records of these changes."""
    return {key: value for key, value in changes if value is not None}


def flow(uid: str, name: str) -> tuple[bytes, bytes | None]:
    """Return the record of a flow from east to west."""
    return state.put(
        state.flow_key(uid), pb.FlowRecord(uid=uid, name=name, source_cluster_id="e", target_cluster_id="w")
    )


async def test_a_damaged_group_stands_still_alone_and_is_forgotten_once_it_is_written_anew() -> None:
    """It ended the flow at each start. What was written for it is not known, so nothing is written over it."""
    log = Log()
    one = records(log)
    ours = {TopicPartition("orders", 0): WrittenCommit(5, None, 1)}
    await one.write({"a": ours, "b": ours, "c": ours})
    uneven = pb.GroupRecord(topics=[pb.GroupRecord.Topic(topic="orders", partitions=[0, 1], offsets=[5])])
    log.records[state.group_key(UID, "a")] = _BROKEN
    log.records[state.group_key(UID, "b")] = uneven.SerializeToString()

    later = records(log)
    assert later.groups == {"c": ours}
    assert later.damaged.keys() == {"a", "b"}
    told = later.damaged["a"].with_next_step()
    assert told.startswith("the record of consumer group 'a' of flow f1 on replicator.state cannot be read")
    assert state.group_key(UID, "a").hex() in told
    before = log.appended
    await later.write({"a": {TopicPartition("orders", 0): WrittenCommit(9, None, 2)}})
    assert log.appended == before

    await log.append([(state.group_key(UID, "a"), None)])
    await later.read_to_end()
    assert later.damaged.keys() == {"b"}
    await later.write({"a": ours})
    assert later.groups["a"] == ours


def test_another_flows_damage_is_not_ours_but_nothing_is_minted_beside_it() -> None:
    """The damaged record may be the very flow's: under a second identity its topics would be copied twice."""
    there = dict(found(flow("u1", "one"), flow("u2", "two")))
    there[state.flow_key("u2")] = _BROKEN
    known = state.find_flow(there, "one", "e", "w")
    assert known is not None
    assert known.uid == "u1"
    assert [each.uid for each in state.flows_named(there, "one")] == ["u1"]
    with pytest.raises(DamagedRecord, match="the record of a flow of flow u2"):
        state.find_flow(there, "two", "e", "w")


def test_a_damaged_mirror_is_left_out_only_where_it_is_told_beside() -> None:
    """Whoever concludes something from all of them (what is a copy, what is fenced) is refused."""
    there = dict(
        found(
            flow("u1", "one"),
            state.put(state.mirror_key("u1", "a"), pb.MirrorRecord(source_topic="a", target_topic="a")),
            state.put(state.writer_key("u1"), pb.WriterRecord(producer_id=7, role=pb.WRITER_ROLE_COPYING)),
        )
    )
    there[state.mirror_key("u1", "b")] = _BROKEN
    assert [one.target_topic for one in state.readable_mirrors_of(there, "u1")] == ["a"]
    assert dict(state.every_mirror(there))["b"] is None
    assert state.has_mirrors({state.mirror_key("u1", "b"): _BROKEN}, "u1")
    for all_of_them in (lambda: list(state.mirrors_of(there, "u1")), lambda: made_there(there, {})):
        with pytest.raises(DamagedRecord, match="the record of mirror 'b' of flow u1"):
            all_of_them()


def test_a_role_that_cannot_be_read_lets_its_mirror_stand_still() -> None:
    """The others of the flow go on; and nobody takes what it feeds for an original meanwhile."""
    there = dict(
        found(
            flow("u1", "one"),
            state.put(state.writer_key("u1"), pb.WriterRecord(producer_id=7, role=pb.WRITER_ROLE_COPYING)),
        )
    )
    there[state.writer_key("u1", "b")] = _BROKEN
    writers = state.writers_of(there, "u1")
    assert writers is not None
    assert (writers.copies("a"), writers.copies("b")) == (True, False)
    assert writers.of("b").role is Role.PROMOTED
    with pytest.raises(DamagedRecord):
        made_there(there, {})


async def test_a_claim_that_cannot_be_read_is_nobodys_until_it_is_written_anew() -> None:
    """Ours neither: the shard stands still, by name, and its daemon goes on."""
    log, key = View(Topic()), state.claim_key(UID, 0)
    now = asyncio.get_running_loop().time
    keeper = ClaimKeeper(cast("StateLog", log), UID, 0, "me", _TIMING, 0.0, now=now)
    keeper.first_claim(now())
    keeper.want(1)
    assert keeper.number == 1
    log._topic.log.append((key, _BROKEN))
    log.deliver()
    assert keeper.number == 0
    assert keeper.effective_since() is None
    with pytest.raises(DamagedRecord, match="the record of a claim of flow f1"):
        await keeper.step()
    again = ClaimKeeper(cast("StateLog", log), UID, 0, "you", _TIMING, 0.0, now=now)
    again.want(1)
    with pytest.raises(DamagedRecord):
        await again.step()
    log._topic.log.append((key, None))
    log.deliver()
    await keeper.step()
    assert keeper.number == 1


async def test_a_sign_of_life_that_cannot_be_read_is_one_all_the_same() -> None:
    """Of a daemon that may be at work on any shard: nothing unguarded is done beside it."""
    log = View(Topic())
    log.records[state.presence_key(UID, "newer", 5)] = _BROKEN
    now = asyncio.get_running_loop().time
    presence = Presence(cast("StateLog", log), UID, "me", "here", 2, _TIMING, 10.0, now=now)
    assert not await presence.is_alone(0)
    assert {sign.instance for sign in presence.signs(1)} == {"newer"}
    assert state.presence_key(UID, "newer", 5) in state.signs_of(log.records, UID)
    assert state.claim_key(UID, 1) in state.signs_of({state.claim_key(UID, 1): _BROKEN}, UID)


async def test_source_ends_that_cannot_be_read_are_unknown() -> None:
    """They are recorded anew within seconds."""
    log = SimpleNamespace(records={state.source_end_key(UID, 0): _BROKEN})
    ends = SourceEnds(UID, cast("StateLog", log))
    await ends.read()
    assert ends.level_ms(TopicPartition("t", 0)) == 0


def test_a_journal_and_rules_that_cannot_be_read_are_refused_by_name() -> None:
    """Bytes that are no record, and lists in one that do not fit together."""
    uneven = pb.JournalRecord(current=pb.SwitchRecord(id="s", ends=[pb.TopicEnds(topic="t", partitions=[0, 1])]))
    for raw in (_BROKEN, uneven.SerializeToString()):
        with pytest.raises(DamagedRecord, match="the record of the switches of flow f1"):
            switches_of({journal_key(UID): raw}, UID)
    for rules in (_BROKEN, pb.HeldBackRecord(made=["[1, 2]"]).SerializeToString()):
        with pytest.raises(DamagedRecord, match="rules held back"):
            held_back_of({held_back_key(UID): rules}, UID)


def test_a_listener_that_meets_damage_keeps_nobody_from_the_news() -> None:
    """The state topic is read on, and the others hear of the record."""
    heard = list[bytes]()
    log = StateView()

    def meets_damage(key: bytes) -> None:
        raise damaged_record(key, "for a test")

    log._listeners = [meets_damage, heard.append]
    log._notify(b"x")
    assert heard == [b"x"]


def test_every_kind_has_words_and_an_unknown_one_its_number() -> None:
    """What is named must be found."""
    for kind in pb.Kind.values():
        text = str(damaged_record(state.key(cast("Any", kind), "u", "t"), "why"))
        assert "of flow u" in text
        assert ("kind 0" in text) is (kind == 0)
    assert "an unknown kind, key ffff" in str(damaged_record(b"\xff\xff", "why"))


def test_records_are_read_anew_by_whoever_comes_later() -> None:
    """`GroupRecords` of a daemon that only looks."""
    log = Log()
    log.records[state.group_key(UID, "a")] = _BROKEN
    assert GroupRecords(UID, cast("StateLog", log), follows=False).damaged.keys() == {"a"}
