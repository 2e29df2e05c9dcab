"""WriteTxnMarkers: one marker, one offset, per entry, for any producer the partition would accept (KAFKA_FACTS K9).

Kafka's transaction coordinator uses it to end transactions; here its markers take up offsets that hold no record.
It is not idempotent: a repeated request appends again.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Final

from kio.schema.types import ProducerId, TopicName
from kio.schema.write_txn_markers.v1 import request as markers_request
from kio.schema.write_txn_markers.v1.response import WriteTxnMarkersResponse
from kio.serial import entity_writer
from kio.static.primitive import i16, i32

from replicator.model.names import TopicPartition
from replicator.wire.protocol.cursor import uvarint

if TYPE_CHECKING:
    from collections.abc import Mapping

    from replicator.wire.transport.connection import Connection

WRITE_TXN_MARKERS: Final = 27
_NO_TAGS = b"\x00"
_write_marker = entity_writer(markers_request.WritableTxnMarker)


async def write_markers(
    connection: Connection, producer_id: int, producer_epoch: int, lengths: Mapping[TopicPartition, int]
) -> dict[TopicPartition, int]:
    """Append `lengths` markers to each partition; return error codes.

    A broker returns one code per partition and producer, that of the last marker it finished: 0 does not prove that all
    of them were appended.

    Raises:
        KafkaError: The connection failed: any number of them may have been appended.
    """
    parts = [uvarint(sum(lengths.values()) + 1)]
    for where, length in lengths.items():
        marker = markers_request.WritableTxnMarker(
            producer_id=ProducerId(producer_id),
            producer_epoch=i16(producer_epoch),
            transaction_result=False,
            topics=(
                markers_request.WritableTxnMarkerTopic(
                    name=TopicName(where.topic), partition_indexes=(i32(where.partition),)
                ),
            ),
            coordinator_epoch=i32(0),
        )
        encoded = io.BytesIO()
        _write_marker(encoded, marker)
        parts.append(encoded.getvalue() * length)  # one encoding for all: they are identical
    parts.append(_NO_TAGS)
    body = b"".join(parts)
    frame = await connection.ask(WRITE_TXN_MARKERS, 1, [body], len(body))
    answer = await connection.decode(frame, WriteTxnMarkersResponse)
    return {
        TopicPartition(str(topic.name), int(partition.partition_index)): int(partition.error_code)
        for result in answer.markers
        for topic in result.topics
        for partition in topic.partitions
    }
