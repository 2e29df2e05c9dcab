"""Records that cannot be read are told with what they mean, and cleared only as they were shown."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest

from replicator.core.copy.attaching.facts import Role, Writer
from replicator.engine.state import records as state
from replicator.engine.state import repair as damaged
from replicator.engine.state.held_back import held_back_key
from replicator.engine.state.journal import copy_key, journal_key
from replicator.engine.state.repair import clear_in
from replicator.engine.state.topic.chunks import in_parts
from replicator.engine.state.topic.log import StateLog
from replicator.engine.state.topic.view import Read, StateView
from replicator.errors import Conflict, PreflightFailed, UsageError
from replicator.model.operations.damage import Clearing, Damaged
from replicator.state_pb import state_pb2 as pb
from replicator.wire.batches.records import Record

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from replicator.engine.state.topic.log import Change

UID = "u1"
_BROKEN = b"\x0a\xff"


class Log(StateLog):
    """The topic itself, without a broker: what is changed is read as it would be."""

    def __init__(self, *changes: Change) -> None:
        cluster = SimpleNamespace(spec=SimpleNamespace(alias="west"), topic_ids={}, cluster_id="w")
        super().__init__(cast("Any", cluster), keeps_offsets=True)
        self.write(*changes)

    def write(self, *changes: Change) -> None:
        """Append to the log, and read it."""
        for key, value in changes:
            at = self.position
            self._view.take([Read(at, at + 1, [cast("Record", SimpleNamespace(offset=at, key=key, value=value))])], 0)

    async def change(
        self, flow_uid: str, decide: Callable[[Mapping[bytes, bytes]], list[Change]]
    ) -> Mapping[bytes, bytes]:
        """Compare and set."""
        assert flow_uid == UID
        self.write(*in_parts(decide(self.records), 128 << 10, dict(self._view.notes)))
        return self.records

    def damage(self, uid: str = UID) -> list[Damaged]:
        """Return what is told of a flow."""
        return damaged._damaged(damaged._There(self._cluster, self), uid)


def flow(uid: str, name: str) -> Change:
    """Return the record of a flow to this cluster."""
    return state.put(state.flow_key(uid), pb.FlowRecord(uid=uid, name=name, target_cluster_id="w"))


def world() -> Log:
    """Return the state of two flows, whole."""
    writer = state.writer_record(Writer(7, 0, Role.COPYING, 8, 0, 9))
    mirror = pb.MirrorRecord(source_topic="a", target_topic="a")
    return Log(
        *(
            change
            for uid, name in ((UID, "one"), ("u2", "two"))
            for change in (
                flow(uid, name),
                state.put(state.writer_key(uid), writer),
                state.put(state.mirror_key(uid, "a"), mirror),
                state.put(state.claim_key(uid, 0), pb.ClaimRecord(number=1)),
                state.put(state.renewal_key(uid, 0), pb.RenewalRecord(number=1)),
            )
        )
    )


KEYS = {
    "flow": state.flow_key(UID),
    "writer": state.writer_key(UID),
    "own role": state.writer_key(UID, "a"),
    "claim": state.claim_key(UID, 0),
    "renewal": state.renewal_key(UID, 0),
    "presence": state.presence_key(UID, "me", 0),
    "mirror": state.mirror_key(UID, "a"),
    "ends": state.source_end_key(UID, 0),
    "map": state.segment_key(UID, "a", 0, 1),
    "rules": held_back_key(UID),
    "group": state.group_key(UID, "g"),
    "cut": state.key(pb.KIND_CUT, UID, "a"),
    "journal": journal_key(UID),
    "copy": copy_key(UID),
    "left out": state.key(pb.KIND_JOURNAL, UID, "left_out"),
    "making": state.making_key(UID),
    "start": state.start_key(UID),
}
GUARDED = {"flow", "writer", "own role", "journal", "copy", "left out"}


@pytest.mark.parametrize("what", KEYS)
async def test_each_kind_is_told_and_cleared(what: str) -> None:
    """With its offset and what it means; the worst takes the key a second time. Nothing else is touched."""
    log, key = world(), KEYS[what]
    log.write((key, _BROKEN))
    [found] = log.damage()
    assert (found.cluster, found.key, found.size_bytes) == ("west", key.hex(), 2)
    assert found.offset == log.position - 1
    assert f"of flow {UID}" in found.what
    assert found.clearing
    assert found.guarded == (what in GUARDED)
    assert log.damage("u2") == []
    order = Clearing("west", key.hex(), found.offset)
    before = dict(log.records)
    if found.guarded:
        with pytest.raises(PreflightFailed, match="requires its key a second time") as refused:
            await clear_in(log, "west", UID, order)
        assert (refused.value.why, log.records == before) == (found.clearing, True)
        order = Clearing("west", key.hex(), found.offset, key.hex())
    assert await clear_in(log, "west", UID, order) == found
    gone = {key, state.flow_key(UID)} if what == "writer" else {key}
    assert dict(log.records) == {one: value for one, value in before.items() if one not in gone}
    assert log.damage() == []


def test_what_can_be_read_is_not_told() -> None:
    """Nor what a newer version wrote of a kind that is not known here."""
    log = world()
    log.write((state.key(cast("Any", 77), UID, "t"), _BROKEN), (state.start_key(UID), b""))
    assert log.damage() == []


async def test_only_the_record_that_was_shown_is_cleared() -> None:
    """One that was written anew meanwhile stays, damaged or not; and so does one that is gone or can be read."""
    log, key = world(), state.group_key(UID, "g")
    log.write((key, _BROKEN))
    [shown] = log.damage()
    order = Clearing("west", key.hex(), shown.offset)
    log.write((key, _BROKEN))
    with pytest.raises(Conflict, match="not the one that was shown") as other:
        await clear_in(log, "west", UID, order)
    assert f"at offset {log.position - 1} now" in other.value.why
    log.write(state.put(key, pb.GroupRecord()))
    with pytest.raises(Conflict, match="not the one") as sound:
        await clear_in(log, "west", UID, Clearing("west", key.hex(), log.offset_of(key)))
    assert "can be read" in sound.value.why
    log.write((key, None))
    with pytest.raises(Conflict) as gone:
        await clear_in(log, "west", UID, order)
    assert "not there any more" in gone.value.why


async def test_another_flows_record_is_never_touched() -> None:
    """Whatever its key is confirmed by."""
    log, key = world(), state.flow_key("u2")
    log.write((key, _BROKEN))
    [shown] = log.damage("u2")
    before = dict(log.records)
    for wrong in (key.hex(), "ffff", "no key"):
        with pytest.raises(UsageError, match="is no key"):
            await clear_in(log, "west", UID, Clearing("west", wrong, shown.offset, wrong))
    assert dict(log.records) == before


async def test_a_value_that_lacks_parts_is_damaged_and_goes_with_them() -> None:
    """It stands as its head alone."""
    log, key = world(), state.group_key(UID, "g")
    large = pb.GroupRecord(topics=[pb.GroupRecord.Topic(topic=f"t{n}", partitions=[0]) for n in range(3000)])
    parts = in_parts([(key, large.SerializeToString())], 8 << 10, {})
    assert len(parts) > 2
    log.write(*parts[1:])
    log._view.take([], log.position)
    [found] = log.damage()
    assert "some of them are missing" in found.why
    await clear_in(log, "west", UID, Clearing("west", key.hex(), found.offset))
    assert key not in log.records
    assert not log._view._parts


def test_a_flow_is_found_by_its_name_or_its_uid() -> None:
    """Also where its own record is the damaged one: that may be of any name, so its uid is asked for."""
    log = world()
    there = [damaged._There(log._cluster, log)]
    assert damaged._meant(there, "one", []) == (UID, "one")
    assert damaged._meant(there, "u2", []) == ("u2", "two")
    log.write((state.flow_key(UID), _BROKEN))
    assert damaged._meant(there, UID, []) == (UID, None)
    with pytest.raises(UsageError, match="no flow 'one' is recorded") as unknown:
        damaged._meant(there, "one", [])
    assert unknown.value.next_step == f"replicator flow damaged {UID}"
    log.write(flow(UID, "two"))
    with pytest.raises(UsageError, match="2 flows are named 'two'"):
        damaged._meant(there, "two", [])
    with pytest.raises(PreflightFailed, match="east could not be asked"):
        damaged._meant(there, "three", ["east"])
    with pytest.raises(UsageError):
        damaged._meant(there, "three", [])


def test_offsets_are_kept_only_where_they_are_asked_for() -> None:
    """And go with what is gone."""
    assert StateView().offsets is None
    view = StateView(keeps_offsets=True)
    records = [SimpleNamespace(offset=at, key=key, value=b"v") for at, key in enumerate((b"a", b"b"))]
    view.take([Read(0, 2, cast("list[Record]", records))], 2)
    assert view.offsets == {b"a": 0, b"b": 1}
    view.start_over(1, 2)
    view.take([Read(1, 2, cast("list[Record]", records[1:]))], 2)
    assert (view.offsets, dict(view.records)) == ({b"b": 1}, {b"b": b"v"})


async def test_the_event_loop_is_not_held_by_a_large_flow(monkeypatch: pytest.MonkeyPatch) -> None:
    """All records of a flow are parsed in a thread."""
    log, asked = world(), list[str]()

    async def in_thread(what: Callable[..., object], *words: object) -> object:
        asked.append(what.__name__)
        return what(*words)

    class Opened:
        spec, cluster_id = log._cluster.spec, "w"

        def __init__(self, spec: object) -> None:
            assert spec == "west"

        def close(self) -> None:
            asked.append("closed")

    async def opened(_: object) -> tuple[list[damaged._There], list[str]]:
        return [damaged._There(log._cluster, log)], ["east"]

    monkeypatch.setattr(asyncio, "to_thread", in_thread)
    monkeypatch.setattr(damaged, "Cluster", Opened)
    monkeypatch.setattr(damaged, "_opened", opened)
    log.write((state.group_key(UID, "g"), _BROKEN))
    may = list[str | None]()
    told = await damaged.damage_of(cast("Any", ["west"]), "one", may=may.append)
    assert (len(told.records), told.unasked, may) == (1, ("east",), ["one"])
    assert asked == ["_damaged", "closed"]
    [record] = told.records
    order = Clearing("west", record.key, record.offset)
    with pytest.raises(PreflightFailed, match="holds no replicator"):
        await damaged.clear_damaged(
            cast("Any", ["west"]), "one", Clearing("east", record.key, record.offset), may=may.append
        )
    assert await damaged.clear_damaged(cast("Any", ["west"]), "one", order, may=may.append) == record
    assert may == ["one"] * 3


def test_a_flow_whose_record_was_cleared_is_no_bug() -> None:
    """Its daemon reads of it: the flow ends by that name, and starts as a new one."""
    log = world()
    log.write((state.flow_key(UID), None), (state.writer_key(UID), None))
    for read in (state.get_flow, state.get_writer_record):
        with pytest.raises(Conflict, match="was removed from replicator"):
            read(log.records, UID)
