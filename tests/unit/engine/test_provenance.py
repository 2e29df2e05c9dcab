"""What flows made on a cluster, from its `replicator.state`."""

from __future__ import annotations

import uuid
from dataclasses import replace
from typing import TYPE_CHECKING, cast

import pytest

from replicator.core.copy.attaching.facts import Role, Writer
from replicator.core.topics.choice import Origin, RecordedCopy
from replicator.engine.state import records as state
from replicator.engine.state.ownership.provenance import Provenance, digest_of, made_there, packed
from replicator.engine.state.topic.log import StateLog
from replicator.engine.state.topic.source import SourceState
from replicator.engine.topics.chosen import ChosenTopics
from replicator.errors import AuthorizationFailed, BrokerRefused
from replicator.model.names import STATE_TOPIC
from replicator.model.security import ClusterSpec
from replicator.model.spec import Pattern, PatternKind, Selection
from replicator.state_pb import state_pb2 as pb
from replicator.wire.cluster import Cluster
from replicator.wire.topology import Topic
from tests.unit.engine.test_chosen import FLOW, Side

if TYPE_CHECKING:
    from collections.abc import Iterable

UID = "uid-1"
IDS = {name: uuid.uuid5(uuid.NAMESPACE_DNS, name).bytes for name in ("a.t", "other", "a.t.dead-letter")}


def topics(*names: str) -> dict[str, Topic]:
    """Return topics of a cluster, each with its id."""
    return {name: Topic(name, IDS.get(name, b"i" * 16), {}, 1, 1) for name in names}


def recorded(*mirrors: pb.MirrorRecord, role: Role = Role.COPYING, making: Iterable[str] = ()) -> dict[bytes, bytes]:
    """Return a state topic with one flow from the cluster WEST."""
    changes = [
        state.put(state.flow_key(UID), pb.FlowRecord(uid=UID, name="w2e", source_cluster_id="WEST")),
        state.put(state.writer_key(UID), state.writer_record(Writer(7, 0, role, 8, 0, 9))),
        state.put(state.making_key(UID), pb.MakingRecord(topics=packed(map(digest_of, making)))),
        *(state.put(state.mirror_key(UID, mirror.target_topic), mirror) for mirror in mirrors),
    ]
    return {key: value for key, value in changes if value is not None}


def mirror(**more: object) -> pb.MirrorRecord:
    """Return the record of the mirror a.t of t."""
    fields = {"source_topic": "t", "target_topic": "a.t", "target_topic_id": IDS["a.t"]} | more
    return pb.MirrorRecord(**fields)  # type: ignore[arg-type]


def test_a_mirror_is_a_copy_of_its_source_and_of_all_behind_it() -> None:
    """The nearest first."""
    record = mirror(came_through=[pb.Origin(cluster_id="SOUTH", topic="s")])
    found = made_there(recorded(record), topics("a.t", "t"))
    assert found == {"a.t": [RecordedCopy("w2e", (Origin("WEST", "t"), Origin("SOUTH", "s")))]}


def test_a_topic_that_was_opened_or_is_another_one_is_no_copy() -> None:
    """A switch opens it; whoever deleted and created it again made a topic of their own."""
    assert made_there(recorded(mirror(), role=Role.PROMOTED), topics("a.t")) == {}
    assert made_there(recorded(mirror(target_topic_id=IDS["other"])), topics("a.t")) == {}
    assert made_there(recorded(mirror()), topics("t")) == {}


def test_where_topics_have_no_ids_the_name_tells() -> None:
    """Clusters before Kafka 2.8."""
    bare = {"a.t": Topic("a.t", bytes(16), {}, 1, 1)}
    assert list(made_there(recorded(mirror()), bare)) == ["a.t"]


def test_what_is_announced_is_on_its_way_until_it_is_recorded() -> None:
    """Whoever sees the topic finds the announcement, then the mirror."""
    assert made_there(recorded(making=["a.t"]), topics("a.t", "t")) == {"a.t": [RecordedCopy("w2e", begun=False)]}
    assert made_there(recorded(mirror(), making=["a.t"]), topics("a.t"))["a.t"][0].begun


def test_an_announcement_that_was_never_taken_back_ends_with_the_mirror() -> None:
    """Else the way back would leave out a topic that was switched alone, for ever."""
    own = state.put(state.writer_key(UID, "a.t"), pb.WriterRecord(role=pb.WRITER_ROLE_PROMOTED, epoch=1))
    assert own[1] is not None
    assert made_there({**recorded(mirror(), making=["a.t"]), own[0]: own[1]}, topics("a.t")) == {}


def test_topics_with_records_set_aside_are_known_by_what_is_recorded() -> None:
    """An application's queue of the same kind of name is none."""
    skipped = pb.Resolution(how="skip", reason="record_too_large")
    names = topics(
        "a.t", "a.t.dead-letter", "orders.dead-letter", "a.t.divergent.3", "a.t.divergent.9", "x.divergent.1"
    )
    assert set(made_there(recorded(mirror()), names)) == {"a.t"}
    assert set(made_there(recorded(mirror(has_dead_letter=True)), names)) == {"a.t", "a.t.dead-letter"}
    records = recorded(mirror(resolutions=[skipped]))
    key, value = state.put(state.key(pb.KIND_CUT, UID, "a.t"), pb.CutRecord(epoch=4))
    assert value is not None
    found = made_there({**records, key: value}, names)
    assert sorted(found) == ["a.t", "a.t.dead-letter", "a.t.divergent.3"]
    assert found["a.t.divergent.3"] == [RecordedCopy("w2e")]


class _Source(Cluster):
    """A cluster that answers about its state topic with one code, or has it."""

    code = 3

    async def refresh(self, names: Iterable[str] | None) -> dict[str, int]:
        """Return what could not be described."""
        return {name: self.code for name in names or () if self.code or name not in self.topics}


class There:
    """A source with a state topic, which may be refused, deleted and made again."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.refused, self.records = False, recorded(mirror())
        self.source = _Source(ClusterSpec("east", (("e", 1),)))
        self.make(b"1" * 16)
        there = self

        async def read_to_end(log: StateLog) -> None:
            if there.refused:
                raise AuthorizationFailed("no", cluster="east")
            log.records.update(there.records)
            for listener in log._view._listeners:
                listener(state.flow_key(UID))

        monkeypatch.setattr(StateLog, "read_to_end", read_to_end)
        self.state = SourceState(self.source)
        self.found = Provenance(self.state)

    def make(self, topic_id: bytes) -> None:
        """Create the state topic."""
        self.source.code = 0
        self.source.topics = topics("a.t", "b.t") | {STATE_TOPIC: Topic(STATE_TOPIC, topic_id, {}, 1, 1)}

    def delete(self) -> None:
        """Delete it."""
        self.source.code, self.records = 3, {}
        del self.source.topics[STATE_TOPIC]


@pytest.fixture
def there(monkeypatch: pytest.MonkeyPatch) -> There:
    """A source."""
    return There(monkeypatch)


@pytest.mark.parametrize(("code", "unknown"), [(3, False), (29, True)])
async def test_a_state_topic_that_is_not_shown_is_not_one_that_is_absent(code: int, *, unknown: bool) -> None:
    """Without the right to describe it nothing is known, and the right is named."""
    source = _Source(ClusterSpec("east", (("e", 1),)))
    source.code, source.topics = code, topics("t")
    found = Provenance(SourceState(source))
    assert await found.learn() == {}
    assert (found.unknown is not None) is unknown
    assert not unknown or "--operation Read --operation Describe --topic replicator.state" in str(found.unknown)


async def test_a_state_topic_that_may_not_be_read_is_unknown_until_it_may(there: There) -> None:
    """A right that is granted heals it."""
    there.refused = True
    assert await there.found.learn() == {}
    assert "may not read replicator.state" in str(there.found.unknown)
    there.refused = False
    assert list(await there.found.learn()) == ["a.t"]
    assert there.found.unknown is None


async def test_what_was_known_stays_known_when_it_may_not_be_read_any_more(there: There) -> None:
    """A right that is taken away makes no copy an original."""
    await there.found.learn()
    there.refused = True
    assert list(await there.found.learn()) == ["a.t"]
    assert there.found.unknown is not None


async def test_status_says_so_also_of_a_flow_that_names_each_topic(there: There) -> None:
    """It asks for no origins; whether a target topic is itself copied to the source is asked for all the same."""
    named = replace(FLOW, topics=Selection((Pattern(PatternKind.GLOB, "t"),)))
    chosen = ChosenTopics(named, UID, there.state, Side("west"), cast("StateLog", None))
    assert chosen.unknown is None
    there.refused = True
    with pytest.raises(AuthorizationFailed):
        await there.state.read()
    assert "--operation Read --operation Describe --topic replicator.state" in str(chosen.unknown)


async def test_while_the_state_topic_is_gone_nothing_is_known(there: There) -> None:
    """Neither that a topic is a copy nor that it is none: whoever asks waits, and is told what helps."""
    await there.found.learn()
    there.delete()
    for _ in range(2):
        with pytest.raises(BrokerRefused, match="not known now") as refused:
            await there.found.learn()
        assert refused.value.retryable
    assert "restart the daemons of the flows that copy to east" in str(there.state.unknown)


async def test_a_state_topic_that_is_made_again_is_read_from_its_start(there: There) -> None:
    """Without a restart; what was a copy before is one still, unless the new one says otherwise."""
    await there.found.learn()
    there.delete()
    there.make(b"2" * 16)
    new = mirror(source_topic="u", target_topic="b.t", target_topic_id=b"i" * 16)
    there.records = recorded(new)
    assert set(await there.found.learn()) == {"a.t", "b.t"}
    assert there.state.unknown is None

    own = state.put(state.writer_key(UID, "a.t"), pb.WriterRecord(role=pb.WRITER_ROLE_PROMOTED, epoch=1))
    assert own[1] is not None
    there.records = {**recorded(mirror()), own[0]: own[1]}
    assert set(await there.found.learn()) == {"b.t"}, "it was opened since"


async def test_a_state_topic_that_gets_its_id_late_is_the_same_one(there: There) -> None:
    """In the middle of an upgrade: what was read is not read again."""
    there.make(bytes(16))
    await there.found.learn()
    first = there.state._log
    for told in (b"1" * 16, bytes(16)):
        there.make(told)
        await there.found.learn()
    assert there.state._log is first
    there.make(b"2" * 16)
    await there.found.learn()
    assert there.state._log is not first


async def test_a_damaged_record_makes_it_unknown(there: There) -> None:
    """Somebody else's state must not end this flow."""
    there.records = recorded(mirror()) | {state.mirror_key(UID, "x"): b"\xff\xff"}
    assert await there.found.learn() == {}
    assert "a record that cannot be read" in str(there.found.unknown)
