"""Batches of the model as bytes, as a broker stores and takes them, and back."""

from __future__ import annotations

import struct
import zlib
from functools import lru_cache

from crc32c import crc32c

from replicator.model.batch import CONTROL_BIT, HEADER, HEADER_BYTES, LENGTH_PREFIX_BYTES, MAGIC_V2, BatchHeader
from replicator.wire.batches.batch import CHECKED_AT, CRC, CRC_AT, scan
from replicator.wire.batches.recode import varint
from replicator.wire.batches.records import decode
from tests.copy_world.rules import WRITER
from tests.copy_world.source_log import SourceBatch
from tests.copy_world.target_log import FILLER, NO_RECORD, ProducedBatch

_IDENTITY = struct.Struct(">q")
_OLD_HEAD = struct.Struct(">qi")
_OLD_BODY = struct.Struct(">bbqiiq")
_BASE = struct.Struct(">q")
_EPOCH = struct.Struct(">i")
_EPOCH_AT = 12
_MARKER = b"\x00\x00\x00\x00", b"\x00\x00\x00\x00\x00\x00"
"""Key and value of an abort marker (Kafka's ControlRecordType, EndTransactionMarker)."""


def _field(value: bytes | None) -> bytes:
    return varint(-1) if value is None else varint(len(value)) + value


def _record(delta: int, key: bytes | None, value: bytes | None) -> bytes:
    body = b"\x00" + varint(0) + varint(delta) + _field(key) + _field(value) + varint(0)
    return varint(len(body)) + body


def _closed(header: BatchHeader, payload: bytes) -> bytes:
    length = HEADER_BYTES - LENGTH_PREFIX_BYTES + len(payload)
    fields = (header.base_offset, length, header.leader_epoch, MAGIC_V2, 0, *header[5:13])
    raw = bytearray(HEADER.pack(*fields))
    raw += payload
    CRC.pack_into(raw, CRC_AT, crc32c(memoryview(raw)[CHECKED_AT:]))
    return bytes(raw)


def _value(record: int, size: int) -> bytes:
    return _IDENTITY.pack(record).ljust(size, b".")


@lru_cache(maxsize=256)
def source_bytes(batch: SourceBatch, padding: int = 0) -> bytes:
    """Return a batch of the source as its broker stores it.

    Args:
        batch: The model's.
        padding: How large the first value is at least.
    """
    header = batch.header
    if header.magic != MAGIC_V2:
        ((offset, record),) = batch.records
        body = _OLD_BODY.pack(header.magic, 0, header.max_timestamp, -1, _IDENTITY.size, record)
        return _OLD_HEAD.pack(offset, len(body) + 4) + struct.pack(">I", zlib.crc32(body)) + body
    base = header.base_offset
    if header.is_control:
        payload = _record(0, *_MARKER)
    else:
        payload = b"".join(_record(offset - base, None, _value(record, padding)) for offset, record in batch.records)
    return _closed(header, payload)


def marker_bytes(producer_id: int, producer_epoch: int, now_ms: int, *, commit: bool = False) -> bytes:
    """Return one control batch at base offset 0."""
    header = BatchHeader(0, 0, -1, MAGIC_V2, 0, 0x30, 0, now_ms, now_ms, producer_id, producer_epoch, -1, 1, 0)
    key, value = _MARKER
    return _closed(header, _record(0, key[:3] + bytes([commit]), value))


def placed(raw: bytes, base: int, leader_epoch: int) -> bytes:
    """Return a produced batch as the log holds it: no checksum covers where it stands."""
    return _BASE.pack(base) + raw[_BASE.size : _EPOCH_AT] + _EPOCH.pack(leader_epoch) + raw[_EPOCH_AT + 4 :]


def produced_from(raw: bytes) -> ProducedBatch:
    """Return what a produced batch holds, whatever made it."""
    header = scan(raw, 0, len(raw))[0]
    if header.attributes & CONTROL_BIT:
        return ProducedBatch(header, (NO_RECORD,), raw=raw)
    if crc32c(memoryview(raw)[CHECKED_AT:]) != header.crc:
        return ProducedBatch(header, (), crc_valid=False, raw=raw)
    if header.producer_id == WRITER.filler_id:
        return ProducedBatch(header, (FILLER,) * header.record_count, raw=raw)
    records = tuple(_IDENTITY.unpack_from(each.value or b"")[0] for each in decode(raw, header))
    return ProducedBatch(header, records, raw=raw)


def stored_bytes(produced: ProducedBatch) -> bytes:
    """Return the bytes of a batch of the target: as they came, or what the model put there by itself."""
    if produced.raw is not None:
        return produced.raw
    header = produced.header
    if header.is_control:
        return _closed(header, _record(0, *_MARKER))
    records = (_record(at, None, _value(record, 0)) for at, record in enumerate(produced.records))
    return _closed(header, b"".join(records))
