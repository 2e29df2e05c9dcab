"""Takes batches apart that cannot pass as they are, and builds new ones around the same record bytes.

A record's key, value and headers are one slice of the decompressed batch and are never parsed, so that duplicate
headers, nulls and empty values come out byte for byte. Only the record's position is new: its offset and timestamp
relative to the batch.

A v2 record (Kafka's DefaultRecord)::

    length varint | attributes int8 | timestampDelta varint | offsetDelta varint | key, value, headers

Magic 0 and 1 have neither headers nor this layout: aiokafka reads them, and they are written as v2.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, NamedTuple

from aiokafka import codec as codecs
from aiokafka.record.legacy_records import LegacyRecordBatch
from crc32c import crc32c

from replicator.errors import CorruptRecords, TooLargeToOpen
from replicator.model.batch import (
    COMPRESSION_MASK,
    HEADER,
    HEADER_BYTES,
    LENGTH_PREFIX_BYTES,
    LOG_APPEND_TIME_BIT,
    MAGIC_V2,
    TRANSACTIONAL_BIT,
    sequence_after,
)
from replicator.wire.batches.batch import CHECKED_AT, CRC, CRC_AT, prove
from replicator.wire.batches.inflate import OPENED_BYTES_MAX, RECORD_BYTES, inflate
from replicator.wire.protocol.cursor import uvarint

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from replicator.model.batch import BatchHeader
    from replicator.wire.batches.inflate import Inflated

_NO_TIME = -1
_VARINT_BITS_MAX = 63
_MORE = 0x80
_LOW_BITS = 0x7F
_NULL = b"\x01"
_NO_HEADERS = b"\x00"
_SMALLEST_RECORD_BYTES = 6
_HALF = 1 << 63
SHORT_BELOW = 1 << 13
"""Numbers from 0 to here take at most two bytes."""

_OWN_SLICE_BYTES = 256
"""Up to here a copy of a body takes less memory than a view of it."""
_OLD_HEAD = struct.Struct(">qiiBB")
_OLD_TIME_BYTES = 8
_OLD_FIELD = struct.Struct(">i")

_COMPRESS: dict[int, Callable[[bytes | bytearray], bytes]] = {
    0: bytes,
    1: codecs.gzip_encode,
    2: codecs.snappy_encode,
    3: lambda data: codecs.lz4_encode(bytes(data)),  # it accepts nothing else
    4: codecs.zstd_encode,
}


class RawRecord(NamedTuple):
    """One record: its offset and timestamp, and the bytes of key, value and headers in the v2 layout."""

    offset: int
    timestamp: int
    body: bytes | memoryview


class Built(NamedTuple):
    """One new batch. `max_timestamp` is the latest of its records."""

    raw: bytes
    base_offset: int
    record_count: int
    max_timestamp: int


def open_batch(frame: memoryview, header: BatchHeader, bytes_max: int = OPENED_BYTES_MAX) -> list[RawRecord]:
    """Return the records of a batch of any magic, by offset, with the checksum verified.

    If the broker set the times of a batch (LogAppendTime), all its records have one time: readers see the batch's own.

    Args:
        frame: The buffer that holds the batch.
        header: The batch.
        bytes_max: The most that its records may take in memory.

    Raises:
        TooLargeToOpen: They would take more.
        CorruptRecords: The checksum, the compression or the records are damaged.
    """
    try:
        if header.magic == MAGIC_V2:
            return _open_v2(frame, header, bytes_max)
        return _open_old(frame, header, bytes_max)
    except (CorruptRecords, TooLargeToOpen):
        raise
    except Exception as error:  # aiokafka raises many kinds; all mean the same here
        raise CorruptRecords(
            f"the batch at offset {header.base_offset} cannot be read",
            why=f"{type(error).__name__}: {error} (magic {header.magic}, codec {codec_of(frame, header)})",
        ) from error


def inflated(frame: memoryview, header: BatchHeader, bytes_max: int) -> Inflated:
    """Return the records of a v2 batch as uncompressed bytes; the caller must verify its checksum.

    Args:
        frame: The buffer that holds the batch.
        header: The batch.
        bytes_max: The most that its records may take in memory: their bytes and the Python objects.

    Raises:
        TooLargeToOpen: They would take more.
        CorruptRecords: The compressed data are damaged.
    """
    data = frame[header.start + HEADER_BYTES : header.end]
    codec = header.attributes & COMPRESSION_MASK
    return _within(header, codec, data, bytes_max, max(0, header.record_count) * RECORD_BYTES)


def _within(header: BatchHeader, codec: int, data: memoryview, bytes_max: int, objects_bytes: int = 0) -> Inflated:
    base = header.base_offset
    try:
        return inflate(codec, data, bytes_max - objects_bytes)
    except TooLargeToOpen as error:
        raise TooLargeToOpen(
            f"the batch at offset {base} takes more than {bytes_max} bytes of memory once it is opened",
            why=f"it has {header.size} bytes (codec {codec}) and {header.record_count} records"
            if header.magic == MAGIC_V2
            else f"it has {header.size} bytes (codec {codec})",
            offset=base,
        ) from error
    except CorruptRecords as damage:
        raise CorruptRecords(
            f"the batch at offset {base} cannot be read", why=f"{damage.why} (magic {header.magic}, codec {codec})"
        ) from damage


def _open_v2(frame: memoryview, header: BatchHeader, bytes_max: int) -> list[RawRecord]:
    base, _, _, _, _, attributes, last_place, base_ms, max_ms, _, _, _, count, _ = header
    prove(frame, header)
    data = inflated(frame, header, bytes_max)
    view = memoryview(data)
    append_ms = max_ms if attributes & LOG_APPEND_TIME_BIT else None
    records: list[RawRecord] = []
    append, new = records.append, tuple.__new__  # a named tuple's own constructor is a Python function
    last = -1
    try:
        for time_ms, place, at, end in walk(data, 0, len(data), count, base):
            if not last < place <= last_place:
                raise CorruptRecords(
                    f"the batch at offset {base} is damaged", why=f"offset {base + place} is out of order"
                )
            body = bytes(view[at:end]) if end - at < _OWN_SLICE_BYTES else view[at:end]
            append(new(RawRecord, (base + place, base_ms + time_ms if append_ms is None else append_ms, body)))
            last = place
    except IndexError as error:
        raise CorruptRecords(f"the batch at offset {base} is damaged", why="it ends inside a record") from error
    return records


def walk(data: Inflated, at: int, end: int, count: int, base: int) -> Iterator[tuple[int, int, int, int]]:
    """Yield for each record: its time and its offset relative to the batch, where its body begins and where it ends.

    This is the work per record, so the usual short numbers are read without a call.

    Args:
        data: The uncompressed records.
        at: Where they begin.
        end: Where they end.
        count: How many there are.
        base: First offset of their batch.

    Raises:
        CorruptRecords: They do not fit in that space.
        IndexError: They run beyond `data`.
    """
    for _ in range(count):
        size = data[at]
        if size < _MORE:
            at += 1
            size = size >> 1 ^ -(size & 1)
        elif data[at + 1] < _MORE:
            size = (size & _LOW_BITS | data[at + 1] << 7) >> 1 ^ -(size & 1)
            at += 2
        else:
            size, at = read_varint(data, at)
        after, time_ms = at + size, data[at + 1]
        if size < _SMALLEST_RECORD_BYTES or after > end:
            raise CorruptRecords(f"a record of the batch at offset {base} claims {size} bytes")
        if time_ms < _MORE:
            at += 2
            time_ms = time_ms >> 1 ^ -(time_ms & 1)
        else:
            time_ms, at = read_varint(data, at + 1)
        place = data[at]
        if place < _MORE:
            at += 1
            place = place >> 1 ^ -(place & 1)
        elif data[at + 1] < _MORE:
            place = (place & _LOW_BITS | data[at + 1] << 7) >> 1 ^ -(place & 1)
            at += 2
        else:
            place, at = read_varint(data, at)
        if at > after:
            raise CorruptRecords(f"a record of the batch at offset {base} claims {size} bytes")
        yield time_ms, place, at, after
        at = after
    if at != end:
        raise CorruptRecords(f"the batch at offset {base} is damaged", why=f"{end - at} bytes follow its records")


def _open_old(frame: memoryview, header: BatchHeader, bytes_max: int) -> list[RawRecord]:
    batch = old_batch(frame, header, bytes_max)
    return [
        RawRecord(
            record.offset,
            _NO_TIME if record.timestamp is None else record.timestamp,
            field(record.key) + field(record.value) + _NO_HEADERS,
        )
        for record in batch
    ]


def old_batch(frame: memoryview, header: BatchHeader, bytes_max: int) -> LegacyRecordBatch:
    """Return a message of magic 0 or 1, which may wrap others, with its checksum verified.

    Raises:
        TooLargeToOpen: What it wraps expands to more than `bytes_max`.
        CorruptRecords: The checksum or the compressed data are damaged.
    """
    batch = LegacyRecordBatch(bytearray(frame[header.start : header.end]), header.magic)
    if not batch.validate_crc():
        raise CorruptRecords(
            f"the message at offset {header.base_offset} is damaged", why="its CRC does not match its bytes"
        )
    codec = codec_of(frame, header)
    if codec:
        # aiokafka decompresses without a bound, so decompress here first, within one, and drop the result.
        _within(header, codec, _wrapped(frame[header.start : header.end], header), bytes_max)
    return batch


def _wrapped(message: memoryview, header: BatchHeader) -> memoryview:
    """Return the value of a message of magic 0 or 1."""
    at = _OLD_HEAD.size + (_OLD_TIME_BYTES if header.magic else 0)
    for _ in ("key", "value"):
        (size,) = _OLD_FIELD.unpack_from(message, at)
        value = message[at + _OLD_FIELD.size : at + _OLD_FIELD.size + max(0, size)]
        at += _OLD_FIELD.size + max(0, size)
    return value


def codec_of(frame: memoryview, header: BatchHeader) -> int:
    """Return the compression of a batch of any magic: 0 none, 1 gzip, 2 snappy, 3 lz4, 4 zstd."""
    if header.magic == MAGIC_V2:
        return header.attributes & COMPRESSION_MASK
    attributes_of_old_magic_at = 17
    return frame[header.start + attributes_of_old_magic_at] & COMPRESSION_MASK


def build_batches(
    records: Sequence[RawRecord],
    codec: int,
    *,
    producer_id: int,
    producer_epoch: int,
    sequence: int,
    bytes_max: int,
) -> list[Built]:
    """Build batches around records at consecutive offsets, halved until each is no larger than `bytes_max`.

    The base offset in the bytes is 0: the broker assigns offsets. A single record that is too large still gets its
    batch.
    """
    built = _build(records, codec, producer_id, producer_epoch, sequence)
    if len(built.raw) <= bytes_max or len(records) == 1:
        return [built]
    middle = len(records) // 2
    out: list[Built] = []
    for part in (records[:middle], records[middle:]):
        out += build_batches(
            part,
            codec,
            producer_id=producer_id,
            producer_epoch=producer_epoch,
            sequence=sequence_after(sequence, part[0].offset - records[0].offset),
            bytes_max=bytes_max,
        )
    return out


def _build(records: Sequence[RawRecord], codec: int, producer_id: int, producer_epoch: int, sequence: int) -> Built:
    base_ms = records[0].timestamp
    max_ms = max([time_ms for _, time_ms, _ in records])
    data = bytearray()
    short = SHORT
    for index, (_, time_ms, body) in enumerate(records):
        delta_ms = time_ms - base_ms
        place = short[delta_ms] if 0 <= delta_ms < SHORT_BELOW else varint(delta_ms)
        place += short[index] if index < SHORT_BELOW else varint(index)
        size = 1 + len(place) + len(body)
        data += short[size] if size < SHORT_BELOW else varint(size)
        data.append(0)  # attributes: none are defined for a record
        data += place
        data += body
    return close(
        data, codec, records[0].offset, len(records), (base_ms, max_ms), (producer_id, producer_epoch, sequence)
    )


def close(
    data: bytearray,
    codec: int,
    base_offset: int,
    count: int,
    times_ms: tuple[int, int],
    writer: tuple[int, int, int],
    *,
    transactional: bool = False,
) -> Built:
    """Return the batch around encoded records.

    Args:
        data: The records, uncompressed.
        codec: See `codec_of`.
        base_offset: Offset of the first record.
        count: How many there are.
        times_ms: The time that theirs are relative to, and the latest.
        writer: Producer id, its epoch, and the sequence number of the first record.
        transactional: Whether it belongs to a transaction.
    """
    payload = _COMPRESS[codec](data) if codec else data
    length = HEADER_BYTES - LENGTH_PREFIX_BYTES + len(payload)
    attributes = codec | (TRANSACTIONAL_BIT if transactional else 0)
    raw = bytearray(HEADER.pack(0, length, -1, MAGIC_V2, 0, attributes, count - 1, *times_ms, *writer, count))
    raw += payload
    CRC.pack_into(raw, CRC_AT, crc32c(memoryview(raw)[CHECKED_AT:]))
    return Built(bytes(raw), base_offset, count, times_ms[1])


def read_varint(data: Inflated, position: int) -> tuple[int, int]:
    """Return (zigzag-decoded value, position after it)."""
    byte = data[position]
    position += 1
    value = byte & _LOW_BITS
    shift = 7
    while byte & _MORE:
        if shift > _VARINT_BITS_MAX:
            raise CorruptRecords("a varint does not end")
        byte = data[position]
        position += 1
        value |= (byte & _LOW_BITS) << shift
        shift += 7
    return (value >> 1) ^ -(value & 1), position


def varint(value: int) -> bytes:
    """Return a signed number, zigzag-encoded; beyond 64 bits modulo 2^64, since readers add it to the base."""
    value = (value + _HALF) % (2 * _HALF) - _HALF
    return uvarint(value << 1 if value >= 0 else (-value << 1) - 1)


def field(value: bytes | None) -> bytes:
    """Return a key, a value or a header's value with its length in front, as in a v2 record."""
    return _NULL if value is None else varint(len(value)) + bytes(value)


SHORT = [varint(number) for number in range(SHORT_BELOW)]
