"""Small batches that follow each other, merged into one around the same record bytes (see `recode`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from crc32c import crc32c

from replicator.errors import CorruptRecords
from replicator.model.batch import COMPRESSION_MASK, HEADER_BYTES, LENGTH_PREFIX_BYTES
from replicator.wire.batch import CHECKED_AT
from replicator.wire.recode import DECOMPRESS, SHORT, SHORT_BELOW, Built, close, varint, walk

if TYPE_CHECKING:
    from replicator.core.intake import Passes
    from replicator.model.batch import BatchHeader


def merge(buffer: bytearray, passes: Passes, producer_id: int, producer_epoch: int) -> Built:
    """Return one batch of all the records of these batches, their checksums proven; the buffer is left as it is.

    It has the base sequence of the first. The base offset in its bytes is 0: the broker gives offsets.

    Args:
        buffer: What holds the batches.
        passes: Batches at consecutive offsets, each with its base sequence; of one codec, which some may do without.
        producer_id: The flow's data writer.
        producer_epoch: Its epoch.

    Raises:
        CorruptRecords: The checksum, the compression or the records of a batch are not sound.
    """
    first, sequence = passes[0]
    data = bytearray()
    count = codec = 0
    max_ms = first.max_timestamp
    with memoryview(buffer) as view:
        for header, _ in passes:
            try:
                codec |= _move(data, buffer, view, header, count, first.base_timestamp)
            except IndexError as error:
                raise CorruptRecords(
                    f"the batch at offset {header.base_offset} is damaged", why="it ends inside a record"
                ) from error
            count += header[12]
            max_ms = max(max_ms, header[8])
    times_ms = (first.base_timestamp, max_ms)
    return close(data, codec, first.base_offset, count, times_ms, (producer_id, producer_epoch, sequence))


def _move(out: bytearray, buffer: bytearray, view: memoryview, header: BatchHeader, index: int, first_ms: int) -> int:
    """Add the records of a batch, numbered from `index` on, their times relative to `first_ms`; return its codec."""
    start, end, base = header[13], header[13] + header[1] + LENGTH_PREFIX_BYTES, header[0]
    if crc32c(view[start + CHECKED_AT : end]) != header[4]:
        raise CorruptRecords(f"the batch at offset {base} is damaged", why="its CRC does not match its bytes")
    data: bytes | bytearray = buffer
    start += HEADER_BYTES
    codec = header[5] & COMPRESSION_MASK
    if codec:
        try:
            data = DECOMPRESS[codec](view[start:end])
        except Exception as error:  # the codecs raise many kinds; all mean the same here
            why = f"{type(error).__name__}: {error} (codec {codec})"
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
