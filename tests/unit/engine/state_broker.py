"""A broker that keeps a state topic, on a real loopback socket: produces, transactions with markers, and fetches."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from kio.schema.add_partitions_to_txn.v3.request import AddPartitionsToTxnRequest
from kio.schema.add_partitions_to_txn.v3.response import (
    AddPartitionsToTxnPartitionResult,
    AddPartitionsToTxnResponse,
    AddPartitionsToTxnTopicResult,
)
from kio.schema.end_txn.v3.request import EndTxnRequest
from kio.schema.end_txn.v3.response import EndTxnResponse
from kio.schema.errors import ErrorCode
from kio.schema.fetch.v12.request import FetchRequest
from kio.schema.fetch.v12.response import AbortedTransaction, PartitionData
from kio.schema.find_coordinator.v3.response import FindCoordinatorResponse
from kio.schema.init_producer_id.v4.response import InitProducerIdResponse
from kio.schema.list_offsets.v6.request import ListOffsetsRequest
from kio.schema.list_offsets.v6.response import (
    ListOffsetsPartitionResponse,
    ListOffsetsResponse,
    ListOffsetsTopicResponse,
)
from kio.schema.metadata.v10.response import MetadataResponse
from kio.schema.produce.v9.request import ProduceRequest
from kio.schema.produce.v9.response import PartitionProduceResponse, ProduceResponse, TopicProduceResponse
from kio.schema.types import BrokerId, ProducerId, TopicName
from kio.serial import entity_reader
from kio.static.primitive import Records, i16, i32, i64

from replicator.engine.state.topic.log import StateLog
from replicator.model.batch import HEADER
from replicator.model.names import STATE_TOPIC, TopicPartition
from replicator.model.security import ClusterSpec
from replicator.wire.batches.batch import scan
from replicator.wire.batches.records import NewRecord, encode
from replicator.wire.cluster import Cluster
from tests.unit.engine.source_broker import AT_ONCE, SourceBroker

WHERE = TopicPartition(STATE_TOPIC, 0)
_CONTROL_BITS = 0x30
_MESSAGE_TOO_LARGE = ErrorCode.message_too_large


class StateBroker(SourceBroker):
    """The one broker of a cluster that holds a state topic.

    Attributes:
        batches: Its log.
        batch_bytes_max: What it takes.
        answer_bytes: How much a fetch gives at once; one batch at least.
        produced: Sizes of the batches that it took.
        stop_at: How many more batches it takes before it answers none, nor anything else; None for all.
    """

    def __init__(self, batch_bytes_max: int = 1_048_588) -> None:
        super().__init__(1, self._fetched)
        self.versions |= {10: (3, 3), 24: (3, 3), 26: (3, 3)}
        self.others = {
            0: self._produce,
            2: self._offsets,
            10: self._coordinator,
            22: self._begin,
            24: self._add,
            26: self._end_transaction,
        }
        self.batches: list[bytes] = []
        self.batch_bytes_max = batch_bytes_max
        self.answer_bytes = 1 << 20
        self.produced: list[int] = []
        self.stop_at: int | None = None
        self.stopped = asyncio.Event()
        self._end = 0
        self._epoch = 0
        self._open: int | None = None
        self._aborted: list[tuple[int, int]] = []

    def _metadata(self, names: list[str]) -> MetadataResponse:
        made = super()._metadata(["orders-1" for _ in names])
        topics = tuple(replace(topic, name=TopicName(name)) for topic, name in zip(made.topics, names, strict=True))
        return replace(made, topics=topics)

    def _append(self, raw: bytes) -> int:
        base = self._end
        one = bytearray(raw)
        fields = list(HEADER.unpack_from(one))
        fields[0], fields[2] = base, 3
        HEADER.pack_into(one, 0, *fields)
        self.batches.append(bytes(one))
        self._end = scan(one, 0, len(one))[0].next_offset
        return base

    def _mark(self, *, commit: bool) -> None:
        """End the open transaction, if there is one."""
        if self._open is None:
            return
        raw = bytearray(
            encode(
                [NewRecord(0, struct.pack(">hh", 0, int(commit)), b"\0" * 6)],
                producer_id=500,
                producer_epoch=self._epoch,
                base_sequence=-1,
                transactional=True,
            )
        )
        (attributes,) = struct.unpack_from(">h", raw, 21)
        struct.pack_into(">h", raw, 21, attributes | _CONTROL_BITS)
        if not commit:
            self._aborted.append((self._open, self._end))
        self._append(bytes(raw))
        self._open = None

    @property
    def stable(self) -> int:
        """The last stable offset."""
        return self._end if self._open is None else self._open

    async def _answer(self, key: int, raw: bytes, at: int) -> bytes:
        if self.stop_at == 0 and key in {0, 26}:
            self.stopped.set()
            await asyncio.Event().wait()
        return await super()._answer(key, raw, at)

    def _produce(self, raw: bytes, at: int) -> Any:
        request, _ = entity_reader(ProduceRequest)(raw, at)
        data = bytes(request.topic_data[0].partition_data[0].records or b"")
        error, base = ErrorCode.none, -1
        if len(data) > self.batch_bytes_max:
            error = _MESSAGE_TOO_LARGE
        else:
            base = self._append(data)
            self.produced.append(len(data))
            if request.transactional_id is not None and self._open is None:
                self._open = base
            if self.stop_at is not None:
                self.stop_at -= 1
        one = PartitionProduceResponse(
            index=i32(0),
            error_code=error,
            base_offset=i64(base),
            log_append_time=None,
            log_start_offset=i64(0),
            record_errors=(),
            error_message=None,
        )
        topic = TopicProduceResponse(name=request.topic_data[0].name, partition_responses=(one,))
        return ProduceResponse(responses=(topic,), throttle_time=AT_ONCE)

    def _offsets(self, raw: bytes, at: int) -> ListOffsetsResponse:
        request, _ = entity_reader(ListOffsetsRequest)(raw, at)
        asked = request.topics[0].partitions[0]
        end = self.stable if request.isolation_level else self._end
        one = ListOffsetsPartitionResponse(
            partition_index=i32(0),
            error_code=ErrorCode.none,
            timestamp=i64(-1),
            offset=i64(end if int(asked.timestamp) == -1 else 0),
            leader_epoch=i32(3),
        )
        topic = ListOffsetsTopicResponse(name=request.topics[0].name, partitions=(one,))
        return ListOffsetsResponse(throttle_time=AT_ONCE, topics=(topic,))

    def _coordinator(self, _raw: bytes, _at: int) -> FindCoordinatorResponse:
        return FindCoordinatorResponse(
            throttle_time=AT_ONCE,
            error_code=ErrorCode.none,
            error_message=None,
            node_id=BrokerId(1),
            host="127.0.0.1",
            port=i32(self.port),
        )

    def _begin(self, _raw: bytes, _at: int) -> InitProducerIdResponse:
        self._mark(commit=False)
        self._epoch += 1
        return InitProducerIdResponse(
            throttle_time=AT_ONCE,
            error_code=ErrorCode.none,
            producer_id=ProducerId(500),
            producer_epoch=i16(self._epoch),
        )

    def _add(self, raw: bytes, at: int) -> AddPartitionsToTxnResponse:
        request, _ = entity_reader(AddPartitionsToTxnRequest)(raw, at)
        ok = AddPartitionsToTxnPartitionResult(partition_index=i32(0), partition_error_code=ErrorCode.none)
        topic = AddPartitionsToTxnTopicResult(name=request.v3_and_below_topics[0].name, results_by_partition=(ok,))
        return AddPartitionsToTxnResponse(throttle_time=AT_ONCE, results_by_topic_v3_and_below=(topic,))

    def _end_transaction(self, raw: bytes, at: int) -> EndTxnResponse:
        request, _ = entity_reader(EndTxnRequest)(raw, at)
        if request.producer_epoch != self._epoch:
            return EndTxnResponse(throttle_time=AT_ONCE, error_code=ErrorCode.invalid_producer_epoch)
        self._mark(commit=bool(request.committed))
        return EndTxnResponse(throttle_time=AT_ONCE, error_code=ErrorCode.none)

    async def _fetched(self, _broker: SourceBroker, fetch: FetchRequest) -> Mapping[TopicPartition, PartitionData]:
        offset = int(fetch.topics[0].partitions[0].fetch_offset)
        out = b""
        for raw in self.batches:
            header = scan(bytearray(raw), 0, len(raw))[0]
            if header.next_offset <= offset:
                continue
            if header.next_offset > self.stable or (out and len(out) + len(raw) > self.answer_bytes):
                break
            out += raw
        if not out:
            await asyncio.sleep(0.01)
        return {
            WHERE: PartitionData(
                partition_index=i32(0),
                error_code=ErrorCode.none,
                high_watermark=i64(self._end),
                last_stable_offset=i64(self.stable),
                log_start_offset=i64(0),
                aborted_transactions=tuple(
                    AbortedTransaction(producer_id=ProducerId(500), first_offset=i64(first))
                    for first, marker in self._aborted
                    if marker >= offset
                ),
                records=Records.parse(out),
            )
        }

    def cluster_of(self) -> Cluster:
        """Return a client's view of it, not opened yet."""
        return Cluster(ClusterSpec("west", (("127.0.0.1", self.port),)))


async def log_on(broker: StateBroker) -> StateLog:
    """Return a state log of a daemon that has just started."""
    cluster = broker.cluster_of()
    await cluster.open()
    await cluster.refresh([STATE_TOPIC])
    return StateLog(cluster)
