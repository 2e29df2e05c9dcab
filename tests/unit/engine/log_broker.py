"""Brokers that hold logs, on real loopback sockets: what an attach asks of both sides, beside the fetches."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field

from kio.schema.errors import ErrorCode
from kio.schema.fetch.v12.request import FetchRequest
from kio.schema.fetch.v12.response import PartitionData
from kio.schema.list_offsets.v6.request import ListOffsetsRequest
from kio.schema.list_offsets.v6.response import (
    ListOffsetsPartitionResponse,
    ListOffsetsResponse,
    ListOffsetsTopicResponse,
)
from kio.schema.offset_for_leader_epoch.v4.request import OffsetForLeaderEpochRequest
from kio.schema.offset_for_leader_epoch.v4.response import (
    EpochEndOffset,
    OffsetForLeaderEpochResponse,
    OffsetForLeaderTopicResult,
)
from kio.serial import entity_reader
from kio.static.primitive import i32, i64

from replicator.model.batch import HEADER
from replicator.model.names import TopicPartition
from replicator.model.spec import Isolation
from replicator.wire.batches.batch import scan
from replicator.wire.batches.records import NewRecord, encode
from tests.isolation import isolation_of
from tests.unit.engine.source_broker import AT_ONCE, SourceBroker, partition

_HEADER_AT = struct.Struct(">q")


def written(base: int, count: int, *, producer_id: int = -1, times: int = 1_700_000_000_000, epoch: int = 3) -> bytes:
    """Return a batch of records as a log holds it, of a producer whose sequence is its offset."""
    ours = producer_id >= 0
    raw = bytearray(
        encode(
            [NewRecord(times, None, b"%d" % (base + at)) for at in range(count)],
            producer_id=producer_id,
            producer_epoch=0 if ours else -1,
            base_sequence=base if ours else -1,
        )
    )
    fields = list(HEADER.unpack_from(raw))
    fields[0], fields[2] = base, epoch
    HEADER.pack_into(raw, 0, *fields)
    return bytes(raw)


@dataclass(slots=True)
class Log:
    """A partition's log.

    Attributes:
        batches: Its batches.
        end: Its high watermark.
        start: Where it begins, and
        local: where the part begins that the broker keeps itself.
        slow: Whether its remote tier gives nothing now.
        stable: Its last stable offset, -1 for its end.
    """

    batches: list[bytes] = field(default_factory=list)
    end: int = 0
    start: int = 0
    local: int = 0
    slow: bool = False
    stable: int = -1

    @property
    def stable_end(self) -> int:
        """What a reader of committed records may read up to."""
        return self.end if self.stable < 0 else self.stable

    def read(self, offset: int) -> bytes:
        """Return what a broker answers: whole batches from the one that holds the offset on."""
        if self.slow and offset < self.local:
            return b""
        kept = [
            raw
            for raw in self.batches
            if scan(bytearray(raw), 0, len(raw))[0].next_offset > offset and _HEADER_AT.unpack_from(raw)[0] < self.end
        ]
        return b"".join(kept)


class LogBroker(SourceBroker):
    """A broker that answers from logs.

    Args:
        node: Its number.
        tells_local: Whether it offers to tell which part of a log it keeps itself (ListOffsets v8).

    Attributes:
        logs: Its logs, by partition.
        looks: Fetches without a session, by partition.
        present_epoch: The leader epoch that it leads in, whatever its metadata tell: none later is answered for.
    """

    def __init__(self, node: int, *, tells_local: bool = True) -> None:
        super().__init__(node, self._fetched)
        self.logs: dict[TopicPartition, Log] = {}
        self.looks: list[tuple[TopicPartition, int]] = []
        self.versions[2] = (6, 8 if tells_local else 7)
        self.others = {2: self._offsets, 23: self._epochs}
        self.present_epoch = 3
        self._reading: dict[TopicPartition, int] = {}

    async def _fetched(self, _broker: SourceBroker, fetch: FetchRequest) -> Mapping[TopicPartition, PartitionData]:
        asked = {
            TopicPartition(str(topic.topic), int(one.partition)): int(one.fetch_offset)
            for topic in fetch.topics
            for one in topic.partitions
        }
        if fetch.session_epoch < 0:
            self.looks += asked.items()
            if any(one.current_leader_epoch > self.present_epoch for topic in fetch.topics for one in topic.partitions):
                return {where: _refused(where) for where in asked}
            return {where: self._answer_of(where, offset) for where, offset in asked.items()}
        if fetch.session_epoch == 0:
            self._reading.clear()
        self._reading |= asked
        out = {}
        for where, offset in self._reading.items():
            # As a session does: told is what changed, and of a partition that was just listed in any case.
            if self.logs[where].read(offset) or where in asked:
                out[where] = self._answer_of(where, offset)
        await asyncio.sleep(0.005 if out else 0.05)
        return out

    def _answer_of(self, where: TopicPartition, offset: int) -> PartitionData:
        log = self.logs[where]
        made = partition(where, log.read(offset), end=log.end, start=log.start)
        return _with_stable(made, log.stable_end)

    def _offsets(self, raw: bytes, at: int) -> ListOffsetsResponse:
        request, _ = entity_reader(ListOffsetsRequest)(raw, at)
        return ListOffsetsResponse(
            throttle_time=AT_ONCE,
            topics=tuple(
                ListOffsetsTopicResponse(
                    name=topic.name,
                    partitions=tuple(
                        ListOffsetsPartitionResponse(
                            partition_index=one.partition_index,
                            error_code=ErrorCode.none,
                            timestamp=i64(-1),
                            offset=i64(
                                self._offset(
                                    self.logs[TopicPartition(str(topic.name), int(one.partition_index))],
                                    int(one.timestamp),
                                    isolation=isolation_of(request.isolation_level),
                                )
                            ),
                            leader_epoch=i32(3),
                        )
                        for one in topic.partitions
                    ),
                )
                for topic in request.topics
            ),
        )

    @staticmethod
    def _offset(log: Log, timestamp: int, *, isolation: Isolation) -> int:
        end = log.stable_end if isolation is Isolation.READ_COMMITTED else log.end
        return {-1: end, -2: log.start, -4: log.local}[timestamp]

    def _epochs(self, raw: bytes, at: int) -> OffsetForLeaderEpochResponse:
        request, _ = entity_reader(OffsetForLeaderEpochRequest)(raw, at)
        return OffsetForLeaderEpochResponse(
            throttle_time=AT_ONCE,
            topics=tuple(
                OffsetForLeaderTopicResult(
                    topic=topic.topic,
                    partitions=tuple(
                        EpochEndOffset(
                            error_code=ErrorCode.none,
                            partition=one.partition,
                            leader_epoch=one.leader_epoch,
                            end_offset=i64(self.logs[TopicPartition(str(topic.topic), int(one.partition))].end),
                        )
                        for one in topic.partitions
                    ),
                )
                for topic in request.topics
            ),
        )


def _refused(where: TopicPartition) -> PartitionData:
    return PartitionData(
        partition_index=i32(where.partition),
        error_code=ErrorCode.unknown_leader_epoch,
        high_watermark=i64(-1),
        last_stable_offset=i64(-1),
        log_start_offset=i64(-1),
        aborted_transactions=(),
        records=None,
    )


def _with_stable(made: PartitionData, stable: int) -> PartitionData:
    return PartitionData(
        partition_index=made.partition_index,
        error_code=made.error_code,
        high_watermark=made.high_watermark,
        last_stable_offset=i64(stable),
        log_start_offset=made.log_start_offset,
        aborted_transactions=made.aborted_transactions,
        records=made.records,
    )
