"""What is recorded before a topic is begun: where it begins with `start: latest`, and that it is a copy."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import pytest

from replicator.core.copy.attaching.facts import Role, Writer
from replicator.core.copy.machine import PartitionCopy
from replicator.core.topics.choice import Origin, RecordedCopy
from replicator.core.topics.ownership import OwnedTopic, created
from replicator.engine.copy.partitions.partition import Slot
from replicator.engine.copy.partitions.recorded import Recorded
from replicator.engine.flow.assembly.reconcile import Reconciler
from replicator.engine.flow.assembly.source_ends import SourceEnds
from replicator.engine.groups.positions import PumpPositions
from replicator.engine.state import records as state
from replicator.engine.state.ownership import provenance
from replicator.engine.state.ownership.owners import Owners
from replicator.engine.state.ownership.provenance import digest_of, unpacked
from replicator.engine.state.topic.source import SourceState
from replicator.engine.topics.chosen import ChosenTopics
from replicator.engine.topics.mirror import Mirror
from replicator.engine.topics.sync import TopicSync
from replicator.errors import BrokerRefused, ConnectionFailed, ReplicatorError, TimedOut
from replicator.model.security import ClusterSpec
from replicator.model.spec import FlowSpec, Pattern, PatternKind, Rename, Selection, Start
from replicator.model.status.states import Reason
from replicator.state_pb import state_pb2 as pb
from replicator.wire.cluster import Cluster
from replicator.wire.topology import Leader, Topic
from tests.pumps import pump_with
from tests.shards import shard_with

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from google.protobuf.message import Message

    from replicator.admin.topics import TopicAdmin
    from replicator.core.copy.values import TargetLimits
    from replicator.engine.copy.pump import Pump
    from replicator.engine.state.topic.log import Change, StateLog
    from replicator.model.names import TopicPartition

UID = "uid"
FLOW = FlowSpec("f", "east", "west", Selection((Pattern(PatternKind.GLOB, "*"),)), start=Start.LATEST)


class Log:
    """A state topic that is a table."""

    def __init__(self) -> None:
        self.records: dict[bytes, bytes] = {}
        self.writes = 0

    async def change(self, _uid: str, decide: Callable[[Mapping[bytes, bytes]], list[Change]]) -> Mapping[bytes, bytes]:
        """Compare and set."""
        changes = decide(self.records)
        self.writes += bool(changes)
        for key, value in changes:
            assert value is not None
            self.records[key] = value
        return self.records

    async def read_to_end(self) -> None:
        """All is read."""

    def apply(self, key: bytes, record: Message) -> None:
        """Set a record."""
        self.records[key] = record.SerializeToString()


class Side(Cluster):
    """A cluster with topics, and without brokers."""

    def __init__(self, alias: str) -> None:
        super().__init__(ClusterSpec(alias, ((alias, 1),)))
        self.cluster_id, self.brokers = alias.upper(), {1: (alias, 1)}
        self.shown: dict[str, frozenset[bytes]] = {}

    async def ids_shown(self, names: Iterable[str]) -> dict[str, frozenset[bytes]]:
        """Return what a broker that lags behind tells."""
        return {name: ids for name, ids in self.shown.items() if name in names}

    def add(self, *names: str, partitions: int = 1) -> None:
        """Create topics."""
        for name in names:
            leaders = {number: Leader(1, 0) for number in range(partitions)}
            self.topics[name] = Topic(name, digest_of(f"{self.cluster_id} {name}"), leaders, 1, 1)

    async def refresh(self, topics: Iterable[str] | None) -> dict[str, int]:
        """Tell which are not there."""
        return {name: 3 for name in topics or () if name not in self.topics}


class Admin:
    """Creates topics on one side, if it is not busy; there are no settings to be told of."""

    def __init__(self, side: Side, log: Log) -> None:
        self.busy = False
        self.before: dict[str, frozenset[bytes]] = {}
        self._side, self._log = side, log

    async def describe_configs(self, _names: Iterable[str], _refused: object = None) -> dict[str, object]:
        """Return none."""
        return {}

    async def alter_configs(self, _topic: object, _values: object, _delete: object) -> None:
        """Take settings."""

    async def create_topic(self, name: str, *_: object, before: frozenset[bytes] = frozenset()) -> OwnedTopic:
        """Create it, unless it is not announced yet."""
        self.before[name] = before
        assert digest_of(name) in unpacked(state.get_making(self._log.records, UID)), "announced before it is created"
        if self.busy:
            raise BrokerRefused("not now", cluster="west", code=7, api="CreateTopics", retryable=True)
        self._side.add(name)
        return created(name, self._side.topics[name].topic_id)


def chosen(log: Log, source: Cluster, flow: FlowSpec = FLOW) -> ChosenTopics:
    """Return the topics of a flow, as one daemon of it sees them."""
    return ChosenTopics(flow, UID, SourceState(source), Side("west"), cast("StateLog", log))


def sync(
    log: Log, source: Cluster, target: Side, flow: FlowSpec = FLOW, *, busy: bool = False
) -> tuple[TopicSync, Admin]:
    """Return the topics of a flow, kept in step, and the target's administrator."""
    made = Admin(target, log)
    made.busy = busy
    admin = cast("TopicAdmin", made)
    state_log = cast("StateLog", log)
    owners = Owners(flow, UID, state_log, 30.0, lambda: 0.0)
    return TopicSync(flow, UID, source, target, (admin, admin), state_log, owners), made


async def test_where_a_topic_begins_is_decided_once_and_by_all_daemons_alike() -> None:
    """A later topic, a re-created one, and one found by a daemon that was started later begin at their first record."""
    log, source = Log(), Side("east")
    source.add("old", "again")
    first = chosen(log, source)
    await first.decide_start(["old", "again"])
    source.add("new")
    source.topics["again"] = replace(source.topics["again"], topic_id=b"x" * 16)
    second = chosen(log, source)
    await second.decide_start(["old", "again", "new"])
    for one in (first, second):
        assert [one.begins_at_end(name) for name in ("old", "new", "again")] == [True, False, False]
    assert log.writes == 1


async def test_a_flow_with_mirrors_was_started_before() -> None:
    """By a version that recorded nothing of it: what has no mirror yet came later."""
    log, source = Log(), Side("east")
    source.add("old", "new")
    key, value = state.put(state.mirror_key(UID, "old"), pb.MirrorRecord(source_topic="old"))
    assert value is not None
    log.records[key] = value
    found = chosen(log, source)
    await found.decide_start(["old", "new"])
    assert not found.begins_at_end("new")


async def test_an_error_that_passes_does_not_forget_where_a_topic_begins() -> None:
    """The first pass finds the topic, and a broker that is busy; the second one goes on with what was decided."""
    log, source, target = Log(), Side("east"), Side("west")
    source.add("t")
    topics, admin = sync(log, source, target, busy=True)
    await topics.run_pass(configs=True)
    assert "t" not in topics.mirrors
    admin.busy = False
    source.add("later")
    await topics.run_pass(configs=False)
    assert {name: mirror.begin_at_end for name, mirror in topics.mirrors.items()} == {"t": True, "later": False}
    assert state.get_making(log.records, UID) == b"", "taken back once the mirrors are recorded"

    again, _ = sync(log, source, target)  # a daemon that is started later
    await again.run_pass(configs=True)
    assert {name: mirror.begin_at_end for name, mirror in again.mirrors.items()} == {"t": True, "later": False}


async def test_partitions_that_are_added_begin_at_their_first_record() -> None:
    """Only those that were there at the first start begin at their end, also with the record of an older version."""
    mirror = Mirror("t", "t", recorded=True)
    mirror.take(pb.MirrorRecord(begin_at_end=True, source_partitions=2))
    mirror.partitions = 3
    slots: dict[TopicPartition, Slot] = {}

    def add(
        source: TopicPartition, _target: TopicPartition, limits: TargetLimits, recorded: Recorded, **_: object
    ) -> Slot:
        return slots.setdefault(source, Slot(source, source, PartitionCopy(source, limits), shard_with(), recorded))

    side = SimpleNamespace(topic_ids={})
    shards = SimpleNamespace(works_on=lambda _where: True)
    writers = SimpleNamespace(copies=lambda _topic: True)
    pump = cast("Pump", pump_with(slots=slots, add=add, source=side, target=side, shards=shards, writers=writers))
    ends = SourceEnds(UID, cast("StateLog", Log()))
    await Reconciler(FLOW, pump, ends).apply([mirror], 0, lambda: False)
    assert [slot.recorded.begin_at_end for slot in slots.values()] == [True, True, False]
    assert mirror.as_record((UID, "f"), None).begin_at_end_partitions == 2


@pytest.mark.parametrize("broken", [None, ConnectionFailed("no answer", cluster="east"), TimedOut("it stays open")])
async def test_while_nobody_tells_what_is_a_copy_new_topics_wait(
    monkeypatch: pytest.MonkeyPatch, broken: ReplicatorError | None
) -> None:
    """Those that are mirrored go on."""
    source = Side("east")
    source.add("known", "new", "b.t")

    async def learn(_found: object) -> dict[str, list[RecordedCopy]]:
        if broken is not None:
            raise broken
        return {"b.t": [RecordedCopy("w2e", (Origin("WEST", "t"),))]}

    monkeypatch.setattr(provenance.Provenance, "learn", learn)
    found = chosen(Log(), source)
    choice = await found.choose({"known"})
    assert choice.selected == (("known", "new") if broken is None else ("known",))
    assert (found.unknown is None) is (broken is None)
    assert "b.t" in choice.left_out


async def test_a_mirror_that_is_a_copy_of_the_targets_own_topic_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    """What an earlier version began without an end; it says what helps, and goes on if it is asked for by name."""
    log, source, target = Log(), Side("east"), Side("west")
    source.add("b.t")
    target.add("a.b.t")
    there = target.topics["a.b.t"].topic_id
    record = pb.MirrorRecord(source_topic="b.t", target_topic="a.b.t", target_topic_id=there)
    key, value = state.put(state.mirror_key(UID, "a.b.t"), record)
    assert value is not None
    log.records[key] = value

    async def learn(_found: object) -> dict[str, list[RecordedCopy]]:
        return {"b.t": [RecordedCopy("w2e", (Origin("WEST", "t"),))]}

    monkeypatch.setattr(provenance.Provenance, "learn", learn)
    flow = replace(FLOW, rename=Rename(prefix="a."))
    topics, _ = sync(log, source, target, flow)
    assert await topics.run_pass(configs=True)
    fault = topics.mirrors["b.t"].fault
    assert fault is not None
    assert fault.reason is Reason.LEFT_OUT
    assert "topics.include by its full name" in fault.text
    assert not await topics.run_pass(configs=False), "said once"
    by_name = replace(flow, topics=Selection((Pattern(PatternKind.GLOB, "b.t"),)))
    topics, _ = sync(log, source, target, by_name)
    await topics.run_pass(configs=True)
    assert topics.mirrors["b.t"].fault is None


class Told:
    """What flows made on the source, as long as it tells; put in the place of `Provenance.learn`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.silent = False
        monkeypatch.setattr(provenance.Provenance, "learn", self.learn)

    async def learn(self, _found: object = None) -> dict[str, list[RecordedCopy]]:
        """Tell of one copy, or nothing."""
        if self.silent:
            raise ConnectionFailed("no answer", cluster="east")
        return {"t": [RecordedCopy("s2e", (Origin("SOUTH", "s"),))]}


async def test_topics_that_wait_at_the_first_start_begin_at_their_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """A source whose state topic is silent for a moment has topics all the same."""
    log, source, told = Log(), Side("east"), Told(monkeypatch)
    source.add("t")
    topics, _ = sync(log, source, Side("west"))
    told.silent = True
    await topics.run_pass(configs=True)
    assert not topics.mirrors
    told.silent = False
    await topics.run_pass(configs=False)
    assert topics.mirrors["t"].begin_at_end


async def test_a_daemon_that_starts_while_the_source_does_not_tell_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is recorded as mirrored is known to it; and where that came from stays recorded."""
    log, source, target, told = Log(), Side("east"), Side("west"), Told(monkeypatch)
    source.add("t")
    topics, _ = sync(log, source, target)
    await topics.run_pass(configs=True)
    told.silent = True
    source.add("new")
    again, _ = sync(log, source, target)
    await again.run_pass(configs=True)
    assert list(again.mirrors) == ["t"]
    assert again.mirrors["t"].fault is None
    record = state.get_mirror(log.records, UID, "t")
    assert record is not None
    assert [one.cluster_id for one in record.came_through] == ["SOUTH"]


async def test_what_no_look_has_judged_yet_may_have_to_be_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    """A switchover must not close over it: before the first look, what came since the last one, and what waits."""
    log, source, told = Log(), Side("east"), Told(monkeypatch)
    source.add("t", "__internal", "x-internal")
    topics, _ = sync(log, source, Side("west"))
    pump = cast("Pump", SimpleNamespace(source=SimpleNamespace(cluster=source)))
    positions = PumpPositions(pump, topics, cast("StateLog", log), UID, 1)

    def wanted() -> list[str]:
        return [where.topic for where in positions.wanted(every=True)]

    assert wanted() == ["t"]
    await topics.run_pass(configs=True)
    source.add("new")
    assert wanted() == ["t", "new"]
    told.silent = True
    await topics.run_pass(configs=False)
    assert wanted() == ["t", "new"]
    told.silent = False
    log.apply(state.writer_key(UID), state.writer_record(Writer(7, 0, Role.PROMOTED, 8, 0, 9)))
    assert wanted() == [], "nothing is copied to an open side"


async def test_a_topic_that_comes_while_the_look_is_under_way_is_judged_by_the_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Another task describes the source meanwhile: what flows made was read before that topic was created."""
    source = Side("east")
    source.add("t")

    async def learn(_found: object) -> dict[str, list[RecordedCopy]]:
        source.topics = dict(source.topics)
        source.add("b.t")
        return {}

    monkeypatch.setattr(provenance.Provenance, "learn", learn)
    found = chosen(Log(), source)
    assert (await found.choose(())).selected == ("t",)
    assert found.meant() == ["t", "b.t"]
