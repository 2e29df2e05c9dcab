"""A flow that takes topics over does so once, however often and however late it is told to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, cast

from replicator.core.copy.attaching.facts import Role, Writer
from replicator.core.offsets.offset_map import OffsetPair
from replicator.core.topics.ownership import MirrorOnSource
from replicator.engine.state import records as state
from replicator.engine.switch.takeover import Takeover, take_over
from replicator.engine.work import roles
from replicator.state_pb import state_pb2 as pb

if TYPE_CHECKING:
    from replicator.engine.state.topic.log import Change, StateLog

UID = "uid"
STANDS_BY = Writer(7, 0, Role.PROMOTED, 8, 0, 9)
TOPIC = Takeover("a", "a", bytes(16), bytes(16), {0: OffsetPair(5, 5)})


class Log:
    """A state topic that is a table."""

    def __init__(self) -> None:
        self.records: dict[bytes, bytes] = {}

    def apply(self, changes: list[Change]) -> None:
        """Write changes."""
        for key, value in changes:
            if value is None:
                self.records.pop(key, None)
            else:
                self.records[key] = value

    async def change(self, _uid: str, decide: Callable[[Mapping[bytes, bytes]], list[Change]]) -> None:
        """Compare and set."""
        self.apply(decide(self.records))

    @property
    def role(self) -> Role:
        """Of the flow."""
        writers = state.writers_of(self.records, UID)
        assert writers is not None
        return writers.flow.role

    async def taken(self, reason: str) -> None:
        """Let the flow take the topic over."""
        await take_over(cast("StateLog", self), UID, [TOPIC], epoch=0, reason=reason, actor="test")


async def test_late() -> None:
    """Whoever hung in that step until the flow was switched back does not let it copy against the other flow."""
    log = Log()
    log.apply([state.put(state.flow_key(UID), pb.FlowRecord(name="back"))])
    log.apply([state.put(state.writer_key(UID), state.writer_record(STANDS_BY))])
    await log.taken("switchover one")
    assert log.role is Role.COPYING
    before = dict(log.records)
    await log.taken("switchover one")
    assert log.records == before

    epoch, changes = roles.begun(log.records, UID, None)
    log.apply(changes)
    log.apply(roles.promoted(log.records, UID, epoch))
    before = dict(log.records)
    await log.taken("switchover one")
    assert log.records == before
    await log.taken("switchover two")
    assert log.role is Role.COPYING


async def test_of_nothing() -> None:
    """A failback of a flow that has no topics must not let the other one copy to the side that is open."""
    log = Log()
    log.apply([state.put(state.flow_key(UID), pb.FlowRecord(name="back"))])
    log.apply([state.put(state.writer_key(UID), state.writer_record(STANDS_BY))])
    before = dict(log.records)
    await take_over(cast("StateLog", log), UID, [], epoch=0, reason="failback", actor="test")
    assert log.records == before


async def test_what_was_held_back_of_an_earlier_mirror_is_not_taken_along() -> None:
    """Between two lives as a mirror a topic has its own settings: an opening must not bring back those of before."""
    log = Log()
    log.apply([state.put(state.flow_key(UID), pb.FlowRecord(name="back"))])
    log.apply([state.put(state.writer_key(UID), state.writer_record(STANDS_BY))])
    before = pb.MirrorRecord(source_topic="a", target_topic="a")
    before.managed.update({"compression.type": "producer"})
    before.held_back.update({"compression.type": "lz4"})
    log.apply([state.put(state.mirror_key(UID, "a"), before)])
    await log.taken("switchover one")
    record = state.get_mirror(log.records, UID, "a")
    assert record is not None
    assert (dict(record.managed), dict(record.held_back)) == ({}, {})


async def test_a_paused_flow_is_resumed() -> None:
    """It was paused before its side was lost; the order to copy again, given since, is what holds. Once."""
    log = Log()
    paused = pb.FlowRecord(name="back", desired=pb.DESIRED_PAUSED, desired_actor="ann")
    log.apply([state.put(state.flow_key(UID), paused)])
    log.apply([state.put(state.writer_key(UID), state.writer_record(STANDS_BY))])
    await log.taken("failback one")
    record = state.get_flow(log.records, UID)
    assert (record.desired, record.desired_actor) == (pb.DESIRED_ACTIVE, "test")
    assert "failback one" in record.desired_reason
    log.apply([state.put(state.flow_key(UID), paused)])
    await log.taken("failback one")
    assert state.get_flow(log.records, UID).desired == pb.DESIRED_PAUSED, "a late executor"


async def test_blocks_of_an_earlier_map_are_dropped() -> None:
    """Of what is taken over alone, whatever else the flow has recorded."""
    log = Log()
    log.apply([state.put(state.flow_key(UID), pb.FlowRecord(name="back"))])
    log.apply([state.put(state.writer_key(UID), state.writer_record(STANDS_BY))])
    keys = [state.segment_key(*one) for one in ((UID, "a", 0, 1), (UID, "a", 0, 2), (UID, "a", 1, 1), ("v", "a", 0, 1))]
    log.apply([state.put(key, pb.SegmentBlock()) for key in [*keys, state.segment_key(UID, "b", 0, 1)]])
    await log.taken("switchover one")
    assert [key in log.records for key in keys] == [False, False, True, True]
    assert state.segment_keys(log.records, UID) == {("a", 1): [keys[2]], ("b", 0): [state.segment_key(UID, "b", 0, 1)]}


def test_what_is_copied_from_a_cluster() -> None:
    """By flows from there that copy now, and by the topic's id where the cluster has ids."""
    log = Log()
    flows = {UID: ("there", Role.COPYING), "open": ("there", Role.PROMOTED), "other": ("elsewhere", Role.COPYING)}
    for uid, (cluster, role) in flows.items():
        log.apply([state.put(state.flow_key(uid), pb.FlowRecord(uid=uid, name=f"f-{uid}", source_cluster_id=cluster))])
        log.apply([state.put(state.writer_key(uid), state.writer_record(Writer(7, 0, role, 8, 0, 9)))])
        for name in (f"{uid}.a", f"{uid}.b"):
            mirror = pb.MirrorRecord(source_topic=name, source_topic_id=b"1" * 16, target_topic=f"m.{name}")
            log.apply([state.put(state.mirror_key(uid, mirror.target_topic), mirror)])
    ids = {f"{uid}.{name}": topic_id * 16 for uid in flows for name, topic_id in (("a", b"1"), ("b", b"2"))}
    assert state.copied_from(log.records, "there", ids) == {"uid.a": MirrorOnSource("m.uid.a", "f-uid")}
    unknown = dict.fromkeys(ids, bytes(16))
    assert set(state.copied_from(log.records, "there", unknown)) == {"uid.a", "uid.b"}, "it denies nothing"
