"""The records of a batch as rows, for comparison: chunk by chunk, in bounded memory.

A batch may expand to any size, and so may one record. In memory there are at most `LARGE_BYTES` of records, and the
rows made of `_CHUNK_BYTES` of them, or of one larger record: headers of two bytes take thirty times as much as objects.
Fields above `LARGE_BYTES` are kept as a digest (`core.verify.rows.Large`), and so are headers if there are many
(`wire.batches.row_headers`).

Most records are read by aiokafka's parser in C. It reads a record's attributes as a varint and accepts only header
names that are UTF-8, so each record's length and attributes are checked first, and odd records are read by the parser
in `wire.batches.records`.
"""

from __future__ import annotations

import hashlib
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, TypeAlias

from aiokafka.errors import CorruptRecordException
from aiokafka.record.default_records import DefaultRecordBatch

from replicator.core.verify.rows import DIGEST_BYTES, LARGE_BYTES, Large, Unopened, short_digest
from replicator.errors import CorruptRecords, TooLargeToOpen
from replicator.model.batch import COMPRESSION_MASK, HEADER, HEADER_BYTES, LENGTH_PREFIX_BYTES, MAGIC_V2
from replicator.wire.batches.batch import prove
from replicator.wire.batches.inflate import inflate
from replicator.wire.batches.inflate_pieces import expands_beyond
from replicator.wire.batches.recode import read_varint, walk
from replicator.wire.batches.records import decode, fields_of
from replicator.wire.batches.row_headers import MANY, MANY_BYTES_MIN, headers_of, shown
from replicator.wire.batches.row_stream import RowStream, times_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from replicator.core.verify.rows import Field, Name, Row
    from replicator.model.batch import BatchHeader
    from replicator.wire.batches.inflate import Inflated

Chunk: TypeAlias = "tuple[list[Row], bool]"
_UNOPENED_KEY = Unopened(b"a batch that is too large to be opened, as it is stored")
_CHUNK_BYTES = MANY_BYTES_MIN
"""A record that fits in this has fewer bytes of headers than count as many."""
_MORE = 0x80
_LOW_BITS = 0x7F
_ODD = (CorruptRecordException, UnicodeDecodeError)


def rows_of(
    frame: memoryview,
    header: BatchHeader,
    first: int,
    *,
    chunk_records: int,
    opened_bytes_max: int | None = None,
    rereads: bool = True,
) -> Iterator[Chunk]:
    """Yield the records of a batch of any magic, in order, and whether these are its last ones.

    The checksum is verified first. Before the last records are yielded, it is checked that nothing follows them.

    Args:
        frame: The buffer that holds the batch.
        header: The batch.
        first: The first offset that is wanted; earlier ones are yielded as well.
        chunk_records: The most that are yielded at a time.
        opened_bytes_max: A compressed batch that expands to more becomes one row for its stored bytes; None: no limit.
        rereads: Whether large fields will be read again, for a digest. They keep the frame.

    Raises:
        CorruptRecords: The checksum, the compression or the records are damaged.
    """
    if header.magic != MAGIC_V2:
        yield from _of_old(frame, header, first, chunk_records)
        return
    prove(frame, header)
    payload = frame[header.start + HEADER_BYTES : header.end]
    codec = header.attributes & COMPRESSION_MASK
    if header.record_count < 0:
        raise _damaged(header, f"it claims {header.record_count} records")
    try:
        try:
            data = inflate(codec, payload, LARGE_BYTES)
        except TooLargeToOpen:
            if codec and opened_bytes_max is not None and expands_beyond(codec, payload, opened_bytes_max):
                yield [_stored(frame, header, first)], True
                return
            yield from _streamed(payload, header, chunk_records, rereads=rereads)
        else:
            yield from _within(data, header, chunk_records, rereads=rereads)
    except TooLargeToOpen:
        yield [_stored(frame, header, first)], True
    except CorruptRecords as damage:
        raise _damaged(header, str(damage)) from damage


def _within(data: Inflated, header: BatchHeader, chunk_records: int, *, rereads: bool) -> Iterator[Chunk]:
    """Yield the records of a batch that was opened whole."""
    at, left = 0, header.record_count
    if not left and len(data):
        raise CorruptRecords("bytes follow its records")
    while left:
        count, end, is_odd = lengths(data, at, min(len(data), at + _CHUNK_BYTES), min(left, chunk_records))
        is_alone = not count
        if is_alone:
            count, end, is_odd = lengths(data, at, len(data), 1)
        if not count or (count == left and end != len(data)):
            raise CorruptRecords("its records do not fit in it" if count < left else "bytes follow its records")
        left -= count
        found = data[at:end] if end - at < len(data) else data
        at = end
        yield (
            _alone(found, header, rereads=rereads, is_odd=is_odd)
            if is_alone
            else _parsed(found, header, count, is_odd=is_odd),
            not left,
        )


def _streamed(payload: memoryview, header: BatchHeader, chunk_records: int, *, rereads: bool) -> Iterator[Chunk]:
    """Yield the records of a batch that is opened in pieces."""
    stream = RowStream(payload, header, rereads=rereads)
    left = header.record_count
    if not left:
        stream.must_end()
    while left:
        data = stream.peek(LARGE_BYTES)
        count, end, is_odd = lengths(data, 0, min(len(data), _CHUNK_BYTES), min(left, chunk_records))
        if count:
            rows = _parsed(stream.take(end), header, count, is_odd=is_odd)
        else:
            count, end, is_odd = lengths(data, 0, min(len(data), LARGE_BYTES), 1)
            rows = _alone(stream.take(end), header, rereads=rereads, is_odd=is_odd) if count else [stream.large_row()]
            count = 1
        left -= count
        if not left:
            stream.must_end()
        yield rows, not left


def lengths(data: Inflated, at: int, end: int, records_max: int) -> tuple[int, int, bool]:
    """Return how many whole records there are from `at` up to `end`, where they end, and whether one has attributes.

    Raises:
        CorruptRecords: A record has an impossible length.
    """
    is_odd, count = False, 0
    try:
        while count < records_max:
            size = data[at]
            if size < _MORE:
                body = at + 1
            elif data[at + 1] < _MORE:
                size = size & _LOW_BITS | data[at + 1] << 7
                body = at + 2
            else:
                size, body = read_varint(data, at)
                size = size << 1 if size >= 0 else 1
            if size & 1:
                raise CorruptRecords("a record claims a negative length")
            after = body + (size >> 1)
            if after > end:
                break
            if data[body]:
                is_odd = True
            at = after
            count += 1
    except IndexError:  # the rest is the beginning of a record
        pass
    return count, at, is_odd


def _alone(data: Inflated, header: BatchHeader, *, rereads: bool, is_odd: bool) -> list[Row]:
    """Return one record that is larger than a chunk: it may have too many headers to make objects of them."""
    try:
        ((delta_ms, place, at, end),) = walk(data, 0, len(data), 1, header.base_offset)
        key, at = _field_bounds(data, at)
        value, at = _field_bounds(data, at)
        count, at = read_varint(data, at)
    except IndexError as error:
        raise CorruptRecords("a record is damaged", why=str(error)) from error
    if count <= MANY or end - at < MANY_BYTES_MIN:
        return _parsed(data, header, 1, is_odd=is_odd)
    if count > end - at:
        raise CorruptRecords(f"a record claims {count} headers")
    headers = headers_of(data[at:end], count, rereads=rereads)
    base_ms, append_ms = times_of(header)
    time_ms = base_ms + delta_ms if append_ms is None else append_ms
    return [(header.base_offset + place, time_ms, _bytes_at(data, key), _bytes_at(data, value), headers)]


def _field_bounds(data: Inflated, at: int) -> tuple[tuple[int, int] | None, int]:
    """Return where a field begins and ends, None for null, and the position after it."""
    size, at = read_varint(data, at)
    if size > len(data) - at:
        raise CorruptRecords(f"a field claims {size} bytes")
    return ((at, at + size), at + size) if size >= 0 else (None, at)


def _bytes_at(data: Inflated, bounds: tuple[int, int] | None) -> bytes | None:
    return None if bounds is None else bytes(data[slice(*bounds)])


def _parsed(data: Inflated, header: BatchHeader, count: int, *, is_odd: bool) -> list[Row]:
    """Return the records in `data`: `count` of them and nothing else."""
    if not is_odd:
        head = header._replace(
            length=HEADER_BYTES - LENGTH_PREFIX_BYTES + len(data),
            attributes=header.attributes & ~COMPRESSION_MASK,
            record_count=count,
        )
        batch = DefaultRecordBatch(b"".join((HEADER.pack(*head[:-1]), data)))
        try:
            rows = [
                (one.offset, one.timestamp, one.key, one.value, one.headers or None) for one in islice(batch, count)
            ]
            next(batch, None)  # here the parser checks that nothing follows
        except _ODD:
            pass
        else:
            return rows
    return _own(data, header, count)


def _own(data: Inflated, header: BatchHeader, count: int) -> list[Row]:
    base_ms, append_ms = times_of(header)
    rows: list[Row] = []
    try:
        for delta_ms, place, at, end in walk(data, 0, len(data), count, header.base_offset):
            key, value, headers = fields_of(data, at, end)
            named: list[tuple[Name, Field]] = [(shown(name), of_header) for name, of_header in headers]
            time_ms = base_ms + delta_ms if append_ms is None else append_ms
            rows.append((header.base_offset + place, time_ms, key, value, named or None))
    except (IndexError, ValueError) as error:
        raise CorruptRecords("a record is damaged", why=str(error)) from error
    return rows


def _of_old(frame: memoryview, header: BatchHeader, first: int, chunk_records: int) -> Iterator[Chunk]:
    """Yield the records of a message of magic 0 or 1, which may wrap others: it is opened whole."""
    try:
        records = decode(frame, header)
    except TooLargeToOpen:
        yield [_stored(frame, header, first)], True
        return
    for at in range(0, len(records), chunk_records):
        some = records[at : at + chunk_records]
        rows: list[Row] = [(one.offset, one.timestamp, _field(one.key), _field(one.value), None) for one in some]
        yield rows, at + chunk_records >= len(records)


def _field(data: bytes | None) -> Field:
    if data is None or len(data) <= LARGE_BYTES:
        return data
    return Large(len(data), short_digest(data), partial(iter, (data,)))


def _stored(frame: memoryview, header: BatchHeader, first: int) -> Row:
    """Return one row for a batch as it is stored: two are equal if the records are; it shows nothing else."""
    stored = hashlib.blake2b(frame[header.start + HEADER_BYTES : header.end], digest_size=DIGEST_BYTES)
    stored.update(b"%d %d %d" % (header.attributes & COMPRESSION_MASK, header.record_count, header.base_timestamp))
    return max(first, header.base_offset), header.max_timestamp, _UNOPENED_KEY, stored.digest(), None


def _damaged(header: BatchHeader, why: str) -> CorruptRecords:
    return CorruptRecords(f"the batch at offset {header.base_offset} is damaged", why=why)
