"""Sets aside records that a target topic cannot take: each goes to its dead-letter topic, with its origin."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from replicator.core.topics.ownership import holding_only_ours, recorded
from replicator.engine.logs.bounds import offsets_of
from replicator.engine.logs.opening import records_of
from replicator.engine.logs.reading import read_batches
from replicator.engine.logs.refusals import broker_error
from replicator.engine.logs.side import Side
from replicator.errors import BrokerRefused, CorruptRecords, PreflightFailed, TooLargeToOpen
from replicator.model.names import TopicPartition
from replicator.wire.batches.records import NewRecord, encode
from replicator.wire.messages import control
from replicator.wire.messages.data.produce import produce_by_name
from replicator.wire.messages.data.transactions import patiently

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from replicator.admin.topics import TopicAdmin
    from replicator.core.topics.ownership import OwnedTopic
    from replicator.wire.batches.records import Record
    from replicator.wire.cluster import Cluster
    from replicator.wire.topology import Topic
    from replicator.wire.transport.connection import Connection

SUFFIX = ".dead-letter"
OFFSET_HEADER = b"replicator.offset"
_TOPIC_HEADER = b"replicator.topic"
_TOPIC_ALREADY_EXISTS = 36
_OVERHEAD_BYTES = 4096
_SMALLEST_LIMIT_BYTES = 1 << 20


async def set_aside(
    cluster: Cluster,
    admin: TopicAdmin,
    origin: TopicPartition,
    where: TopicPartition,
    records: Sequence[Record],
    *,
    replicas: int,
    known: bytes,
    record_id: Callable[[bytes], Awaitable[None]],
) -> None:
    """Write records of `origin` to a partition of a dead-letter topic, each a batch of its own.

    A retry writes them again; readers recognize duplicates by the origin headers.

    Args:
        cluster: The target.
        admin: Of the target.
        origin: The source partition of the records.
        where: The partition of the dead-letter topic.
        records: The records to set aside.
        replicas: The replication factor if the topic has to be created.
        known: The recorded id of the topic where records of this mirror were set aside before; empty if there is none.
        record_id: Records the topic's id, before the topic is changed or written to.

    Raises:
        PreflightFailed: A topic of that name exists and holds records that are not ours.
        KafkaError: The topic cannot be created or written to.
        TimedOut: Writing kept failing for too long.
    """
    largest = max(payload_bytes(record) for record in records) + _OVERHEAD_BYTES
    await _ensure(cluster, admin, origin, where, replicas, largest, known, record_id)
    for record in records:
        headers = (*record.headers, *origin_headers(origin, record))
        batch = encode([NewRecord(record.timestamp, record.key, record.value, headers)])
        # A new topic has no leader for a moment, and then one that does not know the topic yet.
        await patiently(partial(_write, cluster, where, batch), f"writing to {where}")


async def _write(cluster: Cluster, where: TopicPartition, batch: bytes) -> None:
    await cluster.refresh([where.topic])
    answer = await produce_by_name(await cluster.leader_connection(where), where, batch)
    if answer.error:
        raise broker_error(cluster.spec, "Produce", answer.error, where.topic)


async def _ensure(
    cluster: Cluster,
    admin: TopicAdmin,
    origin: TopicPartition,
    where: TopicPartition,
    replicas: int,
    largest: int,
    known: bytes,
    record_id: Callable[[bytes], Awaitable[None]],
) -> None:
    limit = {"max.message.bytes": str(max(_SMALLEST_LIMIT_BYTES, largest)), "retention.ms": "-1"}
    topic = await cluster.describe(where.topic)
    if topic is None:
        try:
            made = await admin.create_topic(where.topic, where.partition + 1, replicas, limit)
        except BrokerRefused as error:
            if error.code != _TOPIC_ALREADY_EXISTS:
                raise
            topic = await cluster.describe(where.topic)
        else:
            await record_id(made.topic_id)
    if topic is None:
        return
    owned = recorded(topic.name, known)
    if not any(known) or not owned.is_still(topic.topic_id):
        owned = await _proven(cluster, topic, origin)
        await record_id(owned.topic_id)
    if topic.partition_count <= where.partition:
        await admin.create_partitions(owned, where.partition + 1)
    await admin.alter_configs(owned, {"max.message.bytes": limit["max.message.bytes"]})


async def _proven(cluster: Cluster, topic: Topic, origin: TopicPartition) -> OwnedTopic:
    """Return the proof that an existing topic of that name is where records of this mirror were set aside before.

    An application may have a dead-letter queue of its own under this name. So the last record of each log must carry
    our headers. A topic that never held a record is accepted. One that was emptied since then proves nothing: only the
    recorded id does.

    Raises:
        PreflightFailed: It holds records that are not ours.
        KafkaError: It cannot be read.
    """
    side = Side(cluster, cluster.topic_ids)
    for number in sorted(topic.leaders):
        where = TopicPartition(topic.name, number)
        connection = await cluster.leader_connection(where)
        end = (await offsets_of(connection, [where], control.LATEST))[where]
        if end > 0 and not await _ends_with_ours(side, connection, where, end, origin):
            raise PreflightFailed(
                f"{topic.name} on {cluster.spec.alias} is not a dead-letter topic of {origin.topic}",
                why=f"partition {number} ends with a record that was not set aside from it: it may be an application's",
                next_step="nothing was changed; move that topic away, or mirror this one under another name (`rename`)",
            )
    return holding_only_ours(topic.name, topic.topic_id)


async def _ends_with_ours(
    side: Side, connection: Connection, where: TopicPartition, end: int, origin: TopicPartition
) -> bool:
    try:
        frame, headers = await read_batches(side, connection, where, end - 1)
        records = [record for header in headers if not header.is_control for record in await records_of(frame, header)]
    except (BrokerRefused, CorruptRecords, TooLargeToOpen) as error:
        if isinstance(error, BrokerRefused) and error.retryable:
            raise
        return False  # the record is gone, or cannot be read
    last = next((record for record in records if record.offset == end - 1), None)
    return last is not None and (_TOPIC_HEADER, origin.topic.encode()) in last.headers


def payload_bytes(record: Record) -> int:
    """Return the bytes of a record's key, value and headers."""
    return len(record.key or b"") + len(record.value or b"") + sum(len(n) + len(v or b"") for n, v in record.headers)


def origin_headers(origin: TopicPartition, record: Record) -> tuple[tuple[bytes, bytes], ...]:
    """Return the headers that say which partition and offset a record came from."""
    return (
        (_TOPIC_HEADER, origin.topic.encode()),
        (b"replicator.partition", b"%d" % origin.partition),
        (OFFSET_HEADER, b"%d" % record.offset),
    )
