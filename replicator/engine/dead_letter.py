"""Sets records aside that a target topic does not take: each goes to its dead-letter topic, with its origin."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from replicator.engine.access import refused
from replicator.errors import BrokerRefused
from replicator.wire.produce import produce_by_name
from replicator.wire.records import NewRecord, encode
from replicator.wire.transactions import patiently

if TYPE_CHECKING:
    from collections.abc import Sequence

    from replicator.admin.topics import TopicAdmin
    from replicator.model.names import TopicPartition
    from replicator.wire.cluster import Cluster
    from replicator.wire.records import Record

SUFFIX = ".dead-letter"
OFFSET_HEADER = "replicator.offset"
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
) -> None:
    """Write records of `origin` to a partition of a dead-letter topic, each a batch of its own.

    A repeat writes them again: who reads them tells by the origin.

    Raises:
        KafkaError: The topic cannot be created or written to.
        TimedOut: It cannot be written to for long.
    """
    largest = max(payload_bytes(record) for record in records) + _OVERHEAD_BYTES
    await _ensure(cluster, admin, where, replicas, largest)
    for record in records:
        headers = (*record.headers, *origin_headers(origin, record))
        batch = encode([NewRecord(record.timestamp, record.key, record.value, headers)])
        # A topic that was just made has no leader for a moment, and then one that does not know it yet.
        await patiently(partial(_write, cluster, where, batch), f"writing to {where}")


async def _write(cluster: Cluster, where: TopicPartition, batch: bytes) -> None:
    await cluster.refresh([where.topic])
    answer = await produce_by_name(await cluster.leader_connection(where), where, batch)
    if answer.error:
        raise refused(cluster.spec, "Produce", answer.error, where.topic)


async def _ensure(cluster: Cluster, admin: TopicAdmin, where: TopicPartition, replicas: int, largest: int) -> None:
    limit = {"max.message.bytes": str(max(_SMALLEST_LIMIT_BYTES, largest)), "retention.ms": "-1"}
    topic = await cluster.describe(where.topic)
    if topic is None:
        try:
            await admin.create_topic(where.topic, where.partition + 1, replicas, limit)
        except BrokerRefused as error:
            if error.code != _TOPIC_ALREADY_EXISTS:
                raise
        return
    if topic.partition_count <= where.partition:
        await admin.create_partitions(where.topic, where.partition + 1)
    await admin.alter_configs(where.topic, {"max.message.bytes": limit["max.message.bytes"]})


def payload_bytes(record: Record) -> int:
    """Return the bytes of a record's key, value and headers."""
    return len(record.key or b"") + len(record.value or b"") + sum(len(n) + len(v or b"") for n, v in record.headers)


def origin_headers(origin: TopicPartition, record: Record) -> tuple[tuple[str, bytes], ...]:
    """Return the headers that tell where a record stood before it was written elsewhere."""
    return (
        ("replicator.topic", origin.topic.encode()),
        ("replicator.partition", b"%d" % origin.partition),
        (OFFSET_HEADER, b"%d" % record.offset),
    )
