"""Records in and out of batches, for everything that is not the pass-through path.

Brokers accept any bytes as a header's name and never parse them, so names are bytes here, too. Code that displays a
name decodes it with escapes (`shown_name`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from replicator.errors import CorruptRecords, TooLargeToOpen
from replicator.model.batch import COMPRESSION_MASK, LOG_APPEND_TIME_BIT, MAGIC_V2
from replicator.wire.batches.batch import prove
from replicator.wire.batches.inflate import OPENED_BYTES_MAX
from replicator.wire.batches.recode import (
    SHORT,
    SHORT_BELOW,
    close,
    field,
    inflated,
    old_batch,
    read_varint,
    varint,
    walk,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from replicator.model.batch import BatchHeader
    from replicator.wire.batches.inflate import Inflated

Headers = tuple[tuple[bytes, bytes | None], ...]


class Record(NamedTuple):
    """One record. Its headers keep their order, duplicates and null values."""

    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Headers

    @property
    def content(self) -> tuple[object, ...]:
        """What must be equal on both sides at the same offset."""
        return self[1:]


class NewRecord(NamedTuple):
    """A record to write; the broker assigns its offset."""

    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[bytes, bytes | None]] = ()


def shown_name(name: bytes) -> str:
    """Return a header's name as text; bytes that are not UTF-8 are escaped."""
    return name.decode(errors="backslashreplace")


def decode(
    buffer: bytearray | bytes | memoryview, header: BatchHeader, bytes_max: int = OPENED_BYTES_MAX
) -> list[Record]:
    """Return the records of one batch of any magic, with its checksum verified.

    Args:
        buffer: The buffer that holds the batch.
        header: The batch.
        bytes_max: The most that its records may take in memory.

    Raises:
        TooLargeToOpen: They would take more.
        CorruptRecords: The checksum or the records are damaged.
    """
    frame = memoryview(buffer)
    try:
        return (
            _decode_v2(frame, header, bytes_max) if header.magic == MAGIC_V2 else _decode_old(frame, header, bytes_max)
        )
    except (CorruptRecords, TooLargeToOpen):
        raise
    except Exception as error:  # aiokafka raises many kinds; all mean the same here
        raise CorruptRecords(
            f"the batch at offset {header.base_offset} cannot be read",
            why=f"{type(error).__name__}: {error} (codec {header.attributes & COMPRESSION_MASK})",
        ) from error


def _decode_v2(frame: memoryview, header: BatchHeader, bytes_max: int) -> list[Record]:
    prove(frame, header)
    base, base_ms = header.base_offset, header.base_timestamp
    append_ms = header.max_timestamp if header.attributes & LOG_APPEND_TIME_BIT else None
    data = inflated(frame, header, bytes_max)
    records: list[Record] = []
    for delta_ms, place, at, end in walk(data, 0, len(data), header.record_count, base):
        try:
            key, value, headers = fields_of(data, at, end)
        except (IndexError, ValueError) as error:
            raise CorruptRecords(f"the record at offset {base + place} is damaged", why=str(error)) from error
        records.append(
            Record(base + place, base_ms + delta_ms if append_ms is None else append_ms, key, value, headers)
        )
    return records


def fields_of(data: Inflated, at: int, end: int) -> tuple[bytes | None, bytes | None, Headers]:
    """Return key, value and headers of a record whose body is at these bytes.

    Raises:
        ValueError: They do not fit in these bytes.
        IndexError: They run beyond `data`.
        CorruptRecords: A length does not end.
    """
    key, at = _field(data, at, end)
    value, at = _field(data, at, end)
    count, at = read_varint(data, at)
    headers: list[tuple[bytes, bytes | None]] = []
    if not 0 <= count <= end - at:
        raise ValueError(f"it claims {count} headers")
    for _ in range(count):
        name, at = _field(data, at, end)
        if name is None:
            raise ValueError("a header has no name")
        of_header, at = _field(data, at, end)
        headers.append((name, of_header))
    if at != end:
        raise ValueError(f"{end - at} bytes follow its headers")
    return key, value, tuple(headers)


def _field(data: Inflated, at: int, end: int) -> tuple[bytes | None, int]:
    size, at = read_varint(data, at)
    if size < 0:
        return None, at
    after = at + size
    if after > end:
        raise ValueError(f"a field claims {size} bytes")
    return bytes(data[at:after]), after


def _decode_old(frame: memoryview, header: BatchHeader, bytes_max: int) -> list[Record]:
    return [
        Record(
            record.offset,
            -1 if record.timestamp is None else record.timestamp,  # messages of magic 0 have none
            None if record.key is None else bytes(record.key),
            None if record.value is None else bytes(record.value),
            (),
        )
        for record in old_batch(frame, header, bytes_max)
    ]


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
    wanted = list(records)
    base_ms, max_ms = wanted[0].timestamp, max(record.timestamp for record in wanted)
    data = bytearray()
    before: NewRecord | None = None
    for index, record in enumerate(wanted):
        if record is not before:  # the fillers of a seed are one record repeated a hundred thousand times
            before = record
            head = b"\x00" + varint(record.timestamp - base_ms)  # no attributes are defined for a record
            rest = field(record.key) + field(record.value) + varint(len(record.headers))
            rest += b"".join(field(name) + field(value) for name, value in record.headers)
        place = SHORT[index] if index < SHORT_BELOW else varint(index)
        size = len(head) + len(place) + len(rest)
        data += SHORT[size] if size < SHORT_BELOW else varint(size)
        data += head
        data += place
        data += rest
    writer = (producer_id, producer_epoch, base_sequence)
    return close(data, compression, 0, len(wanted), (base_ms, max_ms), writer, transactional=transactional).raw
