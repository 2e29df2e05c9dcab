"""What the brokers answer about transactions: a coordinator, its producers, and what these enlist."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

from kio.schema.add_partitions_to_txn.v3.response import (
    AddPartitionsToTxnPartitionResult,
    AddPartitionsToTxnResponse,
    AddPartitionsToTxnTopicResult,
)
from kio.schema.end_txn.v3.response import EndTxnResponse
from kio.schema.errors import ErrorCode
from kio.schema.find_coordinator.v3.response import FindCoordinatorResponse
from kio.schema.init_producer_id.v4.response import InitProducerIdResponse
from kio.schema.types import BrokerId, ProducerId
from kio.static.primitive import i16, i32, i32Timedelta

if TYPE_CHECKING:
    from tests.copy_world.network import Pipe
    from tests.copy_world.world import World

AT_ONCE = i32Timedelta.parse(dt.timedelta(0))


class TransactionAnswers:
    """The answers of one cluster's coordinator.

    Args:
        world: The world.
        alias: The cluster's name.
    """

    def __init__(self, world: World, alias: str) -> None:
        self.world = world
        self.alias = alias

    def find_coordinator(self, pipe: Pipe, request: Any) -> FindCoordinatorResponse:
        """Name the coordinator."""
        del pipe, request
        return FindCoordinatorResponse(
            throttle_time=AT_ONCE,
            error_code=ErrorCode.none,
            error_message=None,
            node_id=BrokerId(1),
            host=self.alias,
            port=i32(1),
        )

    def init_producer(self, pipe: Pipe, request: Any) -> InitProducerIdResponse:
        """Begin a producer's next epoch."""
        del pipe
        if self.world.state.is_down:
            return InitProducerIdResponse(
                throttle_time=AT_ONCE,
                error_code=ErrorCode.coordinator_not_available,
                producer_id=ProducerId(-1),
                producer_epoch=i16(-1),
            )
        producer_id, epoch = self.world.coordinator.begin(str(request.transactional_id))
        return InitProducerIdResponse(
            throttle_time=AT_ONCE,
            error_code=ErrorCode.none,
            producer_id=ProducerId(producer_id),
            producer_epoch=i16(epoch),
        )

    def add_partitions(self, pipe: Pipe, request: Any) -> AddPartitionsToTxnResponse:
        """Enlist partitions."""
        del pipe
        name = str(request.v3_and_below_transactional_id)
        partitions = [
            (str(topic.name), int(number)) for topic in request.v3_and_below_topics for number in topic.partitions
        ]
        code = self.world.coordinator.add(
            name, int(request.v3_and_below_producer_id), int(request.v3_and_below_producer_epoch), partitions
        )
        topics = tuple(
            AddPartitionsToTxnTopicResult(
                name=topic.name,
                results_by_partition=tuple(
                    AddPartitionsToTxnPartitionResult(partition_index=number, partition_error_code=ErrorCode(code))
                    for number in topic.partitions
                ),
            )
            for topic in request.v3_and_below_topics
        )
        return AddPartitionsToTxnResponse(throttle_time=AT_ONCE, results_by_topic_v3_and_below=topics)

    def end_transaction(self, pipe: Pipe, request: Any) -> EndTxnResponse:
        """End a transaction."""
        del pipe
        code = self.world.coordinator.end(
            str(request.transactional_id),
            int(request.producer_id),
            int(request.producer_epoch),
            commit=bool(request.committed),
        )
        return EndTxnResponse(throttle_time=AT_ONCE, error_code=ErrorCode(code))
