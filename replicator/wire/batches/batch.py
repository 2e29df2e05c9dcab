"""Reads v2 batch headers and rewrites them in place: the work done per batch, and so the hottest code."""

from __future__ import annotations

import struct
from collections.abc import Iterable

from crc32c import crc32c

from replicator.errors import CorruptRecords
from replicator.model.batch import (
    DELETE_HORIZON_BIT,
    HEADER,
    HEADER_BYTES,
    LENGTH_PREFIX_BYTES,
    LOG_APPEND_TIME_BIT,
    MAGIC_AT,
    MAGIC_V2,
    TRANSACTIONAL_BIT,
    BatchHeader,
)
from replicator.wire.batches.crc import crc_after_head_change

_MAGIC_OLD = frozenset({0, 1})
CRC_AT = 17
CHECKED_AT = 21
"""The CRC covers a v2 batch from here to its end."""
_KEEP_ATTRIBUTES = ~(LOG_APPEND_TIME_BIT | TRANSACTIONAL_BIT | DELETE_HORIZON_BIT) & 0xFF
_WHOLE_CRC_BELOW_BYTES = 6 << 10
"""Below this size, two passes over the batch cost less than one `crc_after_head_change` (benchmarks/RESULTS.md)."""

_CHECKED_HEAD = struct.Struct(">hiqqqhii")
"""The header from byte 21 on: the part that the CRC covers."""
_PREFIX = struct.Struct(">qi")
CRC = struct.Struct(">I")


def scan(buffer: bytearray | bytes | memoryview, start: int, end: int) -> list[BatchHeader]:
    """Return the headers of the whole batches in ``buffer[start:end]``.

    A batch cut off at the end (a fetch response may end in one) is left out.
    A batch of magic 0 or 1 is returned with its own magic and only the fields that such a batch has: base offset and
    size; `last_offset_delta` is 0 and `record_count` -1.

    Raises:
        CorruptRecords: A batch claims a length that no batch can have.
    """
    headers: list[BatchHeader] = []
    append = headers.append
    unpack = HEADER.unpack_from
    new = tuple.__new__
    position = start
    while position + HEADER_BYTES <= end:
        fields = unpack(buffer, position)
        length = fields[1]
        after = position + LENGTH_PREFIX_BYTES + length
        if fields[3] != MAGIC_V2 or length < HEADER_BYTES - LENGTH_PREFIX_BYTES:
            _check_odd_batch(fields[0], length, fields[3])
            if after > end:
                break
            append(_old_header(fields[0], length, fields[3], position))
            position = after
            continue
        if after > end:
            break
        # A named tuple's own constructor is a Python function; this line runs for every batch.
        append(new(BatchHeader, (*fields, position)))
        position = after
    _scan_short_messages(buffer, position, end, headers)
    return headers


def _scan_short_messages(
    buffer: bytearray | bytes | memoryview, position: int, end: int, headers: list[BatchHeader]
) -> None:
    """Add whole messages in the last bytes, too few for a v2 header: a message of magic 0 or 1 may have only 26."""
    while position + MAGIC_AT < end and buffer[position + MAGIC_AT] in _MAGIC_OLD:
        base, length = _PREFIX.unpack_from(buffer, position)
        magic = buffer[position + MAGIC_AT]
        _check_odd_batch(base, length, magic)
        after = position + LENGTH_PREFIX_BYTES + length
        if after > end:
            return
        headers.append(_old_header(base, length, magic, position))
        position = after


def _old_header(base: int, length: int, magic: int, start: int) -> BatchHeader:
    return BatchHeader(base, length, -1, magic, 0, 0, 0, -1, -1, -1, -1, -1, -1, start)


def _check_odd_batch(base: int, length: int, magic: int) -> None:
    smallest_v0_message = 14
    if magic not in _MAGIC_OLD or length < smallest_v0_message:
        raise CorruptRecords(
            f"no record batch starts at offset {base}",
            why=f"Kafka has no batch of length {length} and magic {magic}",
        )


def prove(frame: memoryview, header: BatchHeader) -> None:
    """Verify the checksum of a batch; a message of magic 0 or 1 passes.

    Raises:
        CorruptRecords: The checksum does not match the bytes.
    """
    if header.magic == MAGIC_V2 and crc32c(frame[header.start + CHECKED_AT : header.end]) != header.crc:
        raise CorruptRecords(
            f"the batch at offset {header.base_offset} is damaged", why="its CRC does not match its bytes"
        )


def rewrite(
    frame: memoryview, batches: Iterable[tuple[BatchHeader, int]], producer_id: int, producer_epoch: int
) -> None:
    """Make fetched batches ours, in place: base offset 0, attributes, producer, sequence, CRC.

    No payload is touched, and the source's checksum is verified or carried along, never replaced unchecked.

    Args:
        frame: The buffer that holds the batches.
        batches: Each batch, as `scan` returned it, and the sequence number of its first record.
        producer_id: The flow's data writer.
        producer_epoch: Its epoch.

    Raises:
        CorruptRecords: A batch's own checksum does not match its bytes. That batch is untouched, those before it are
            already rewritten.
    """
    write = HEADER.pack_into
    for header, sequence in batches:
        _, length, epoch, _, crc, attributes, delta, base_ms, max_ms, _, _, _, count, start = header
        head_at = start + CHECKED_AT
        kept = attributes & _KEEP_ATTRIBUTES
        tail_bytes = length - (HEADER_BYTES - LENGTH_PREFIX_BYTES)
        if tail_bytes < _WHOLE_CRC_BELOW_BYTES:
            checked = frame[head_at : start + LENGTH_PREFIX_BYTES + length]
            if crc32c(checked) != crc:
                raise CorruptRecords(
                    f"the batch at offset {header.base_offset} is damaged", why="its CRC does not match its bytes"
                )
            head = (kept, delta, base_ms, max_ms, producer_id, producer_epoch, sequence, count)
            write(frame, start, 0, length, epoch, MAGIC_V2, 0, *head)
            CRC.pack_into(frame, start + CRC_AT, crc32c(checked))
        else:
            old_head = frame[head_at : start + HEADER_BYTES]
            head = (kept, delta, base_ms, max_ms, producer_id, producer_epoch, sequence, count)
            crc = crc_after_head_change(crc, old_head, _CHECKED_HEAD.pack(*head), tail_bytes)
            write(frame, start, 0, length, epoch, MAGIC_V2, crc, *head)
