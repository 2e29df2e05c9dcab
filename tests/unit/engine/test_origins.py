"""Whose records a log holds: what a flow registered before it wrote is found, whenever its batch is seen first."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from replicator.core.copy.attaching.facts import Role, Writer
from replicator.engine.logs.choosing import OnlyOurs
from replicator.engine.state import records as state
from replicator.engine.state.ownership import origins as under_test
from replicator.engine.state.ownership.origins import Origins
from replicator.engine.state.topic import source as source_state
from replicator.engine.state.topic.log import StateLog
from replicator.engine.state.topic.source import SourceState
from replicator.errors import BrokerRefused, ConnectionFailed
from replicator.model.security import ClusterSpec
from replicator.state_pb import state_pb2 as pb
from replicator.wire.cluster import Cluster
from replicator.wire.topology import Topic


class _Topic(StateLog):
    """The state topic of a cluster that is not there: `there` is read when it is read to its end."""

    def __init__(self, cluster: Cluster) -> None:
        super().__init__(cluster)
        self.there: dict[bytes, bytes] = {}
        self.reads = 0
        self.broken = False

    async def read_to_end(self, seconds: float = 0.0) -> None:
        """Read it, or fail."""
        del seconds
        self.reads += 1
        await asyncio.sleep(0)
        if self.broken:
            raise ConnectionFailed("no answer", cluster="east")
        self.records.clear()
        self.records.update(self.there)


class _Source(Cluster):
    """A cluster with, or without, a state topic."""

    has_one = True

    async def describe(self, name: str) -> Topic | None:
        """Return it where there is one."""
        return Topic(name, bytes([1] * 16), {}, 1, 1) if self.has_one else None


def _registered(uid: str, producer_id: int, filler_id: int) -> dict[bytes, bytes]:
    writer = Writer(producer_id, 0, Role.COPYING, filler_id, 0, 1)
    own = pb.WriterRecord(role=pb.WRITER_ROLE_PROMOTED, epoch=3)  # of a mirror that was switched alone: no id
    return {
        state.writer_key(uid): state.writer_record(writer).SerializeToString(),
        state.writer_key(uid, "orders"): own.SerializeToString(),
    }


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> Callable[[], tuple[Origins, _Topic, _Source]]:
    """Return a factory of origins with the topic behind them."""

    def make() -> tuple[Origins, _Topic, _Source]:
        source = _Source(ClusterSpec("east", (("127.0.0.1", 1),)))
        topic = _Topic(source)
        monkeypatch.setattr(source_state, "StateLog", lambda _, **__: topic)
        return Origins(SourceState(source)), topic, source

    return make


async def test_a_flow_that_registers_later_is_told_from_applications(
    made: Callable[[], tuple[Origins, _Topic, _Source]],
) -> None:
    """The topic is read once for each producer that is new, and never for one that is known."""
    origins, topic, _ = made()
    topic.there = _registered("a", 7, 8)
    assert [await origins.leaves_out(each) for each in (7, 8, 9, -1)] == [True, True, False, False]
    reads = topic.reads
    topic.there |= _registered("b", 17, 18)
    assert [await origins.leaves_out(each) for each in (7, 9, -1)] == [True, False, False]
    assert topic.reads == reads
    assert origins.unknown((7, 9, 17, -1)) == {17}
    assert await origins.leaves_out(17)
    assert origins.flows == {7, 8, 17, 18}


async def test_what_cannot_be_read_is_not_guessed(made: Callable[[], tuple[Origins, _Topic, _Source]]) -> None:
    """Neither ours nor a stranger's: asked again later."""
    origins, topic, _ = made()
    topic.broken = True
    with pytest.raises(ConnectionFailed):
        await origins.leaves_out(7)
    assert origins.unknown((7,)) == {7}
    topic.broken, topic.there = False, _registered("a", 7, 8)
    assert await origins.leaves_out(7)


async def test_a_cluster_that_no_flow_writes_to_has_strangers_only(
    made: Callable[[], tuple[Origins, _Topic, _Source]],
) -> None:
    """Where there is no state topic nothing was registered."""
    origins, topic, source = made()
    source.has_one = False
    assert not await origins.leaves_out(7)
    assert topic.reads == 0


async def test_a_state_topic_that_is_gone_makes_no_strangers(
    made: Callable[[], tuple[Origins, _Topic, _Source]],
) -> None:
    """What a flow registered in it is not known any more: whose records are seen now is not guessed."""
    origins, topic, source = made()
    topic.there = _registered("a", 7, 8)
    assert await origins.leaves_out(7)
    source.has_one = False
    with pytest.raises(BrokerRefused):
        await origins.leaves_out(9)
    assert origins.unknown((7, 9)) == {9}
    assert await origins.leaves_out(7)


async def test_many_that_ask_at_once_read_once(made: Callable[[], tuple[Origins, _Topic, _Source]]) -> None:
    """A thousand partitions see a new producer in the same moment."""
    origins, topic, _ = made()
    topic.there = _registered("a", 7, 8)
    assert set(await asyncio.gather(*(origins.leaves_out(7) for _ in range(50)))) == {True}
    assert topic.reads == 1


async def test_strangers_are_bounded(
    made: Callable[[], tuple[Origins, _Topic, _Source]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Applications take new ids for ever; flows do not."""
    monkeypatch.setattr(under_test, "_STRANGERS_MAX", 10)
    origins, topic, _ = made()
    topic.there = _registered("a", 7, 8)
    for each in range(100, 200):
        assert not await origins.leaves_out(each)
    assert len(origins._strangers) <= 10
    assert await origins.leaves_out(7)


async def test_of_a_shared_target_only_ours_counts() -> None:
    """Also nothing without a producer id."""
    ours = OnlyOurs(7)
    assert [await ours.leaves_out(each) for each in (7, 8, -1)] == [False, True, True]
