"""What of a cluster is known: a topic that cannot be described now is not gone."""

from __future__ import annotations

import asyncio
import uuid
from datetime import timedelta
from typing import cast

import pytest
from kio.schema.errors import ErrorCode
from kio.schema.metadata.v10.request import MetadataRequest
from kio.schema.metadata.v10.response import (
    MetadataResponse,
    MetadataResponseBroker,
    MetadataResponsePartition,
    MetadataResponseTopic,
)
from kio.schema.types import BrokerId, TopicName
from kio.static.primitive import i32, i32Timedelta

from replicator.engine.switch.context import partitions_of
from replicator.errors import AuthorizationFailed, BrokerRefused, ConnectionFailed, ProtocolError
from replicator.model.names import TopicPartition
from replicator.model.security import ClusterSpec
from replicator.state_pb import state_pb2 as pb
from replicator.wire import cluster as cluster_module
from replicator.wire.cluster import Cluster, Purpose
from replicator.wire.transport.connection import Connection
from replicator.wire.transport.connections import _OTHERS_MAX
from tests.hostile.broker import METADATA, Asked, HostileBroker, encoded, framed, head

ID = uuid.UUID(int=7)
UNKNOWN, FORBIDDEN, LOADING = (
    ErrorCode.unknown_topic_or_partition,
    ErrorCode.topic_authorization_failed,
    ErrorCode.leader_not_available,
)


class Broker:
    """Describes topics as it knows them: a partition count, or the error that it answers with."""

    def __init__(self, **topics: int | ErrorCode) -> None:
        self.topics = topics
        self.asked = 0
        self.leaves_out = ""

    async def call(self, request: MetadataRequest, _: object, **__: object) -> MetadataResponse:
        """Answer."""
        self.asked += 1
        return MetadataResponse(
            throttle_time=i32Timedelta.parse(timedelta(0)),
            brokers=tuple(MetadataResponseBroker(node_id=BrokerId(node), host="h", port=i32(9)) for node in (1, 2, 3)),
            cluster_id="east-id",
            topics=tuple(self._topic(str(one.name)) for one in request.topics or () if one.name != self.leaves_out),
        )

    def _topic(self, name: str) -> MetadataResponseTopic:
        known = self.topics.get(name, UNKNOWN)
        error = known if isinstance(known, ErrorCode) else ErrorCode.none
        count = 0 if isinstance(known, ErrorCode) else known
        partitions = tuple(
            MetadataResponsePartition(error_code=ErrorCode.none, partition_index=i32(number), leader_id=BrokerId(1))
            for number in range(count)
        )
        return MetadataResponseTopic(error_code=error, name=TopicName(name), topic_id=ID, partitions=partitions)


class Brokers(Cluster):
    """A cluster of these brokers; one that is None is out of reach."""

    def __init__(self, first: Broker, *others: Broker | None) -> None:
        super().__init__(ClusterSpec("east", ()))
        self._nodes = (first, *others)

    async def any_connection(self) -> Connection:
        """Return the first."""
        return cast("Connection", self._nodes[0])

    async def connection(self, node: int, purpose: Purpose) -> Connection:
        """Return one of them."""
        del purpose
        found = self._nodes[node - 1]
        if found is None:
            raise ConnectionFailed("down", cluster="east")
        return cast("Connection", found)


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nobody wait."""
    monkeypatch.setattr(cluster_module, "_GONE_SECONDS", 0)


def existing(cluster: Cluster, *names: str) -> list[str]:
    """Return the topics that exist."""
    return sorted(asyncio.run(cluster.existing(names)))


def test_gone_is_what_every_broker_says() -> None:
    """Those that are out of reach say nothing."""
    brokers = (Broker(a=1), Broker(a=1), None)
    assert existing(Brokers(*brokers), "a", "gone") == ["a"]
    assert [one.asked for one in brokers if one is not None] == [2, 1]
    assert existing(Brokers(Broker())) == []
    assert asyncio.run(Brokers(Broker(b=FORBIDDEN), Broker(c=1), None).gone(["a", "b", "c"])) == ["a"]


@pytest.mark.parametrize("error", [FORBIDDEN, LOADING])
def test_what_cannot_be_described_is_not_gone(error: ErrorCode) -> None:
    """Neither is what one broker does not know, and another does, or will not tell of."""
    with pytest.raises((AuthorizationFailed, BrokerRefused)):
        existing(Brokers(Broker(a=1, b=error), None, None), "a", "b")
    for second in (Broker(b=2), Broker(b=error)):
        with pytest.raises(BrokerRefused, match="whether b exists on east is not known") as caught:
            existing(Brokers(Broker(a=1), second, None), "a", "b")
        assert caught.value.retryable


def test_an_answer_without_the_topic_that_was_asked_for_is_an_error_of_ours() -> None:
    """It ended the daemon with a KeyError. What was known of the topic from an earlier answer says nothing of now."""
    broker = Broker(a=1)
    cluster = Brokers(broker)
    assert asyncio.run(cluster.describe("a")) is not None
    broker.leaves_out = "a"
    for ask in (cluster.describe("a"), cluster.refresh(["a", "b"]), cluster.existing(["a"])):
        with pytest.raises(ProtocolError, match="sent a response to Metadata that leaves out a"):
            asyncio.run(ask)
    assert asyncio.run(cluster.describe("b")) is None


async def test_of_all_topics_only_those_of_concern_are_kept() -> None:
    """An answer about a million others takes its own bytes, and no more; one that has an illegal name is still seen."""
    names = [*(f"orders-{number}" for number in range(3)), *(f"other-{number}" for number in range(500))]
    async with HostileBroker() as broker:

        def described(*more: str) -> bytes:
            partition = MetadataResponsePartition(
                error_code=ErrorCode.none, partition_index=i32(0), leader_id=BrokerId(1), leader_epoch=i32(3)
            )
            topics = tuple(
                MetadataResponseTopic(
                    error_code=ErrorCode.none, name=TopicName(name), topic_id=ID, partitions=(partition,)
                )
                for name in (*names, *more)
            )
            return encoded(broker.metadata(topics=topics))

        body = described()
        broker.lie = lambda asked, answer: framed(head(asked) + body if asked.key == METADATA else answer)
        cluster = Cluster(broker.spec())
        cluster.concerns = lambda name: name.startswith("orders")
        try:
            await cluster.refresh(None)
            assert sorted(cluster.topics) == names[:3]
            assert sorted(cluster.topic_ids) == names[:3]
            await cluster.refresh(["other-7"])  # of what is asked for by name all is told
            assert "other-7" in cluster.topics
            body = described("no/topic")
            with pytest.raises(ProtocolError, match="no Kafka cluster") as caught:
                await cluster.refresh(None)
            assert "no/topic" in str(caught.value)
        finally:
            cluster.close()


def test_partitions_of_mirrors() -> None:
    """A switch leaves out a topic that is gone, and none that is not told of; nor a partition that was copied to."""
    mirrors = [
        pb.MirrorRecord(target_topic="a", target_topic_id=ID.bytes, active_partitions=[0, 1]),
        pb.MirrorRecord(target_topic="gone"),
    ]
    found = asyncio.run(partitions_of(Brokers(Broker(a=2), None, None), mirrors))
    assert list(found) == [TopicPartition("a", 0), TopicPartition("a", 1)]
    with pytest.raises(AuthorizationFailed):
        asyncio.run(partitions_of(Brokers(Broker(a=FORBIDDEN), None, None), mirrors))
    with pytest.raises(BrokerRefused, match="does not report a-1 right now"):
        asyncio.run(partitions_of(Brokers(Broker(a=1), None, None), mirrors))
    mirrors[0].target_topic_id = uuid.UUID(int=8).bytes
    assert not asyncio.run(partitions_of(Brokers(Broker(a=1), None, None), mirrors)), "it was created again"


async def test_brokers_that_are_invented_are_forgotten() -> None:
    """A cluster listed another broker each time: the record of each stayed, and the connection to it."""
    async with HostileBroker() as broker:
        node = 1

        def another(asked: Asked, answer: bytes) -> bytes:
            if asked.key != METADATA:
                return framed(answer)
            listed = MetadataResponseBroker(node_id=BrokerId(node), host="127.0.0.1", port=i32(broker.port))
            return framed(head(asked) + encoded(broker.metadata(brokers=(listed,))))

        broker.lie = another
        cluster = Cluster(broker.spec())
        try:
            for node in range(1, 200):
                await cluster.refresh([])
                await cluster.connection(node, Purpose.CONTROL)
            assert len(cluster._connections.there()) <= _OTHERS_MAX + 3
            assert len(cluster.seen._brokers) <= _OTHERS_MAX + 3
            assert cluster.brokers.keys() == {199}
            assert 199 in cluster.seen._brokers
            # Those that stay open go on to count, and may be used.
            assert {each for each, _ in cluster._connections.there() if isinstance(each, int)} <= {
                *cluster.seen._brokers
            }
        finally:
            cluster.close()
