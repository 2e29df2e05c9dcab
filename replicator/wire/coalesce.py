"""Small batches that follow each other, merged into one around the same record bytes.

As in `recode`, a record's key, value and headers are one slice of bytes that is never looked into. What says where a
record stands is new: its index in the merged batch, and its time relative to that batch's first.
This is the only hot path with work per record, so `_joined` reads and writes the usual short numbers without a call.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from crc32c import crc32c

from replicator.errors import CorruptRecords
from replicator.model.batch import COMPRESSION_MASK, HEADER_BYTES, LENGTH_PREFIX_BYTES
from replicator.wire.batch import CHECKED_AT
from replicator.wire.recode import COMPRESS, DECOMPRESS, SMALLEST_RECORD_BYTES, Built, finish, read_varint, varint

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from replicator.core.intake import Passes

_SHORT_BELOW = 1 << 13
"""Numbers from 0 to here take at most two bytes, zigzag-encoded."""
_SHORT = [varint(number) for number in range(_SHORT_BELOW)]
_MORE = 0x80
_TIMES = 1 << 64

_Part = tuple[bytes | bytearray, int, int, int, int, int]
"""Records in a buffer: it, where they begin and end, how many there are, the first offset and the base time."""


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
    codec = max([header.attributes & COMPRESSION_MASK for header, _ in passes])
    data = _joined(_proven(buffer, passes), first.base_timestamp)
    max_ms = max([header.max_timestamp for header, _ in passes])
    count = sum([header.record_count for header, _ in passes])
    raw = finish(
        COMPRESS[codec](bytes(data)) if codec else data,
        codec,
        count,
        first.base_timestamp,
        max_ms,
        (producer_id, producer_epoch, sequence),
    )
    return Built(raw, first.base_offset, count, max_ms)


def _proven(buffer: bytearray, passes: Passes) -> Iterator[_Part]:
    with memoryview(buffer) as view:
        for header, _ in passes:
            base, length, _, _, crc, attributes, _, base_ms, _, _, _, _, count, start = header
            end = start + LENGTH_PREFIX_BYTES + length
            if crc32c(view[start + CHECKED_AT : end]) != crc:
                raise CorruptRecords(f"the batch at offset {base} is damaged", why="its CRC does not match its bytes")
            codec = attributes & COMPRESSION_MASK
            if not codec:
                yield buffer, start + HEADER_BYTES, end, count, base, base_ms
                continue
            try:
                data = DECOMPRESS[codec](view[start + HEADER_BYTES : end])
            except Exception as error:  # the codecs raise many kinds; all mean the same here
                raise CorruptRecords(
                    f"the batch at offset {base} cannot be read",
                    why=f"{type(error).__name__}: {error} (codec {codec})",
                ) from error
            yield data, 0, len(data), count, base, base_ms


def _joined(parts: Iterable[_Part], first_ms: int) -> bytearray:  # noqa: C901, PLR0912 - a call costs more than a branch
    """Return the records of all parts, renumbered from 0 on, their times relative to `first_ms`.

    Raises:
        CorruptRecords: The records of a part are not sound.
    """
    out = bytearray()
    short, index, base = _SHORT, 0, -1
    try:
        for data, begin, end, count, base, base_ms in parts:
            at, shift_ms = begin, base_ms - first_ms
            for place in range(count):
                # length | attributes | time delta | offset delta | key, value, headers
                size = data[at]
                if size < _MORE:
                    at += 1
                    size >>= 1
                elif data[at + 1] < _MORE:
                    size = (size & 0x7F | data[at + 1] << 7) >> 1
                    at += 2
                else:
                    size, at = read_varint(data, at)
                after, attributes = at + size, data[at]
                if size < SMALLEST_RECORD_BYTES or after > end:
                    raise CorruptRecords(f"a record of the batch at offset {base} claims {size} bytes")
                number = data[at + 1]
                if number < _MORE:
                    at += 2
                    time_ms = (number >> 1 ^ -(number & 1)) + shift_ms
                else:
                    number, at = read_varint(data, at + 1)
                    time_ms = number + shift_ms
                number = data[at]
                if number < _MORE:
                    at += 1
                    number >>= 1
                else:
                    number, at = read_varint(data, at)
                if number != place or at > after:
                    raise CorruptRecords(f"the batch at offset {base} is damaged", why=f"record {place} is {number}")
                head = short[time_ms] if 0 <= time_ms < _SHORT_BELOW else _far(time_ms)
                head += short[index] if index < _SHORT_BELOW else varint(index)
                size = 1 + len(head) + after - at
                out += short[size] if size < _SHORT_BELOW else varint(size)
                out.append(attributes)
                out += head
                out += data[at:after]
                at = after
                index += 1
            if at != end:
                raise CorruptRecords(
                    f"the batch at offset {base} is damaged", why=f"its records end at {at}, not {end}"
                )
    except IndexError as error:
        raise CorruptRecords(f"the batch at offset {base} is damaged", why="it ends inside a record") from error
    return out


def _far(time_ms: int) -> bytes:
    """Return a time delta of any size as readers take it: modulo 2^64, as they add it to the base."""
    return varint((time_ms + _TIMES // 2) % _TIMES - _TIMES // 2)
