"""Transactions in their V1 form (KAFKA_FACTS K11), and producer ids: for the state topic and the flow's identities.

V1 works on every broker from 2.8 to 4.x.
It has a known hole: a delayed EndTxn may end a later transaction (KAFKA-17754). That is closed here by never starting
two transactions under one epoch: each change begins with InitProducerId.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, TypeVar

from kio.schema.add_partitions_to_txn.v3 import request as add_request
from kio.schema.add_partitions_to_txn.v3.response import AddPartitionsToTxnResponse
from kio.schema.end_txn.v3.request import EndTxnRequest
from kio.schema.end_txn.v3.response import EndTxnResponse
from kio.schema.errors import ErrorCode
from kio.schema.find_coordinator.v3.request import FindCoordinatorRequest
from kio.schema.find_coordinator.v3.response import FindCoordinatorResponse
from kio.schema.init_producer_id.v4.request import InitProducerIdRequest
from kio.schema.init_producer_id.v4.response import InitProducerIdResponse
from kio.schema.types import ProducerId, TopicName, TransactionalId
from kio.static.primitive import i8, i16, i32, i32Timedelta

from replicator.backoff import Backoff
from replicator.errors import Conflict, KafkaError, TimedOut
from replicator.wire.cluster import Purpose
from replicator.wire.protocol.faults import broker_error, first_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from replicator.model.names import TopicPartition
    from replicator.wire.cluster import Cluster
    from replicator.wire.transport.connection import Connection

GROUP_KEY = i8(0)
TRANSACTION_KEY = i8(1)
_TRANSACTION_TIMEOUT = timedelta(seconds=30)
_PATIENCE_SECONDS = 30.0
_PAUSE_SECONDS = (0.01, 0.5)
_FENCED = frozenset(
    {ErrorCode.invalid_producer_epoch, ErrorCode.producer_fenced, ErrorCode.invalid_producer_id_mapping}
)
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class ProducerIdentity:
    """A producer id with its epoch."""

    producer_id: int
    producer_epoch: int


async def patiently(work: Callable[[], Awaitable[R]], what: str, seconds: float = _PATIENCE_SECONDS) -> R:
    """Repeat `work` while it fails with retryable errors, for a bounded time.

    Only for requests that are safe to repeat.

    Raises:
        TimedOut: It still failed after `seconds`.
        KafkaError: It failed with an error that is not retryable.
    """
    now, pauses = asyncio.get_running_loop().time, Backoff(*_PAUSE_SECONDS)
    began = now()
    while True:
        try:
            return await work()
        except KafkaError as error:
            if not error.retryable:
                raise
            if now() - began >= seconds:
                raise TimedOut(f"{what} did not succeed within {seconds:g} s", why=str(error)) from error
        await asyncio.sleep(pauses.next_seconds())


async def coordinator(cluster: Cluster, name: str, kind: i8 = TRANSACTION_KEY) -> Connection:
    """Return a connection to the coordinator of a transactional id, or of a consumer group (`GROUP_KEY`).

    Raises:
        KafkaError: There is none now, or it cannot be reached.
    """
    return await cluster.connection(await coordinator_node(cluster, name, kind), Purpose.CONTROL)


async def coordinator_node(cluster: Cluster, name: str, kind: i8 = TRANSACTION_KEY) -> int:
    """Return the broker that coordinates a transactional id or a consumer group.

    Raises:
        KafkaError: There is none now.
    """
    connection = await cluster.any_connection()
    answer = await connection.call(FindCoordinatorRequest(key=name, key_type=kind), FindCoordinatorResponse)
    if answer.error_code is not ErrorCode.none:
        raise broker_error(cluster.spec, "FindCoordinator", int(answer.error_code), name, answer.error_message)
    node = int(answer.node_id)
    if node not in cluster.brokers:
        await cluster.refresh([])
    return node


async def init_producer_id(cluster: Cluster, transactional_id: str) -> ProducerIdentity:
    """Get the next epoch of a transactional id; an open transaction of an older one is aborted first.

    Raises:
        KafkaError: The cluster refuses.
        TimedOut: Its coordinator did not become ready.
    """

    async def once() -> ProducerIdentity:
        connection = await coordinator(cluster, transactional_id)
        request = InitProducerIdRequest(
            transactional_id=TransactionalId(transactional_id),
            transaction_timeout=i32Timedelta.parse(_TRANSACTION_TIMEOUT),
        )
        answer = await connection.call(request, InitProducerIdResponse)
        if answer.error_code is not ErrorCode.none:
            raise broker_error(cluster.spec, "InitProducerId", int(answer.error_code), transactional_id)
        return ProducerIdentity(int(answer.producer_id), int(answer.producer_epoch))

    return await patiently(once, f"InitProducerId of {transactional_id}")


class Transaction:
    """One transaction: it begins when it is constructed, after `init_producer_id`, and ends once.

    Raises (every method):
        Conflict: A newer epoch of this transactional id exists: someone else changed the state meanwhile.
        KafkaError: The cluster refuses, or the outcome is unknown.
    """

    def __init__(self, cluster: Cluster, transactional_id: str, identity: ProducerIdentity) -> None:
        self._cluster = cluster
        self._id = transactional_id
        self._identity = identity

    async def add(self, *partitions: TopicPartition) -> None:
        """Add partitions, all or none (Kafka's coordinator handles a request as a whole)."""
        by_topic: dict[str, list[int]] = defaultdict(list)
        for topic, partition in partitions:
            by_topic[topic].append(partition)

        async def once() -> None:
            request = add_request.AddPartitionsToTxnRequest(
                v3_and_below_transactional_id=TransactionalId(self._id),
                v3_and_below_producer_id=ProducerId(self._identity.producer_id),
                v3_and_below_producer_epoch=i16(self._identity.producer_epoch),
                v3_and_below_topics=tuple(
                    add_request.AddPartitionsToTxnTopic(name=TopicName(topic), partitions=tuple(map(i32, numbers)))
                    for topic, numbers in by_topic.items()
                ),
            )
            connection = await coordinator(self._cluster, self._id)
            answer = await connection.call(request, AddPartitionsToTxnResponse)
            codes = [
                (partition.partition_error_code, str(topic.name))
                for topic in answer.results_by_topic_v3_and_below
                for partition in topic.results_by_partition
            ]
            # If one is refused, the others get OPERATION_NOT_ATTEMPTED.
            said = [each for each in codes if each[0] not in {ErrorCode.none, ErrorCode.operation_not_attempted}]
            code, topic = first_of(said or codes, self._cluster.spec, "AddPartitionsToTxn", self._id)
            # A missing right on a topic is reported for that topic, not for the transactional id.
            self._check("AddPartitionsToTxn", code, topic if code is ErrorCode.topic_authorization_failed else self._id)

        await patiently(once, f"AddPartitionsToTxn of {self._id}")

    async def end(self, *, commit: bool) -> None:
        """Commit or abort. After a lost response the request is repeated: EndTxn of the same epoch is idempotent."""

        async def once() -> None:
            request = EndTxnRequest(
                transactional_id=TransactionalId(self._id),
                producer_id=ProducerId(self._identity.producer_id),
                producer_epoch=i16(self._identity.producer_epoch),
                committed=commit,
            )
            connection = await coordinator(self._cluster, self._id)
            answer = await connection.call(request, EndTxnResponse)
            self._check("EndTxn", answer.error_code, self._id)

        await patiently(once, f"EndTxn of {self._id}")

    def _check(self, api: str, code: ErrorCode, what: str) -> None:
        if code in _FENCED:
            raise Conflict(f"{self._id} was taken over by a newer epoch", why=f"{api} returned {code.name.upper()}")
        if code is not ErrorCode.none:
            raise broker_error(self._cluster.spec, api, int(code), what)
