"""Each lie of a broker ends in one error that a person can act on: no crash, no hang, no memory, no tight loop."""

from __future__ import annotations

import asyncio
import hashlib
import struct
import time
from dataclasses import replace
from typing import Any

import pytest
from kio.schema.metadata.v10.response import MetadataResponseBroker
from kio.schema.types import BrokerId, TopicName
from kio.static.primitive import i32

from replicator.admin.topics import TopicAdmin
from replicator.errors import (
    ConnectionFailed,
    KafkaError,
    ProtocolError,
    WrongCluster,
)
from replicator.model.names import TopicPartition
from replicator.model.spec import Isolation
from replicator.wire.cluster import Cluster, Purpose
from replicator.wire.messages import control
from replicator.wire.transport import connection as connection_module
from tests.hostile.broker import (
    API_VERSIONS,
    LIST_OFFSETS,
    METADATA,
    TOPIC,
    HostileBroker,
    Lie,
    encoded,
    framed,
)
from tests.hostile.lies import HUGE, TEXT_CHARS_MAX, WHERE, body, failure, only

pytestmark = pytest.mark.usefixtures("bounded")


NEGATIVE = struct.pack(">i", 0) + b"\x02" + struct.pack(">i", 1) + b"\x00" * 4 + HUGE
WRONG: list[tuple[str, Lie, str]] = [
    ("a huge count before the login", body(API_VERSIONS, b"\x00\x00" + HUGE), "claims"),
    ("a huge count after it", body(METADATA, struct.pack(">i", 0) + HUGE), "claims"),
    ("a length beyond the end", body(METADATA, NEGATIVE), "claims"),
    ("no end", only(METADATA, lambda *_: struct.pack(">i", 0x7FFFFFFF) + b"x"), "to Metadata claims 2147483647 bytes"),
    ("a negative frame", only(METADATA, lambda *_: struct.pack(">i", -5) + b"x"), "to Metadata claims -5 bytes"),
    (
        "another correlation id",
        only(METADATA, lambda asked, _: framed(struct.pack(">i", asked.correlation_id + 1))),
        "due",
    ),
    ("another protocol", lambda *_: b"HTTP/1.1 400 Bad Request\r\n\r\n", "claims 1213486160 bytes"),
    ("nothing", body(METADATA, b""), "ends too early"),
    ("noise", body(METADATA, hashlib.shake_256(b"noise").digest(5_000)), ""),
]


@pytest.mark.parametrize(("lie", "why"), [(lie, why) for _, lie, why in WRONG], ids=[name for name, _, _ in WRONG])
async def test_what_is_no_answer_is_refused(lie: Lie, why: str) -> None:
    """Whatever is wrong with it, before the login and after it."""
    async with HostileBroker(lie) as broker:
        error = await failure(broker)

    assert isinstance(error, ProtocolError)
    assert why in error.why


async def test_answers_that_come_twice_end_the_connection() -> None:
    """The second would be taken for the answer to the next request."""
    async with HostileBroker(only(METADATA, lambda _, answer: framed(answer) * 2)) as broker:
        cluster = Cluster(broker.spec())
        connection = await cluster.any_connection()
        await cluster.refresh([TOPIC])
        async with asyncio.timeout(5.0):
            while connection.closed is None:  # noqa: ASYNC110 - nothing waits that would be told
                await asyncio.sleep(0.01)
        cluster.close()

    assert isinstance(connection.closed, ProtocolError)
    assert connection.closed.why == "an answer came without a request"


async def test_an_answer_that_drips_is_not_waited_for() -> None:
    """Longer than any answer is."""
    async with HostileBroker() as broker:
        broker.byte_pause_seconds = 0.05
        began = time.monotonic()
        error = await failure(broker, seconds=0.5)

    assert isinstance(error, ConnectionFailed)
    assert time.monotonic() - began < 5.0


STRANGE: list[tuple[dict[str, Any], str]] = [
    ({"cluster_id": None}, "it has no cluster id"),
    ({"cluster_id": "x\x1b[2J" * 50_000}, "its cluster id is 'x"),
    ({"brokers": (MetadataResponseBroker(node_id=BrokerId(1), host="h\nh", port=i32(9)),)}, "broker 1 is at"),
    ({"brokers": (MetadataResponseBroker(node_id=BrokerId(1), host="h", port=i32(99_999)),)}, "port 99999"),
    (
        {"brokers": tuple(MetadataResponseBroker(node_id=BrokerId(n), host="h", port=i32(9)) for n in range(10_001))},
        "10,001 brokers",
    ),
]


@pytest.mark.parametrize(("changed", "why"), STRANGE)
async def test_what_no_cluster_says_of_itself_is_refused(changed: dict[str, Any], why: str) -> None:
    """It would stand in records, logs and on terminals."""
    async with HostileBroker() as broker:
        broker.lie = body(METADATA, encoded(broker.metadata(**changed)))
        error = await failure(broker)

    assert isinstance(error, ProtocolError)
    assert why in error.why


@pytest.mark.parametrize("cluster_id", ["x\x1b[2J" * 50_000, None])
async def test_what_is_no_cluster_id_is_not_another_clusters(cluster_id: str | None) -> None:
    """It stood as it came in the error, in status, and in the line of the flow file that was advised."""

    def wrong(told: str) -> WrongCluster:
        raise AssertionError(told)

    async with HostileBroker() as broker:
        broker.lie = body(METADATA, encoded(broker.metadata(cluster_id=cluster_id)))
        cluster = Cluster(broker.spec())
        cluster.pin("the one that is meant", wrong)
        with pytest.raises(ProtocolError) as caught:
            await cluster.refresh([TOPIC])
        cluster.brokers = {1: ("127.0.0.1", broker.port)}
        with pytest.raises(ProtocolError):
            await cluster.connection(1, Purpose.FETCH)
        cluster.close()

    assert caught.value.with_next_step().isprintable()
    assert len(caught.value.with_next_step()) < TEXT_CHARS_MAX


@pytest.mark.parametrize(("name", "why"), [("a\x1b[31m", "a topic is called"), ("other", "that leaves out orders")])
async def test_topics_that_cannot_be_are_refused(name: str, why: str) -> None:
    """By their names; and an answer has to tell of each that was asked for."""
    async with HostileBroker() as broker:
        (topic,) = broker.metadata().topics
        broker.lie = body(METADATA, encoded(broker.metadata(topics=(replace(topic, name=TopicName(name)),))))
        cluster = Cluster(broker.spec())
        with pytest.raises(ProtocolError) as caught:
            await cluster.refresh([TOPIC])
        cluster.close()

    assert why in str(caught.value)


@pytest.mark.parametrize("milliseconds", [-1, -(2**31), 2**31 - 1])
async def test_a_pause_that_a_broker_asks_for_is_bounded(monkeypatch: pytest.MonkeyPatch, milliseconds: int) -> None:
    """24 days, or less than nothing."""
    monkeypatch.setattr(connection_module, "THROTTLE_SECONDS_MAX", 0.3)
    async with HostileBroker() as broker:
        broker.lie = body(METADATA, struct.pack(">i", milliseconds) + encoded(broker.metadata())[4:])
        cluster = Cluster(broker.spec(timeout_seconds=1.0))
        await cluster.refresh([TOPIC])
        began = time.monotonic()
        await cluster.refresh([TOPIC])
        took = time.monotonic() - began
        told = cluster.seen.throttled("west", asyncio.get_running_loop().time())
        cluster.close()

    assert (took >= 0.25) is (milliseconds > 0)
    assert (told is not None) is (milliseconds > 0)


async def test_what_is_throttled_is_not_late() -> None:
    """While it throttles a broker reads nothing (KIP-219): nothing is sent then, and no time-out counts it."""
    async with HostileBroker() as broker:
        cluster = Cluster(broker.spec(timeout_seconds=0.2))
        await cluster.refresh([TOPIC])
        connection = await cluster.connection(1, Purpose.CONTROL)
        broker.lie = only(METADATA, lambda *_: b"\x00")  # the beginning of an answer, and no more
        unanswered = connection.ask(METADATA, 10, [b"\x00\x00\x00\x00"], 4)
        connection.throttle(3.0)
        held = connection.ask(METADATA, 10, [b"\x00\x00\x00\x00"], 4)
        assert (connection.holds_back, connection.in_flight) == (True, 1)
        await asyncio.sleep(1.5)  # deadlines are looked at each second
        assert connection.closed is None
        assert not cluster.seen.silent(asyncio.get_running_loop().time())
        for late in (unanswered, held):
            with pytest.raises(ConnectionFailed, match="did not answer in time"):
                await asyncio.wait_for(late, 10.0)
        cluster.close()


async def test_others_run_while_a_large_cluster_is_described() -> None:
    """The answer is read, and taken, in pieces."""
    async with HostileBroker() as broker:
        (topic,) = broker.metadata().topics
        (partition,) = topic.partitions
        many = tuple(replace(partition, partition_index=i32(number)) for number in range(5_000))
        topics = tuple(replace(topic, name=TopicName(f"{TOPIC}-{number}"), partitions=many) for number in range(4))
        broker.lie = body(METADATA, encoded(broker.metadata(topics=topics)))
        cluster = Cluster(broker.spec())
        await cluster.any_connection()
        turns = 0

        async def count() -> None:
            nonlocal turns
            while True:
                await asyncio.sleep(0)
                turns += 1

        counting = asyncio.create_task(count())
        await cluster.refresh(None)
        counting.cancel()
        cluster.close()

    assert len(cluster.topics) == 4
    assert turns > 20


async def test_a_broker_that_names_no_broker_ends_nobodys_process() -> None:
    """One that has just started does: librdkafka's parsers of its admin requests assert that there is one."""
    async with HostileBroker() as broker:
        nothing = encoded(broker.metadata(brokers=(), topics=()))
        broker.lie = body(METADATA, nothing)
        admin = TopicAdmin(broker.spec())
        try:
            for call in (admin.describe_cluster(), admin.topic_id(TOPIC), admin.each_broker_configs(["x"])):
                with pytest.raises(KafkaError) as caught:
                    await call
                assert caught.value.retryable
        finally:
            await admin.close()


async def test_what_an_answer_says_of_others_is_not_looked_at() -> None:
    """One flipped bit in a name ended the partition that was asked for, over a bug."""
    other = TopicPartition("ordeqs", 0)
    async with HostileBroker() as broker:
        broker.lie = only(LIST_OFFSETS, lambda _, answer: framed(answer.replace(TOPIC.encode(), other.topic.encode())))
        cluster = Cluster(broker.spec())
        try:
            await cluster.refresh([TOPIC])
            connection = await cluster.leader_connection(WHERE)
            answers = await control.list_offsets(
                connection, [WHERE], control.LATEST, isolation=Isolation.READ_UNCOMMITTED
            )
            assert answers == {}
            with pytest.raises(ProtocolError, match="that leaves out orders-0") as caught:
                control.answer_for(answers, WHERE, connection.cluster, "ListOffsets")
            assert caught.value.retryable
        finally:
            cluster.close()
