"""Batches taken apart and built anew around the same record bytes, for those that cannot pass as they are.

A record's key, value and headers are one slice of the decompressed batch and are never looked into, so that
duplicate headers, nulls and empty values come out byte for byte. Only what says *where* a record stands is new: its
offset and time relative to the batch.

A v2 record (Kafka's DefaultRecord)::

    length varint | attributes int8 | timestampDelta varint | offsetDelta varint | key, value, headers

Magic 0 and 1 have neither headers nor this layout: they are read by aiokafka and written as v2.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from aiokafka import codec as codecs
from aiokafka.record.legacy_records import LegacyRecordBatch
from crc32c import crc32c

from replicator.errors import CorruptRecords
from replicator.model.batch import (
    COMPRESSION_MASK,
    HEADER,
    HEADER_BYTES,
    LENGTH_PREFIX_BYTES,
    LOG_APPEND_TIME_BIT,
    MAGIC_V2,
    sequence_after,
)
from replicator.wire.batch import CHECKED_AT, CRC, CRC_AT
from replicator.wire.cursor import uvarint

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from replicator.model.batch import BatchHeader

_NO_TIME = -1
_VARINT_BITS_MAX = 63
_MORE = 0x80
_LOW_BITS = 0x7F
_NULL = b"\x01"
_NO_HEADERS = b"\x00"
_SMALLEST_RECORD_BYTES = 6

_DECOMPRESS: dict[int, Callable[[memoryview], bytes]] = {
    0: bytes,
    1: codecs.gzip_decode,
    2: codecs.snappy_decode,
    3: codecs.lz4_decode,
    4: codecs.zstd_decode,
}
_COMPRESS: dict[int, Callable[[bytes], bytes]] = {
    0: bytes,
    1: codecs.gzip_encode,
    2: codecs.snappy_encode,
    3: codecs.lz4_encode,
    4: codecs.zstd_encode,
}


class RawRecord(NamedTuple):
    """One record: where and when it stands, and the bytes of key, value and headers in the v2 layout."""

    offset: int
    timestamp: int
    body: bytes | memoryview


class Built(NamedTuple):
    """One new batch. `max_timestamp` is that of its records."""

    raw: bytes
    base_offset: int
    record_count: int
    max_timestamp: int


def open_batch(frame: memoryview, header: BatchHeader) -> list[RawRecord]:
    """Return the records of a batch of any magic, by offset, checksum proven.

    A batch whose times the broker set (LogAppendTime) has one time for all: readers see the batch's own.

    Raises:
        CorruptRecords: The checksum, the compression or the records are not sound.
    """
    try:
        if header.magic == MAGIC_V2:
            return _open_v2(frame, header)
        return _open_old(frame, header)
    except CorruptRecords:
        raise
    except Exception as error:  # the codecs raise many kinds; all mean the same here
        raise CorruptRecords(
            f"the batch at offset {header.base_offset} cannot be read",
            why=f"{type(error).__name__}: {error} (magic {header.magic}, codec {codec_of(frame, header)})",
        ) from error


def _open_v2(frame: memoryview, header: BatchHeader) -> list[RawRecord]:
    start, end = header.start, header.end
    if crc32c(frame[start + CHECKED_AT : end]) != header.crc:
        raise CorruptRecords(
            f"the batch at offset {header.base_offset} is damaged", why="its CRC does not match its bytes"
        )
    data = _DECOMPRESS[header.attributes & COMPRESSION_MASK](frame[start + HEADER_BYTES : end])
    view = memoryview(data)
    append_time = header.max_timestamp if header.attributes & LOG_APPEND_TIME_BIT else None
    records: list[RawRecord] = []
    position = 0
    for _ in range(header.record_count):
        length, at = _read_varint(data, position)
        position = at + length
        if length < _SMALLEST_RECORD_BYTES or position > len(data):
            raise CorruptRecords(f"a record of the batch at offset {header.base_offset} claims {length} bytes")
        time_delta, at = _read_varint(data, at + 1)
        offset_delta, at = _read_varint(data, at)
        time = header.base_timestamp + time_delta if append_time is None else append_time
        records.append(RawRecord(header.base_offset + offset_delta, time, view[at:position]))
    _check_order(header, records)
    return records


def _check_order(header: BatchHeader, records: Sequence[RawRecord]) -> None:
    last = header.base_offset - 1
    for record in records:
        if not last < record.offset < header.next_offset:
            raise CorruptRecords(
                f"the batch at offset {header.base_offset} is damaged", why=f"offset {record.offset} is out of order"
            )
        last = record.offset


def _open_old(frame: memoryview, header: BatchHeader) -> list[RawRecord]:
    batch = LegacyRecordBatch(bytearray(frame[header.start : header.end]), header.magic)
    if not batch.validate_crc():
        raise CorruptRecords(
            f"the message at offset {header.base_offset} is damaged", why="its CRC does not match its bytes"
        )
    return [
        RawRecord(
            record.offset,
            _NO_TIME if record.timestamp is None else record.timestamp,
            _bytes_field(record.key) + _bytes_field(record.value) + _NO_HEADERS,
        )
        for record in batch
    ]


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

    The base offset in the bytes is 0: the broker gives offsets. One record that is larger still is returned as it is.
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
    base_timestamp = records[0].timestamp
    max_timestamp = max(record.timestamp for record in records)
    data = bytearray()
    for index, (_, time, body) in enumerate(records):
        place = b"\x00" + _varint(time - base_timestamp) + _varint(index)
        data += _varint(len(place) + len(body))
        data += place
        data += body
    payload = _COMPRESS[codec](bytes(data)) if codec else data
    count = len(records)
    length = HEADER_BYTES - LENGTH_PREFIX_BYTES + len(payload)
    raw = bytearray(HEADER_BYTES)
    HEADER.pack_into(
        raw,
        0,
        0,
        length,
        -1,
        MAGIC_V2,
        0,
        codec,
        count - 1,
        base_timestamp,
        max_timestamp,
        producer_id,
        producer_epoch,
        sequence,
        count,
    )
    raw += payload
    CRC.pack_into(raw, CRC_AT, crc32c(memoryview(raw)[CHECKED_AT:]))
    return Built(bytes(raw), records[0].offset, count, max_timestamp)


def _read_varint(data: bytes, position: int) -> tuple[int, int]:
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


def _varint(value: int) -> bytes:
    """Return a signed number, zigzag-encoded."""
    return uvarint(value << 1 if value >= 0 else (-value << 1) - 1)


def _bytes_field(value: bytes | None) -> bytes:
    return _NULL if value is None else _varint(len(value)) + bytes(value)
