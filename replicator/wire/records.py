"""Records in and out of batches, by aiokafka's C extension: for everything that is not the pass-through path."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from aiokafka.record.default_records import DefaultRecordBatch, DefaultRecordBatchBuilder
from aiokafka.record.legacy_records import LegacyRecordBatch

from replicator.errors import CorruptRecords
from replicator.model.batch import COMPRESSION_MASK, LOG_APPEND_TIME_BIT, MAGIC_V2

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from replicator.model.batch import BatchHeader

_BATCH_BYTES_MAX = 1 << 30


class Record(NamedTuple):
    """One record. Headers keep order, duplicates and null values."""

    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...]

    @property
    def content(self) -> tuple[object, ...]:
        """What must be equal on both sides at the same offset."""
        return self[1:]


class NewRecord(NamedTuple):
    """A record to be written; its offset is the broker's to give."""

    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes | None]] = ()


def decode(buffer: bytearray | bytes | memoryview, header: BatchHeader) -> list[Record]:
    """Return the records of one batch of any magic, checksum proven.

    Raises:
        CorruptRecords: The checksum or the records are not sound.
    """
    raw = bytearray(memoryview(buffer)[header.start : header.end])
    batch = DefaultRecordBatch(raw) if header.magic == MAGIC_V2 else LegacyRecordBatch(raw, header.magic)
    if not batch.validate_crc():
        raise CorruptRecords(f"the batch at offset {header.base_offset} is damaged", why="its CRC does not match")
    append_time = header.max_timestamp if header.attributes & LOG_APPEND_TIME_BIT else None
    try:
        return [
            Record(
                record.offset,
                _time(record.timestamp) if append_time is None else append_time,
                None if record.key is None else bytes(record.key),
                None if record.value is None else bytes(record.value),
                tuple((name, None if value is None else bytes(value)) for name, value in record.headers),
            )
            for record in batch
        ]
    except Exception as error:  # the extension and its codecs raise many kinds; all mean the same here
        raise CorruptRecords(
            f"the batch at offset {header.base_offset} cannot be read",
            why=f"{type(error).__name__}: {error} (codec {header.attributes & COMPRESSION_MASK})",
        ) from error


def _time(timestamp: int | None) -> int:
    """Return a record's time; messages of magic 0 have none."""
    return -1 if timestamp is None else timestamp


def encode(
    records: Iterable[NewRecord],
    *,
    producer_id: int = -1,
    producer_epoch: int = -1,
    base_sequence: int = -1,
    compression: int = 0,
    transactional: bool = False,
) -> bytes:
    """Return one v2 batch at base offset 0."""
    builder = DefaultRecordBatchBuilder(
        magic=2,
        compression_type=compression,
        is_transactional=int(transactional),
        producer_id=producer_id,
        producer_epoch=producer_epoch,
        base_sequence=base_sequence,
        batch_size=_BATCH_BYTES_MAX,
    )
    for index, record in enumerate(records):
        builder.append(index, record.timestamp, record.key, record.value, list(record.headers))
    return bytes(builder.build())
