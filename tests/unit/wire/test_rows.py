"""Batches as rows: the same as the parser of `wire.batches.records` reads, whatever they are, and in bounded memory."""

from __future__ import annotations

import os
import re
import struct
import subprocess
import sys
import tracemalloc
import zlib
from pathlib import Path
from typing import Any

import cramjam
import pytest
from aiokafka.record.legacy_records import LegacyRecordBatchBuilder
from crc32c import crc32c
from hypothesis import given
from hypothesis import strategies as st

from replicator.core.verify.record_diff import RecordDiff
from replicator.core.verify.rows import LARGE_BYTES, Large, ManyHeaders, Row, Unopened, row_bytes, row_size
from replicator.errors import CorruptRecords, TooLargeToOpen
from replicator.model.batch import HEADER, LOG_APPEND_TIME_BIT, BatchHeader
from replicator.wire.batches import inflate_pieces as inflate_pieces_module
from replicator.wire.batches import rows as module
from replicator.wire.batches.batch import scan
from replicator.wire.batches.inflate import inflate
from replicator.wire.batches.inflate_pieces import expands_beyond, inflate_pieces
from replicator.wire.batches.records import NewRecord, decode, encode
from replicator.wire.batches.row_headers import shown
from replicator.wire.batches.rows import rows_of

MIB = 1 << 20
CODECS = (0, 1, 2, 3, 4)


def summed(raw: bytes | bytearray, **changed: int) -> tuple[memoryview, BatchHeader]:
    """Return a batch with other fields in its header, its length and checksum put right."""
    made = bytearray(raw)
    fields = list(HEADER.unpack_from(made))
    fields[1] = len(made) - 12
    for name, value in changed.items():
        fields[BatchHeader._fields.index(name)] = value
    HEADER.pack_into(made, 0, *fields)
    struct.pack_into(">I", made, 17, crc32c(memoryview(made)[21:]))
    (header,) = scan(made, 0, len(made))
    return memoryview(made), header


def read(frame: memoryview, header: BatchHeader, chunk_records: int = 1000, **options: Any) -> list[Row]:
    """Return all rows of a batch; only the last chunk says that it is."""
    chunks = list(rows_of(frame, header, 0, chunk_records=chunk_records, **options))
    assert [is_last for _, is_last in chunks] == [False] * (len(chunks) - 1) + [True]
    assert all(0 < len(rows) <= chunk_records for rows, _ in chunks)
    return [row for rows, _ in chunks for row in rows]


def expected(frame: memoryview, header: BatchHeader) -> list[Row]:
    """Return what the other parser says."""
    return [
        (one.offset, one.timestamp, one.key, one.value, [(shown(name), value) for name, value in one.headers] or None)
        for one in decode(frame, header, 1 << 30)
    ]


NAMES = st.one_of(st.text(max_size=3).map(str.encode), st.binary(max_size=3))
FIELDS = st.one_of(st.none(), st.binary(max_size=200))
RECORDS = st.builds(
    NewRecord,
    st.integers(-1, 1 << 41),
    FIELDS,
    FIELDS,
    st.lists(st.tuples(NAMES, FIELDS), max_size=3).map(tuple),
)


@given(
    st.lists(RECORDS, min_size=1, max_size=30),
    st.sampled_from(CODECS),
    st.integers(1, 40),
    st.sampled_from((0, LOG_APPEND_TIME_BIT)),
    st.integers(0, 1 << 40),
)
def test_every_field_is_what_the_other_parser_reads(
    records: list[NewRecord], codec: int, chunk: int, times: int, base: int
) -> None:
    """Nulls, names that are no UTF-8, times the broker set, any base offset, in chunks of any size."""
    raw = encode(records, compression=codec)
    frame, header = summed(raw, attributes=codec | times, base_offset=base, last_offset_delta=len(records) + 2)
    assert read(frame, header, chunk) == expected(frame, header)


@pytest.mark.parametrize("codec", CODECS)
def test_batches_that_are_opened_in_pieces_give_the_same(codec: int) -> None:
    """Small records beside large ones, and records about as large as a piece."""
    sizes = [10, LARGE_BYTES - 30, LARGE_BYTES - 5, LARGE_BYTES, LARGE_BYTES + 1, 3 * LARGE_BYTES, *range(100, 900)]
    records = [
        NewRecord(
            at,
            b"k%d" % at,
            os.urandom(size // 2) + bytes(size - size // 2),
            [(b"\xff" if at % 9 else b"h", b"1")],
        )
        for at, size in enumerate(sizes)
    ]
    records.append(NewRecord(1, bytes(LARGE_BYTES + 9), None, [(b"h", bytes(2 * LARGE_BYTES)), (b"", None)]))
    frame, header = summed(encode(records, compression=codec))
    found, wanted = read(frame, header, 50), expected(frame, header)
    kept = [row for row in found if not any(isinstance(field, Large) for field in _fields(row))]
    assert len(kept) == len(found) - 3
    assert kept == [row for row, own in zip(wanted, found, strict=True) if own in kept]
    assert b"".join(row_bytes(found)) == b"".join(row_bytes(wanted))
    assert row_size(found) == row_size(wanted)
    again = read(*summed(encode(records, compression=(codec + 1) % 5)), 7)
    assert again == found


def _fields(row: Row) -> list[Any]:
    headers = row[4] or ()
    assert not isinstance(headers, ManyHeaders)
    return [row[2], row[3], *(part for header in headers for part in header)]


HEADERS = ((), [(b"h", b"1")] * 1000, [(b"", None)] * 120_000, [(b"\xff", b"v" * 40), ("é".encode(), b"")] * 9_000)


@pytest.mark.parametrize("codec", [0, 4])
@pytest.mark.parametrize("value_bytes", [0, 200_000, LARGE_BYTES - 20, 2 * LARGE_BYTES])
def test_many_headers_are_digested_as_if_they_were_objects(codec: int, value_bytes: int) -> None:
    """Whatever they stand beside, so that what is equal is equal in every batch; and nothing else of the record."""
    records = [NewRecord(7, b"k", os.urandom(value_bytes), headers) for headers in HEADERS]
    frame, header = summed(encode(records, compression=codec))
    found, wanted = read(frame, header), expected(frame, header)
    assert [isinstance(row[4], ManyHeaders) for row in found] == [False, False, True, True]
    assert [row[4] for row in found[:2]] == [row[4] for row in wanted[:2]]
    assert b"".join(row_bytes(found)) == b"".join(row_bytes(wanted))
    assert row_size(found) == row_size(wanted)
    again = read(*summed(encode([NewRecord(1, None, b""), *records], compression=3)), rereads=False)
    assert [row[4] for row in again[1:]] == [row[4] for row in found]


def test_other_headers_are_told_by_their_number_and_digest() -> None:
    """They are not in memory."""
    pairs = [(b"a", b"1")] * 60_000
    one, other, fewer = (
        read(*summed(encode([NewRecord(7, None, None, headers)])))
        for headers in (pairs, [*pairs[1:], (b"a", b"2")], pairs[1:])
    )
    assert one != other
    diff = RecordDiff(0)
    diff.feed(one, other, source_done=True, target_done=True)
    assert re.fullmatch(r"60000 headers \(\w{8}\) \| 60000 headers \(\w{8}\)", diff.first[0].detail)
    diff = RecordDiff(0)
    diff.feed(one, fewer, source_done=True, target_done=True)
    assert "60000 headers (" in diff.first[0].detail
    assert "59999 headers (" in diff.first[0].detail


@pytest.mark.parametrize("each", [pytest.param(500_000, marks=pytest.mark.long), 20_000, 100])
def test_headers_take_little_memory(each: int) -> None:
    """A megabyte of them took 35, as objects; in one record or in many."""
    count = 500_000 // each
    frame, header = summed(encode([NewRecord(7, None, None, [(b"", None)] * each)] * count))
    tracemalloc.start()
    try:
        for rows, _ in rows_of(frame, header, 0, chunk_records=10_000):
            del rows
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak_bytes < 12 * MIB


@pytest.mark.parametrize("tail", [b"\x01\x00", b"\x00", b"\x00\x01\x00", b"\x40\x01"])
def test_many_headers_that_are_not_sound_are_damage(tail: bytes) -> None:
    """Without a name, cut off, with something behind them, longer than what is there."""
    count = 100_000
    body = b"\x00\x00\x00\x01\x01" + _varint(count) + b"\x00\x01" * (count - 1) + tail
    frame, header = summed(encode([NewRecord(1, None, None)])[:61] + _varint(len(body)) + body)
    with pytest.raises(CorruptRecords):
        read(frame, header)


def test_attributes_of_a_record_are_no_varint() -> None:
    """The parser in C takes them for one, and reads another key: here is a record that it reads whole."""
    records = [NewRecord(1, b"k", b"v", [(b"a", None)])] * 2
    raw = bytearray(encode(records))
    assert raw[61:64] == b"\x16\x00\x00"
    raw[62], raw[63] = 0xFF, 2
    frame, header = summed(raw)
    assert read(frame, header) == expected(frame, header)
    assert [row[2] for row in read(frame, header)] == [b"k", b"k"]


@pytest.mark.parametrize("magic", [0, 1])
@pytest.mark.parametrize("codec", [0, 1, 2])
def test_messages_of_old_formats(magic: int, codec: int) -> None:
    """A large value is the same as in a copy of format 2."""
    builder = LegacyRecordBatchBuilder(magic=magic, compression_type=codec, batch_size=1 << 24)
    values = [b"", b"v", None, bytes(LARGE_BYTES + 1)]
    for offset, value in enumerate(values):
        builder.append(offset, timestamp=50, key=b"k", value=value)
    raw = bytearray(builder.build())
    rows = [row for header in scan(raw, 0, len(raw)) for row in read(memoryview(raw), header, 3)]
    assert [row[0] for row in rows] == [0, 1, 2, 3]
    assert {row[1] for row in rows} == {50 if magic else -1}
    copy = read(*summed(encode([NewRecord(50 if magic else -1, b"k", value) for value in values])))
    assert rows == copy


@pytest.mark.parametrize("size", [1, 40_000_000], ids=["opened whole", "opened in pieces"])
def test_bytes_without_a_record_are_damage(size: int) -> None:
    """A batch that claims no records holds none: a cleaner leaves such batches, but nothing in them."""
    raw = bytearray(encode([NewRecord(5, b"k", b"v", [])]))
    raw[57:61] = bytes(4)
    del raw[61:]
    assert list(rows_of(*summed(raw), 0, chunk_records=100)) == []
    frame, header = summed(raw + bytes(size))
    with pytest.raises(CorruptRecords, match="follow its records"):
        list(rows_of(frame, header, 0, chunk_records=100))


@given(st.data())
def test_damage_is_damage(data: st.DataObject) -> None:
    """Whatever stands in it, it is what the other parser reads, or refused by both."""
    raw = bytearray(encode([NewRecord(5 + at, b"k" * at, b"v" * at, [(b"a", None)] * (at % 3)) for at in range(6)]))
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(57, len(raw) - 1))] = data.draw(st.sampled_from((0, 1, 2, 127, 128, 254, 255)))
    del raw[data.draw(st.integers(61, len(raw))) :]
    frame, header = summed(raw)
    if header.record_count > 100:
        return
    try:
        wanted = expected(frame, header) if header.record_count >= 0 else None
    except CorruptRecords:
        wanted = None
    for chunk in (1, 100):
        try:
            found = [row for rows, _ in rows_of(frame, header, 0, chunk_records=chunk) for row in rows]
        except CorruptRecords:
            found = None
        assert found == wanted


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("cut", [0.0, 0.3, 0.999, 1.0])
def test_damage_of_what_is_opened_in_pieces(codec: int, cut: float) -> None:
    """Cut off, or with something behind it."""
    raw = encode([NewRecord(1, None, os.urandom(LARGE_BYTES)) for _ in range(3)], compression=codec)
    for damaged in (raw[: 61 + int((len(raw) - 62) * cut)], raw + b"\x02"):
        frame, header = summed(damaged)
        with pytest.raises(CorruptRecords, match="the batch at offset 0 is damaged"):
            read(frame, header)


def test_what_cannot_be_opened_in_pieces_is_shown_as_stored() -> None:
    """One bare block of snappy; its row is equal where the bytes are, and cannot be taken for a record's."""
    block = bytes(cramjam.snappy.compress_raw(encode([NewRecord(1, None, bytes(40 * MIB))])[61:]))
    raw = encode([NewRecord(1, None, b"")])[:61] + block
    frame, header = summed(raw, attributes=2, base_offset=70)
    (row,) = read(frame, header)
    assert row[0] == 70
    assert isinstance(row[2], Unopened)
    assert [each for each, _ in rows_of(frame, header, 70, chunk_records=1)] == [[row]]
    assert b"".join(row_bytes([row])) == b"".join(row_bytes([(*row[:2], bytes(row[2]), *row[3:])]))


def test_a_window_that_is_too_large_is_not_kept() -> None:
    """Levels 20 to 22 of zstd refer far back: such are opened whole, and no further than anything else."""
    small, large = (bytes(cramjam.zstd.compress(bytes(size), 22)) for size in (20 * MIB, 40 * MIB))
    assert sum(map(len, inflate_pieces(4, memoryview(small)))) == 20 * MIB
    with pytest.raises(TooLargeToOpen):
        list(inflate_pieces(4, memoryview(large)))
    assert sum(map(len, inflate_pieces(4, memoryview(bytes(cramjam.zstd.compress(bytes(40 * MIB), 3)))))) == 40 * MIB


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("size", [0, 1, 70_000, 3 * MIB + 1])
def test_pieces_are_what_is_opened_whole(codec: int, size: int) -> None:
    """All of it, twice over where a codec allows for it; and whoever stops early ends the decoder."""
    data = os.urandom(size // 2) + bytes(size - size // 2)
    raw = memoryview(encode([NewRecord(1, None, data)], compression=codec)[61:])
    whole = bytes(inflate(codec, raw, 1 << 30))
    assert b"".join(inflate_pieces(codec, raw)) == whole
    assert expands_beyond(codec, raw, len(whole) - 1)
    assert not expands_beyond(codec, raw, len(whole))
    pieces = inflate_pieces(codec, raw)
    assert len(next(pieces)) <= MIB
    pieces.close()
    if codec in {1, 4}:
        assert b"".join(inflate_pieces(codec, memoryview(bytes(raw) * 2))) == whole * 2


@pytest.mark.parametrize("codec", [3, 4])
def test_without_dev_fd_it_is_opened_whole(monkeypatch: pytest.MonkeyPatch, codec: int) -> None:
    """And no further than anything that is; nothing is left open."""

    def refused(*_: object, **__: object) -> None:
        raise FileNotFoundError

    monkeypatch.setattr(inflate_pieces_module, "File", refused)
    raw = [memoryview(encode([NewRecord(1, None, bytes(size * MIB))], compression=codec)[61:]) for size in (3, 40)]
    before = len(list(Path("/dev/fd").iterdir()))
    assert sum(map(len, inflate_pieces(codec, raw[0]))) > 3 * MIB
    with pytest.raises(TooLargeToOpen):
        list(inflate_pieces(codec, raw[1]))
    assert len(list(Path("/dev/fd").iterdir())) == before


_BOMB = """
import sys
from replicator.wire.batches.batch import scan
from replicator.wire.batches.rows import rows_of
raw = bytearray(sys.stdin.buffer.read())
(header,) = scan(raw, 0, len(raw))
def peak_kib():
    # What getrusage tells begins with the peak of whoever started this process.
    return int(next(line for line in open("/proc/self/status") if line.startswith("VmHWM:")).split()[1])
before = peak_kib()
sizes = [len(row[3]) for rows, _ in rows_of(memoryview(raw), header, 0, chunk_records=1000) for row in rows]
print(len(sizes), sum(sizes), peak_kib() - before)
"""


@pytest.mark.parametrize("codec", [1, 3, 4])
@pytest.mark.parametrize("each", [96 * MIB, MIB, 1000])
def test_a_bomb_takes_a_bounded_amount_of_memory(codec: int, each: int) -> None:
    """96 MiB in a few kilobytes, as one record or as many: 20 MiB in a process of its own."""
    count = 96 * MIB // each
    press = {1: _Gzip, 3: cramjam.lz4.Compressor, 4: cramjam.zstd.Compressor}[codec]()
    records = encode([NewRecord(1, None, bytes(each))] * min(count, 96))[61:] if each < 96 * MIB else b""
    rounds = max(1, count // 96)
    pressed = bytearray()
    if records:
        for _ in range(rounds):
            press.compress(records)
            pressed += bytes(press.flush())
    else:
        body = b"\x00\x00\x00\x01" + _varint(each)
        press.compress(_varint(len(body) + each + 1) + body)
        for _ in range(each // MIB):
            press.compress(bytes(MIB))
            pressed += bytes(press.flush())
        press.compress(b"\x00")
    pressed += bytes(press.finish())
    total = rounds * min(count, 96)
    head = encode([NewRecord(1, None, b"")])[:61]
    frame, _ = summed(head + pressed, attributes=codec, record_count=total)
    done = subprocess.run([sys.executable, "-c", _BOMB], input=bytes(frame), capture_output=True, check=True)
    found, opened, grown_kib = map(int, done.stdout.split())
    assert (found, opened) == (total, total * each)
    assert grown_kib < 20 << 10


class _Gzip:
    """gzip with the methods of the others."""

    def __init__(self) -> None:
        self._press = zlib.compressobj(wbits=31)
        self._made = b""

    def compress(self, data: bytes) -> None:
        """Take more."""
        self._made += self._press.compress(data)

    def flush(self) -> bytes:
        """Return what was made of it."""
        made, self._made = self._made, b""
        return made

    def finish(self) -> bytes:
        """Return the rest."""
        return self._made + self._press.flush()


def _varint(value: int) -> bytes:
    value <<= 1
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def test_headers_without_number_are_compared_as_they_are_stored() -> None:
    """Of a large record: each would be an object of its own."""
    many = [(b"", None)] * (600 << 10)
    raw = [encode([NewRecord(1, None, b"v", [*many[:-1], last])]) for last in ((b"", None), (b"", b""))]
    found = [read(*summed(each)) for each in (raw[0], raw[0], raw[1])]
    assert found[0] == found[1] != found[2]
    assert len(found[0][0][4] or ()) == 1


def test_lengths_are_looked_at_before_anything_is_read() -> None:
    """A record that claims less than nothing, and one that claims more than there is."""
    assert module.lengths(b"\x02\x00\x04\x01\x01\x06\x00", 0, 7, 10) == (2, 5, True)
    with pytest.raises(CorruptRecords):
        module.lengths(b"\x01\x00", 0, 2, 1)
