"""What an operator's decision leaves on the state topic, and what that proves afterwards."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import pytest

from replicator.core.copy.attaching.facts import Role, Writer
from replicator.core.topics.ownership import OwnedTopic, OwnershipReason
from replicator.core.topics.plan import MirrorFault
from replicator.engine.logs.ranges.matching import Match
from replicator.engine.logs.ranges.walking import Log as Walked
from replicator.engine.offsets import resolve_facts
from replicator.engine.offsets.resolve import Resolver
from replicator.engine.state import records as state
from replicator.engine.state.ownership import ours as ownership
from replicator.engine.state.ownership.ours import Ownership
from replicator.engine.state.ownership.owners import Owners
from replicator.engine.state.ownership.provenance import digest_of, packed
from replicator.engine.state.topic.source import SourceState
from replicator.errors import KafkaError
from replicator.model.names import TopicPartition
from replicator.model.operations.resolution import ALLOWED, How, ResolutionOrder
from replicator.model.spec import Isolation
from replicator.model.status.states import Reason
from replicator.state_pb import state_pb2 as pb
from replicator.wire.topology import Topic
from tests.pumps import pump_with
from tests.unit.engine.test_chosen import FLOW, UID, Log, Side, sync

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from replicator.admin.topics import TopicAdmin
    from replicator.engine.copy.pump import Pump
    from replicator.engine.state.topic.log import Change, StateLog
    from replicator.engine.topics.sync import TopicSync
    from replicator.wire.cluster import Cluster

OLD_ID, NEW_ID, NO_ID = bytes([1] * 16), bytes([2] * 16), bytes(16)
OURS = Writer(7, 0, Role.COPYING, 8, 0, 9)


class Table(Log):
    """A state topic that takes deletions, and tells how far it was read."""

    position = 0

    async def change(self, _uid: str, decide: Callable[[Mapping[bytes, bytes]], list[Change]]) -> Mapping[bytes, bytes]:
        """Compare and set."""
        for key, value in decide(self.records):
            self.position += 1
            if value is None:
                self.records.pop(key, None)
            else:
                self.records[key] = value
        return self.records


class World:
    """A source with topic t, a target, and a flow of which one daemon keeps topics in step."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.log, self.source, self.target = Table(), Side("east"), Side("west")
        self.source.add("t")
        self.there = SourceState(self.source)
        self.ends: dict[str, int] = {}
        self.producers: dict[TopicPartition, int | None] = {}
        self.log.apply(state.writer_key(UID), state.writer_record(OURS))
        monkeypatch.setattr(resolve_facts, "open_log", self.open_log)
        monkeypatch.setattr(resolve_facts, "settled", self.settled)
        monkeypatch.setattr(resolve_facts, "copied_end", self.copied_end)
        monkeypatch.setattr(ownership, "ends_of", self.ends_of)
        monkeypatch.setattr(ownership, "_last_producer", self.last_producer)
        for side in (self.source, self.target):
            monkeypatch.setattr(side, "describe", self.describe(side))

    def describe(self, side: Side) -> object:
        """Return the answer to the question what a topic is."""

        async def describe(name: str) -> object:
            return side.topics.get(name)

        return describe

    async def open_log(self, side: SimpleNamespace, where: TopicPartition, **_: object) -> Walked | None:
        """Open an empty log of a topic that is there."""
        if where.topic not in side.cluster.topics:
            return None
        return cast(
            "Walked",
            SimpleNamespace(where=where, start=0, end=0, isolation=Isolation.READ_UNCOMMITTED, compacted=False),
        )

    async def settled(self, log: Walked) -> Walked:
        """No transaction is open."""
        return log

    async def copied_end(self, *_: object) -> Match:
        """An empty log proves no place."""
        return Match(None, "it holds no record")

    async def ends_of(
        self, _cluster: Cluster, wanted: Iterable[TopicPartition]
    ) -> tuple[dict[TopicPartition, int], dict[TopicPartition, str]]:
        """Tell where logs of the target end."""
        return {where: self.ends.get(where.topic, 0) for where in wanted}, {}

    async def last_producer(self, _side: object, where: TopicPartition) -> int | None:
        """Tell who wrote last."""
        return self.producers.get(where)

    def put(self, name: str, topic_id: bytes, *, end: int = 0) -> None:
        """Create a topic on the target, or another one of its name."""
        self.target.topics.pop(name, None)
        self.target.add(name)
        self.target.topics[name] = replace(self.target.topics[name], topic_id=topic_id)
        self.ends[name] = end

    def daemon(self) -> TopicSync:
        """Return what a daemon that has just started knows."""
        return sync(self.log, self.source, self.target)[0]

    def resolver(self, topics: TopicSync) -> Resolver:
        """Return who resolves its faults."""
        sides = [SimpleNamespace(cluster=side, topic_ids={}) for side in (self.source, self.target)]
        pump = pump_with(source=sides[0], target=sides[1], slots={}, origins=None, isolation=Isolation.READ_COMMITTED)
        owners = Owners(FLOW, UID, cast("StateLog", self.log), 30.0, lambda: 0.0)
        log = cast("StateLog", self.log)
        return Resolver(UID, topics, cast("Pump", pump), log, cast("TopicAdmin", None), owners)

    async def proof(self) -> OwnedTopic | MirrorFault | KafkaError:
        """Return whose target topic t is."""
        asked = Ownership(FLOW, UID, self.there, self.target, cast("StateLog", self.log))
        return (await asked.prove([self.target.topics["t"]]))["t"]

    def record(self, topic_id: bytes) -> None:
        """Record t as a mirror that was copied to."""
        record = pb.MirrorRecord(
            source_topic="t",
            target_topic="t",
            target_topic_id=topic_id,
            phase=pb.MIRROR_PHASE_ACTIVE,
            source_partitions=1,
            active_partitions=[0],
        )
        self.log.apply(state.mirror_key(UID, "t"), record)


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    """A world."""
    return World(monkeypatch)


async def test_what_is_accepted_empty_proves_that_topic_alone(world: World) -> None:
    """Nothing is to be done to any partition, and yet the record names the topic: not any one of its name."""
    world.put("t", OLD_ID, end=4)
    topics = world.daemon()
    await topics.run_pass(configs=True)
    fault = topics.mirrors["t"].fault
    assert fault is not None
    assert fault.reason is Reason.FOREIGN_WRITER
    world.put("t", OLD_ID)
    done = await world.resolver(topics).carry_out(ResolutionOrder("t", How.ACCEPT))
    assert done is not None
    record = state.get_mirror(world.log.records, UID, "t")
    assert record is not None
    assert (record.target_topic_id, record.phase) == (OLD_ID, pb.MIRROR_PHASE_PENDING)

    world.put("t", NEW_ID, end=9)
    proof = await world.proof()
    assert isinstance(proof, MirrorFault)
    assert proof.reason is Reason.TARGET_RECREATED


@pytest.mark.parametrize(
    ("last", "ours"), [(7, True), (9, True), (4711, False), (None, False)], ids=["data", "fill", "stranger", "emptied"]
)
async def test_a_record_without_an_id_proves_nothing_by_itself(world: World, last: int | None, *, ours: bool) -> None:
    """The cluster told none when it was written, and does now: what the topic holds has to show whose it is."""
    world.record(NO_ID)
    world.put("t", NEW_ID, end=9)
    world.producers[TopicPartition("t", 0)] = last
    proof = await world.proof()
    if ours:
        assert isinstance(proof, OwnedTopic)
        assert (proof.because, proof.topic_id) == (OwnershipReason.RECORDED, NEW_ID)
        return
    assert isinstance(proof, MirrorFault)
    assert proof.reason is Reason.FOREIGN_WRITER
    assert "--how accept" in proof.text


async def test_an_id_that_is_not_told_now_neither_proves_nor_denies(world: World) -> None:
    """In the middle of an upgrade some brokers tell none: the next look asks again."""
    world.record(OLD_ID)
    world.put("t", NO_ID, end=9)
    proof = await world.proof()
    assert isinstance(proof, KafkaError)
    assert proof.retryable


async def test_where_a_cluster_tells_no_ids_the_name_is_all_there_is(world: World) -> None:
    """But only of a topic that was seen: the first record of one that never was proves nothing."""
    world.record(NO_ID)
    world.put("t", NO_ID, end=9)
    assert isinstance(await world.proof(), OwnedTopic)
    world.log.apply(
        state.mirror_key(UID, "t"),
        pb.MirrorRecord(source_topic="t", target_topic="t", phase=pb.MIRROR_PHASE_ACTIVE),
    )
    assert isinstance(await world.proof(), MirrorFault)


async def test_a_source_that_tells_no_id_for_a_moment_leaves_the_known_one(world: World) -> None:
    """Else a topic that is created again after that would pass for the one that was copied."""
    topics = world.daemon()
    await topics.run_pass(configs=True)
    known = topics.mirrors["t"].source_id
    assert any(known)
    world.source.topics["t"] = replace(world.source.topics["t"], topic_id=NO_ID)
    await topics.run_pass(configs=True)
    assert topics.mirrors["t"].source_id == known


def other_flow(name: str, *, mirror: str, source: Topic) -> dict[bytes, bytes]:
    """Return what a flow from the target's cluster records on the source's of its mirror of a topic."""
    record = pb.MirrorRecord(
        source_topic=source.name, target_topic=mirror, source_topic_id=source.topic_id, source_partitions=1
    )
    changes = [
        state.put(state.flow_key("there"), pb.FlowRecord(uid="there", name=name, source_cluster_id="WEST")),
        state.put(state.writer_key("there"), state.writer_record(OURS)),
        state.put(state.mirror_key("there", mirror), record),
    ]
    made: dict[bytes, bytes] = {}
    for key, value in changes:
        assert value is not None
        made[key] = value
    return made


async def test_a_topic_whose_direction_is_changed_by_hand(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The step that is told helps: once the other flow's record is forgotten, the topic can be accepted here."""
    world.put("t", OLD_ID, end=4)
    records = other_flow("w2e", mirror="a.t", source=world.target.topics["t"])

    async def read() -> dict[bytes, bytes]:
        return records

    monkeypatch.setattr(world.there, "read", read)
    proof = await world.proof()
    assert isinstance(proof, MirrorFault)
    assert proof.reason is Reason.TARGET_TAKEN
    assert "`replicator mirror forget w2e t`" in proof.text
    assert "`replicator mirror resolve f TOPIC --how accept`" in proof.text
    del records[state.mirror_key("there", "a.t")]
    proof = await world.proof()
    assert isinstance(proof, MirrorFault)
    assert proof.reason is Reason.FOREIGN_WRITER
    assert How.ACCEPT in ALLOWED[proof.reason]


async def test_a_source_that_is_about_to_become_a_copy_is_waited_for(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With `from` and `to` swapped: the other flow has created its mirror, and not recorded yet what it is fed from."""
    world.put("t", OLD_ID)
    records = other_flow("w2e", mirror="x", source=Topic("x", NEW_ID, {}, 1, 1))
    making = pb.MakingRecord(topics=packed([digest_of("t")]))

    async def read() -> dict[bytes, bytes]:
        return {**records, state.making_key("there"): making.SerializeToString()}

    monkeypatch.setattr(world.there, "read", read)
    assert isinstance(await world.proof(), KafkaError)
    making.Clear()
    assert isinstance(await world.proof(), OwnedTopic)


async def test_a_damaged_record_of_the_source_ends_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody else wrote it: whether a topic is a copy is not known until it is written anew."""
    world.put("t", OLD_ID)

    async def read() -> dict[bytes, bytes]:
        flows = other_flow("w2e", mirror="x", source=Topic("x", NEW_ID, {}, 1, 1))
        return {**flows, state.mirror_key("there", "y"): b"\xff\xff"}

    monkeypatch.setattr(world.there, "read", read)
    proof = await world.proof()
    assert isinstance(proof, KafkaError)
    assert "cannot be read" in str(proof.why)


async def test_a_flow_that_was_switched_over_makes_no_circle(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it mirrored, and what it was about to, is copied back by the flow that takes its place."""
    world.put("t", OLD_ID)
    records = other_flow("w2e", mirror="t", source=world.target.topics["t"])
    making = pb.MakingRecord(topics=packed([digest_of("t")]))

    async def read() -> dict[bytes, bytes]:
        return {**records, state.making_key("there"): making.SerializeToString()}

    monkeypatch.setattr(world.there, "read", read)
    proof = await world.proof()
    assert isinstance(proof, MirrorFault | KafkaError)
    promoted = state.writer_record(replace(OURS, role=Role.PROMOTED))
    records[state.writer_key("there")] = promoted.SerializeToString()
    assert isinstance(await world.proof(), OwnedTopic)
