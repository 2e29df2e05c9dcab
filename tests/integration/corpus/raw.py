"""Batches that librdkafka does not write: records without a time, and transactions in their V2 form (KIP-890)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta

from kio.schema.end_txn.v5.request import EndTxnRequest
from kio.schema.end_txn.v5.response import EndTxnResponse
from kio.schema.errors import ErrorCode
from kio.schema.find_coordinator.v3.request import FindCoordinatorRequest
from kio.schema.find_coordinator.v3.response import FindCoordinatorResponse
from kio.schema.init_producer_id.v5.request import InitProducerIdRequest
from kio.schema.init_producer_id.v5.response import InitProducerIdResponse
from kio.schema.types import ProducerId, TransactionalId
from kio.static.primitive import i8, i16, i32Timedelta

from replicator.model.names import TopicPartition
from replicator.model.security import ClusterSpec
from replicator.model.units import parse_bootstrap
from replicator.wire.batches.records import NewRecord, encode
from replicator.wire.cluster import Cluster, Purpose
from replicator.wire.messages.control import describe_producers
from replicator.wire.messages.data.produce import ProduceCodec
from replicator.wire.protocol.versions import PRODUCE, PRODUCE_BY_NAME
from replicator.wire.transport.connection import Connection
from tests.integration.kafka_client import Kafka

PRODUCE_V2 = 12
"""From this version on a broker adds a partition to the transaction itself."""
_TIMEOUT_MS = 30_000
_TRIES = 300
_NOT_YET = frozenset({3, 5, 6, 51})
"""Answers of brokers that do not know of a new topic yet, or have not finished the producer's last transaction."""
_OUT_OF_ORDER = 45
"""Of batches behind one that met such an answer. To send all of them again is safe: sequences tell repeats."""
_PASSING = frozenset(
    {
        ErrorCode.coordinator_load_in_progress,
        ErrorCode.coordinator_not_available,
        ErrorCode.not_coordinator,
        ErrorCode.concurrent_transactions,
    }
)


@asynccontextmanager
async def _open(cluster: Kafka, topic: str) -> AsyncIterator[Cluster]:
    wire = Cluster(ClusterSpec("corpus", parse_bootstrap(cluster.bootstrap)))
    try:
        await wire.open()
        assert await wire.refresh([topic]) == {}
        yield wire
    finally:
        wire.close()


async def _append(
    wire: Cluster, where: TopicPartition, batches: Sequence[bytes], version: int, transactional_id: str | None = None
) -> None:
    """Send batches to one partition, five in flight."""
    for first in range(0, len(batches), 5):
        for _ in range(_TRIES):
            errors = await _send(wire, where, batches[first : first + 5], version, transactional_id)
            if errors == {0} or not errors <= _NOT_YET | {0, _OUT_OF_ORDER}:
                break
            await asyncio.sleep(0.05)
            await wire.refresh([where.topic])
        assert errors == {0}, errors


async def _send(
    wire: Cluster, where: TopicPartition, batches: Sequence[bytes], version: int, transactional_id: str | None
) -> set[int]:
    """Send batches one behind the other; return what errors they met."""
    leader = wire.leader(where)
    if leader is None:
        return set(_NOT_YET)
    connection = await wire.connection(leader.node, Purpose.PRODUCE)
    codec = ProduceCodec(version, wire.topic_ids, _TIMEOUT_MS)
    asked = []
    for batch in batches:
        body, size = codec.request({where.topic: {where.partition: (batch, len(batch))}}, transactional_id)
        asked.append(connection.ask(PRODUCE, version, body, size))
    frames = await asyncio.gather(*asked)
    return {answer.error for frame in frames for answer in codec.answer(frame.buffer, frame.size)}


def write_batch(
    cluster: Kafka, topic: str, records: Sequence[tuple[int, bytes | None, bytes | None]], *, codec: int = 0
) -> None:
    """Write one batch to partition 0: (time in ms, key, value) each."""

    async def write() -> None:
        async with _open(cluster, topic) as wire:
            batch = encode((NewRecord(*each) for each in records), compression=codec)
            await _append(wire, TopicPartition(topic, 0), [batch], PRODUCE_BY_NAME)

    asyncio.run(write())


def write_as_only_producer(cluster: Kafka, topic: str, value: bytes) -> None:
    """Write a record to partition 0 under the only producer id that its broker knows there, in its next epoch."""

    async def write() -> None:
        where = TopicPartition(topic, 0)
        async with _open(cluster, topic) as wire:
            leader = wire.leader(where)
            assert leader is not None
            known = await describe_producers(await wire.connection(leader.node, Purpose.CONTROL), [where])
            assert known is not None
            (entry,) = known[where][1]
            record = NewRecord(time.time_ns() // 1_000_000, None, value)
            epoch = entry.producer_epoch + 1
            batch = encode([record], producer_id=entry.producer_id, producer_epoch=epoch, base_sequence=0)
            await _append(wire, where, [batch], PRODUCE_BY_NAME)

    asyncio.run(write())


class V2Producer:
    """One transactional id that speaks V2: each end of a transaction gives the next epoch."""

    def __init__(self, wire: Cluster, connection: Connection, transactional_id: str) -> None:
        self._wire = wire
        self._connection = connection
        self._id = transactional_id
        self._identity = (-1, -1)
        self._sequences: dict[TopicPartition, int] = {}

    async def init(self) -> None:
        """Begin: an open transaction of an earlier producer of this id is aborted."""
        request = InitProducerIdRequest(
            transactional_id=TransactionalId(self._id),
            transaction_timeout=i32Timedelta.parse(timedelta(milliseconds=_TIMEOUT_MS * 20)),
        )
        for _ in range(_TRIES):
            answer = await self._connection.call(request, InitProducerIdResponse)
            if answer.error_code not in _PASSING:
                break
            await asyncio.sleep(0.05)
        assert answer.error_code is ErrorCode.none, answer
        self._begin(int(answer.producer_id), int(answer.producer_epoch))

    def _begin(self, producer_id: int, producer_epoch: int) -> None:
        if (producer_id, producer_epoch) != self._identity:
            self._sequences.clear()  # a new epoch begins at 0
        self._identity = (producer_id, producer_epoch)

    async def write(self, where: TopicPartition, batches: Sequence[Sequence[NewRecord]], codec: int = 0) -> None:
        """Write batches of the present transaction; no AddPartitionsToTxn comes before."""
        encoded = []
        for records in batches:
            sequence = self._sequences.get(where, 0)
            self._sequences[where] = sequence + len(records)
            producer_id, producer_epoch = self._identity
            encoded.append(
                encode(
                    records,
                    producer_id=producer_id,
                    producer_epoch=producer_epoch,
                    base_sequence=sequence,
                    compression=codec,
                    transactional=True,
                )
            )
        await _append(self._wire, where, encoded, PRODUCE_V2, self._id)

    async def end(self, *, commit: bool) -> None:
        """Commit or abort."""
        producer_id, producer_epoch = self._identity
        request = EndTxnRequest(
            transactional_id=TransactionalId(self._id),
            producer_id=ProducerId(producer_id),
            producer_epoch=i16(producer_epoch),
            committed=commit,
        )
        for _ in range(_TRIES):
            answer = await self._connection.call(request, EndTxnResponse)
            if answer.error_code not in _PASSING:
                break
            await asyncio.sleep(0.05)
        assert answer.error_code is ErrorCode.none, answer
        assert int(answer.producer_epoch) != producer_epoch or int(answer.producer_id) != producer_id, "not V2"
        self._begin(int(answer.producer_id), int(answer.producer_epoch))


@asynccontextmanager
async def v2_producers(cluster: Kafka, topic: str, *transactional_ids: str) -> AsyncIterator[Mapping[str, V2Producer]]:
    """Give one producer for each transactional id."""
    transaction_key = i8(1)
    async with _open(cluster, topic) as wire:
        made = {}
        for name in transactional_ids:
            for _ in range(_TRIES):
                answer = await (await wire.any_connection()).call(
                    FindCoordinatorRequest(key=name, key_type=transaction_key), FindCoordinatorResponse
                )
                if answer.error_code not in _PASSING:
                    break
                await asyncio.sleep(0.05)
            assert answer.error_code is ErrorCode.none, answer
            connection = await wire.connection(int(answer.node_id), Purpose.CONTROL)
            made[name] = V2Producer(wire, connection, name)
            await made[name].init()
        yield made
