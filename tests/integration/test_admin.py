"""Topic administration and the record reader against real clusters."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # its __init__ has no __all__
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ResourceType,
)

from replicator.admin.topics import TopicAdmin
from replicator.core.copy.writing.producer_memory import SETTINGS, producer_memory
from replicator.engine.logs.ranges.answers import OutOfRange
from replicator.engine.logs.ranges.partition_reader import PartitionReader
from replicator.errors import AuthenticationFailed, BrokerRefused, NotOurs
from replicator.model import security
from replicator.model.names import TopicPartition
from tests.integration.admin_reading import COMMITTED, UNCOMMITTED, Kafka, read, spec
from tests.integration.kafka_client import bounds, partition_count, wait_until
from tests.integration.load import numbered, produce


@pytest.fixture
async def admin(east: Kafka) -> AsyncIterator[TopicAdmin]:
    """Administration of the one-broker cluster."""
    made = TopicAdmin(spec(east))
    yield made
    await made.close()


async def test_life_of_a_topic(admin: TopicAdmin, topic_name: str) -> None:
    """Create, describe, grow, change and remove settings; other settings stay."""
    topic = await admin.create_topic(topic_name, 2, 1, {"retention.ms": "1000", "segment.ms": "5000"})
    await admin.create_partitions(topic, 3)
    await admin.alter_configs(topic, {"cleanup.policy": "compact"}, ["segment.ms"])

    found = (await admin.describe_configs([topic_name, "no-such-topic"]))[topic_name]

    assert found.dynamic == {"retention.ms": "1000", "cleanup.policy": "compact"}
    assert found.effective["segment.ms"].source == "default_config"
    assert found.effective["retention.ms"].source == "dynamic_topic_config"
    assert (await admin.topics())[topic_name] == 3


async def test_asking_creates_no_topic(admin: TopicAdmin, topic_name: str) -> None:
    """Not even where the brokers would."""
    assert await admin.describe_configs([topic_name]) == {}
    with pytest.raises(BrokerRefused):
        await admin.end_offsets([TopicPartition(topic_name, 0)], COMMITTED)
    assert topic_name not in await admin.topics()


async def test_a_topic_of_the_same_name_is_not_changed(admin: TopicAdmin, east: Kafka, topic_name: str) -> None:
    """Deleted and created again since it was proven ours: settings, partitions and records of its successor stay."""
    ours = await admin.create_topic(topic_name, 1, 1, {})
    await admin.delete_topic(ours)
    wait_until("it is gone", lambda: partition_count(east, topic_name) == 0)
    theirs = await admin.create_topic(topic_name, 1, 1, {"retention.ms": "-1"})
    assert ours.topic_id != theirs.topic_id
    produce(east, topic_name, numbered(5))
    before = await admin.describe_configs([topic_name])
    for call in (
        admin.alter_configs(ours, {"retention.ms": "1"}),
        admin.create_partitions(ours, 3),
        admin.delete_records(ours, {0: 5}),
        admin.delete_topic(ours),
    ):
        with pytest.raises(NotOurs, match="created again"):
            await call
    assert await admin.describe_configs([topic_name]) == before
    assert (await admin.topics())[topic_name] == 1
    assert bounds(east, topic_name) == {0: (0, 5)}


async def test_refusals(admin: TopicAdmin, topic_name: str) -> None:
    """Each with a cause and a next step."""
    topic = await admin.create_topic(topic_name, 2, 1, {})
    for call, code in (
        (admin.create_topic(topic_name, 2, 1, {}), 36),
        (admin.create_topic(topic_name + "-a", 1, 5, {}), 38),
        (admin.create_topic(topic_name + "-b", 1, 1, {"no.such": "1"}), 40),
        (admin.create_partitions(topic, 1), 37),
        (admin.alter_configs(topic, {"retention.ms": "soon"}), 40),
    ):
        with pytest.raises(BrokerRefused) as raised:
            await call
        assert raised.value.code == code
        assert raised.value.why
        assert raised.value.next_step


async def test_cluster_and_broker_facts(admin: TopicAdmin) -> None:
    """Id, brokers and broker settings; a setting it does not know is left out."""
    facts = await admin.describe_cluster()
    assert facts.cluster_id
    assert facts.brokers == 1
    found = await admin.broker_configs(["producer.id.expiration.ms", "message.max.bytes", "no.such"])
    assert found.keys() == {"producer.id.expiration.ms", "message.max.bytes"}


async def test_each_broker_has_settings_of_its_own(west: Kafka) -> None:
    """One of three remembers producers for longer than the others: the shortest of them counts."""
    name, longer = "producer.id.expiration.ms", "90000000"
    client = AdminClient({"bootstrap.servers": west.bootstrap})

    def change(operation: AlterConfigOpType, value: str | None) -> None:
        entry = ConfigEntry(name, value, incremental_operation=operation)
        resource = ConfigResource(ResourceType.BROKER, "2", incremental_configs=[entry])
        client.incremental_alter_configs([resource])[resource].result(30)

    admin = TopicAdmin(spec(west))
    try:
        change(AlterConfigOpType.SET, longer)
        wanted = {1: "86400000", 2: longer, 3: "86400000"}
        told = await admin.each_broker_configs(SETTINGS)
        for _ in range(100):  # the broker hears of it a moment later
            if (told[2] or {}).get(name) == longer:
                break
            await asyncio.sleep(0.1)
            told = await admin.each_broker_configs(SETTINGS)
        assert {broker: (values or {}).get(name) for broker, values in told.items()} == wanted
        memory = producer_memory(told)
        assert (memory.shortest_ms, memory.differs, memory.is_complete) == (86_400_000, True, True)
    finally:
        change(AlterConfigOpType.DELETE, None)
        await admin.close()


async def test_a_wrong_login_fails_at_once(east: Kafka) -> None:
    """A broker without SASL refuses the handshake; no time-out is waited for."""
    credentials = security.Security(
        security.Protocol.SASL_PLAINTEXT, security.Mechanism.PLAIN, "u", security.Secret("canary")
    )
    admin = TopicAdmin(spec(east, credentials))
    with pytest.raises(AuthenticationFailed) as raised:
        await admin.describe_cluster()
    assert "canary" not in str(raised.value)


async def test_every_field_of_a_record_is_read(admin: TopicAdmin, east: Kafka, topic_name: str) -> None:
    """Times, null against empty, headers in order with duplicates and nulls."""
    await admin.create_topic(topic_name, 1, 1, {"retention.ms": "-1"})
    producer = Producer({"bootstrap.servers": east.bootstrap, "log_level": 0})
    headers: list[tuple[str, str | bytes | None]] = [("b", b"1"), ("a", None), ("b", b""), ("b", b"1")]
    producer.produce(topic_name, b"v", b"k", 0, timestamp=1234, headers=headers)
    producer.produce(topic_name, None, b"", 0, timestamp=1235)
    producer.produce(topic_name, b"", None, 0, timestamp=1236)
    producer.flush()
    reader = PartitionReader(spec(east), COMMITTED)

    found = await read(reader, TopicPartition(topic_name, 0), 0, 3)
    tail = await read(reader, TopicPartition(topic_name, 0), 1, 2)
    await asyncio.to_thread(reader.close)

    assert found == [
        (0, 1234, b"k", b"v", headers),
        (1, 1235, b"", None, None),
        (2, 1236, None, b"", None),
    ]
    assert [record[0] for record in tail] == [1]


async def test_a_log_that_ends_with_markers_is_read_to_its_end(admin: TopicAdmin, east: Kafka, topic_name: str) -> None:
    """Offsets without a record, also the last one; aborted records show to uncommitted readers only."""
    await admin.create_topic(topic_name, 1, 1, {})
    producer = Producer({"bootstrap.servers": east.bootstrap, "log_level": 0, "transactional.id": topic_name})
    producer.init_transactions(30)
    for commit in (True, False, True, False):
        producer.begin_transaction()
        producer.produce(topic_name, b"v", partition=0)
        producer.produce(topic_name, b"w", partition=0)
        producer.flush()
        if commit:
            producer.commit_transaction(30)
        else:
            producer.abort_transaction(30)
    part = TopicPartition(topic_name, 0)
    # EndTxn answers before the last marker stands.
    wait_until("the last marker stands", lambda: bounds(east, topic_name) == {0: (0, 12)})
    assert await admin.end_offsets([part], COMMITTED) == {part: 12}
    for isolation, offsets in ((COMMITTED, [0, 1, 6, 7]), (UNCOMMITTED, [0, 1, 3, 4, 6, 7, 9, 10])):
        reader = PartitionReader(spec(east), isolation)
        assert [record[0] for record in await read(reader, part, 0, 12)] == offsets
        assert reader.at_end
        await asyncio.to_thread(reader.close)


async def test_deleted_records_are_an_error_not_a_jump(admin: TopicAdmin, east: Kafka, topic_name: str) -> None:
    """No offset is ever reset."""
    topic = await admin.create_topic(topic_name, 1, 1, {})
    producer = Producer({"bootstrap.servers": east.bootstrap, "log_level": 0})
    for _ in range(10):
        producer.produce(topic_name, b"v", partition=0)
    producer.flush()
    part = TopicPartition(topic_name, 0)
    assert await admin.delete_records(topic, {0: 4}) == {part: 4}
    assert await admin.start_offsets([part]) == {part: 4}
    reader = PartitionReader(spec(east), COMMITTED)
    with pytest.raises(OutOfRange) as raised:
        await read(reader, part, 0, 10)
    assert raised.value.offset == 0
    assert await asyncio.to_thread(reader.log_start, part) == 4
    assert [record[0] for record in await read(reader, part, 4, 10)] == [4, 5, 6, 7, 8, 9]
    await asyncio.to_thread(reader.close)


async def test_one_reader_walks_many_partitions(admin: TopicAdmin, east: Kafka, topic_name: str) -> None:
    """Nothing of one partition shows in the next, also when it is left early."""
    await admin.create_topic(topic_name, 8, 1, {})
    producer = Producer({"bootstrap.servers": east.bootstrap, "log_level": 0})
    for at in range(8 * 500):
        producer.produce(topic_name, b"%d" % (at % 8), partition=at % 8)
    producer.flush()
    reader = PartitionReader(spec(east), COMMITTED, fetch_bytes=1 << 20)
    for number in range(8):
        part = TopicPartition(topic_name, number)
        assert (await read(reader, part, 100, 500, chunks=1))[0][0] == 100
        found = await read(reader, part, 0, 500)
        assert [record[0] for record in found] == list(range(500))
        assert {record[3] for record in found} == {b"%d" % number}
    await asyncio.to_thread(reader.close)
