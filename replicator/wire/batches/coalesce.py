"""Merges small batches that follow each other into one around the same record bytes (see `recode`).

A compressed batch has to be opened before it is merged, and this runs on the event loop, while a producer may compress
any amount into it: so only batches that are small once opened are merged. Those that expand further pass as they are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from crc32c import crc32c

from replicator.errors import CorruptRecords, TooLargeToOpen
from replicator.model.batch import COMPRESSION_MASK, HEADER_BYTES, LENGTH_PREFIX_BYTES
from replicator.wire.batches.batch import CHECKED_AT
from replicator.wire.batches.inflate import inflate
from replicator.wire.batches.recode import SHORT, SHORT_BELOW, close, varint, walk

if TYPE_CHECKING:
    from replicator.core.copy.reading.pieces import Passes
    from replicator.model.batch import BatchHeader
    from replicator.wire.batches.inflate import Inflated

MERGED_OPENED_BYTES_MAX = 1 << 20
"""The most that the records of a merged batch take, uncompressed: every reader has to open the batch as a whole."""
_RECORD_GROWTH_BYTES = 18
"""How much longer a record's length, timestamp and offset may get in the new batch."""


class Merged(NamedTuple):
    """One new batch, like `recode.Built`, made of the first `taken` batches, whose records take `opened_bytes`."""

    raw: bytes
    base_offset: int
    record_count: int
    max_timestamp: int
    taken: int
    opened_bytes: int


def merge(
    buffer: bytearray,
    passes: Passes,
    producer_id: int,
    producer_epoch: int,
    opened_bytes_max: int = MERGED_OPENED_BYTES_MAX,
) -> Merged:
    """Return one batch with the records of these batches, or of the first few; their checksums are verified.

    The buffer stays as it is. The new batch has the base sequence of the first one. The base offset in its bytes is 0:
    the broker assigns offsets.

    Args:
        buffer: The buffer that holds the batches.
        passes: Batches at consecutive offsets, each with its base sequence; of one codec, though some may be
            uncompressed.
        producer_id: The flow's data writer.
        producer_epoch: Its epoch.
        opened_bytes_max: The most that all their records may take, uncompressed: the merged batch ends before that.

    Raises:
        TooLargeToOpen: Not even two batches fit in that.
        CorruptRecords: The checksum, the compression or the records of a batch are damaged.
    """
    first, sequence = passes[0]
    data = bytearray()
    taken = count = codec = 0
    max_ms = first.max_timestamp
    with memoryview(buffer) as view:
        for header, _ in passes:
            try:
                codec |= _move(data, buffer, view, header, count, first.base_timestamp, opened_bytes_max)
            except IndexError as error:
                raise CorruptRecords(
                    f"the batch at offset {header.base_offset} is damaged", why="it ends inside a record"
                ) from error
            except TooLargeToOpen:
                if taken <= 1:
                    raise
                break
            taken += 1
            count += header[12]
            max_ms = max(max_ms, header[8])
    writer = (producer_id, producer_epoch, sequence)
    built = close(data, codec, first.base_offset, count, (first.base_timestamp, max_ms), writer)
    return Merged(*built, taken, len(data))


def _move(
    out: bytearray,
    buffer: bytearray,
    view: memoryview,
    header: BatchHeader,
    index: int,
    first_ms: int,
    opened_bytes_max: int,
) -> int:
    """Append the records of a batch, numbered from `index` on, with times relative to `first_ms`; return its codec."""
    start, end, base = header[13], header[13] + header[1] + LENGTH_PREFIX_BYTES, header[0]
    if crc32c(view[start + CHECKED_AT : end]) != header[4]:
        raise CorruptRecords(f"the batch at offset {base} is damaged", why="its CRC does not match its bytes")
    data: Inflated = buffer
    start += HEADER_BYTES
    codec = header[5] & COMPRESSION_MASK
    room = opened_bytes_max - len(out) - header[12] * _RECORD_GROWTH_BYTES
    if room <= 0 or (not codec and end - start > room):
        raise TooLargeToOpen(f"the batch at offset {base} is too large to be merged", offset=base)
    if codec:
        try:
            data = inflate(codec, view[start:end], room)
        except CorruptRecords as error:
            why = f"{error.why} (codec {codec})"
            raise CorruptRecords(f"the batch at offset {base} cannot be read", why=why) from error
        start, end = 0, len(data)
    shift_ms, before = header[7] - first_ms, index
    for delta_ms, place, at, after in walk(data, start, end, header[12], base):
        if place != index - before:
            raise CorruptRecords(f"the batch at offset {base} is damaged", why=f"record {index - before} is {place}")
        time_ms = delta_ms + shift_ms
        head = SHORT[time_ms] if 0 <= time_ms < SHORT_BELOW else varint(time_ms)
        head += SHORT[index] if index < SHORT_BELOW else varint(index)
        size = 1 + len(head) + after - at
        out += SHORT[size] if size < SHORT_BELOW else varint(size)
        out.append(0)  # attributes: none are defined for a record
        out += head
        out += data[at:after]
        index += 1
    return codec
