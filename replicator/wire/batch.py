"""Reading and rewriting v2 batch headers in place: the work done per batch, so the hottest code there is."""

from __future__ import annotations

import struct

from crc32c import crc32c

from replicator.errors import CorruptRecords
from replicator.model.batch import (
    DELETE_HORIZON_BIT,
    HEADER,
    HEADER_BYTES,
    LENGTH_PREFIX_BYTES,
    LOG_APPEND_TIME_BIT,
    MAGIC_AT,
    TRANSACTIONAL_BIT,
    BatchHeader,
)
from replicator.wire.crc import crc_after_head_change

_MAGIC_V2 = 2
_MAGIC_OLD = frozenset({0, 1})
_CRC_AT = 17
_ATTRIBUTES_AT = 21
_PRODUCER_AT = 43
_KEEP_ATTRIBUTES = ~(LOG_APPEND_TIME_BIT | TRANSACTIONAL_BIT | DELETE_HORIZON_BIT) & 0xFF
_ZERO_BASE_OFFSET = bytes(8)
_WHOLE_CRC_BELOW_BYTES = 6 << 10
"""Below this size two passes over the batch cost less than one `crc_after_head_change` (benchmarks/RESULTS.md)."""

_PRODUCER = struct.Struct(">qhi")
_PREFIX = struct.Struct(">qi")
_U32 = struct.Struct(">I")
_U16 = struct.Struct(">H")


def scan(buffer: bytearray | bytes | memoryview, start: int, end: int) -> list[BatchHeader]:
    """Return the headers of the whole batches in ``buffer[start:end]``.

    A batch cut off at the end (Kafka answers may end in one) is left out.
    A batch of magic 0 or 1 is returned with its own magic and only the fields such a batch has: base offset, size;
    `last_offset_delta` is 0 and `record_count` -1.

    Raises:
        CorruptRecords: A length that no batch can have.
    """
    headers: list[BatchHeader] = []
    append = headers.append
    unpack = HEADER.unpack_from
    new = tuple.__new__
    position = start
    while position + HEADER_BYTES <= end:
        base, length, epoch, magic, *rest = unpack(buffer, position)
        after = position + LENGTH_PREFIX_BYTES + length
        if magic != _MAGIC_V2 or after < position + HEADER_BYTES:
            _check_odd_batch(base, length, magic)
            if after > end:
                break
            append(BatchHeader(position, after, base, epoch, magic, 0, 0, 0, -1, -1, -1, -1, -1, -1))
            position = after
            continue
        if after > end:
            break
        # A named tuple's own constructor is a Python function; this line runs for every batch.
        append(new(BatchHeader, (position, after, base, epoch, magic, *rest)))
        position = after
    _scan_short_messages(buffer, position, end, headers)
    return headers


def _scan_short_messages(
    buffer: bytearray | bytes | memoryview, position: int, end: int, headers: list[BatchHeader]
) -> None:
    """Add what is whole in the last bytes, too few for a v2 header: a message of magic 0 or 1 may have only 26."""
    while position + MAGIC_AT < end and buffer[position + MAGIC_AT] in _MAGIC_OLD:
        base, length = _PREFIX.unpack_from(buffer, position)
        magic = buffer[position + MAGIC_AT]
        _check_odd_batch(base, length, magic)
        after = position + LENGTH_PREFIX_BYTES + length
        if after > end:
            return
        headers.append(BatchHeader(position, after, base, -1, magic, 0, 0, 0, -1, -1, -1, -1, -1, -1))
        position = after


def _check_odd_batch(base: int, length: int, magic: int) -> None:
    smallest_v0_message = 14
    if magic not in _MAGIC_OLD or length < smallest_v0_message:
        raise CorruptRecords(
            f"no record batch starts at offset {base}",
            why=f"length {length} and magic {magic} are not Kafka's",
        )


def rewrite(buffer: bytearray, header: BatchHeader, producer_id: int, producer_epoch: int, sequence: int) -> None:
    """Make a fetched batch ours, in place: base offset 0, attributes, producer, sequence, CRC.

    The payload is not touched, and the checksum of the source is proven or carried along, never replaced unseen.

    Args:
        buffer: The frame that holds the batch.
        header: The batch, as `scan` returned it.
        producer_id: The flow's data writer.
        producer_epoch: Its epoch.
        sequence: Sequence number of the batch's first record.

    Raises:
        CorruptRecords: The batch's own checksum does not match its bytes.
    """
    start, end, crc, attributes = header[0], header[1], header[5], header[6]
    tail_bytes = end - start - HEADER_BYTES
    head_at = start + _ATTRIBUTES_AT
    if tail_bytes < _WHOLE_CRC_BELOW_BYTES:
        body = memoryview(buffer)[head_at:end]
        if crc32c(body) != crc:
            raise CorruptRecords(
                f"the batch at offset {header.base_offset} is damaged", why="its CRC does not match its bytes"
            )
        _PRODUCER.pack_into(buffer, start + _PRODUCER_AT, producer_id, producer_epoch, sequence)
        if attributes & ~_KEEP_ATTRIBUTES:
            _U16.pack_into(buffer, head_at, attributes & _KEEP_ATTRIBUTES)
        _U32.pack_into(buffer, start + _CRC_AT, crc32c(body))
    else:
        old_head = buffer[head_at : start + HEADER_BYTES]
        _PRODUCER.pack_into(buffer, start + _PRODUCER_AT, producer_id, producer_epoch, sequence)
        if attributes & ~_KEEP_ATTRIBUTES:
            _U16.pack_into(buffer, head_at, attributes & _KEEP_ATTRIBUTES)
        new_head = buffer[head_at : start + HEADER_BYTES]
        _U32.pack_into(buffer, start + _CRC_AT, crc_after_head_change(crc, old_head, new_head, tail_bytes))
    buffer[start : start + 8] = _ZERO_BASE_OFFSET
