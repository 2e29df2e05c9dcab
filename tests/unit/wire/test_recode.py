"""Batches taken apart and built anew: every byte of a record is kept."""

from __future__ import annotations

import struct
import zlib
from typing import Any

import pytest
from aiokafka.record.default_records import DefaultRecordBatch, DefaultRecordBatchBuilder
from aiokafka.record.legacy_records import LegacyRecordBatchBuilder
from crc32c import crc32c
from hypothesis import given
from hypothesis import strategies as st

from replicator.errors import CorruptRecords
from replicator.model.batch import LOG_APPEND_TIME_BIT, BatchHeader
from replicator.wire.batches.batch import scan
from replicator.wire.batches.recode import RawRecord, build_batches, codec_of, open_batch

CODECS = {"none": 0, "gzip": 1, "snappy": 2, "lz4": 3, "zstd": 4}
Sample = tuple[int, bytes | None, bytes | None, list[tuple[str, bytes | None]]]

payloads = st.none() | st.binary(max_size=200)
samples: Any = st.lists(
    st.tuples(
        st.integers(-1, 1 << 40), payloads, payloads, st.lists(st.tuples(st.text(max_size=8), payloads), max_size=4)
    ),
    min_size=1,
    max_size=20,
)


def of_client(records: list[Sample], codec: int, offsets: tuple[int, ...] = ()) -> bytearray:
    """Return a v2 batch as a client makes it and a broker stores it at offset 1000; `offsets` leave holes in it."""
    builder = DefaultRecordBatchBuilder(
        magic=2,
        compression_type=codec,
        is_transactional=0,
        producer_id=-1,
        producer_epoch=-1,
        base_sequence=-1,
        batch_size=1 << 24,
    )
    for index, (time, key, value, headers) in enumerate(records):
        builder.append(offsets[index] if offsets else index, time, key, value, headers)
    raw = bytearray(builder.build())
    struct.pack_into(">q", raw, 0, 1000)
    return raw


def opened(raw: bytearray) -> tuple[BatchHeader, list[RawRecord]]:
    """Scan a batch and open it."""
    (header,) = scan(raw, 0, len(raw))
    return header, open_batch(memoryview(raw), header)


def read(raw: bytes) -> list[Sample]:
    """Read a batch back with aiokafka, none of our code."""
    batch = DefaultRecordBatch(bytearray(raw))
    assert batch.validate_crc()
    return [(record.timestamp, record.key, record.value, list(record.headers)) for record in batch]


def build(records: list[RawRecord], codec: int, bytes_max: int = 1 << 30) -> list[Any]:
    """Build as the flow's writer would."""
    return build_batches(records, codec, producer_id=900, producer_epoch=7, sequence=41, bytes_max=bytes_max)


@given(codec=st.sampled_from(list(CODECS.values())), records=samples, drop=st.sets(st.integers(0, 19)))
def test_survivors_of_compaction_keep_every_byte(codec: int, records: list[Sample], drop: set[int]) -> None:
    """Null and empty, times before 0, headers twice: as a reader sees them, at their offsets."""
    header, raw = opened(of_client(records, codec))
    kept = [record for index, record in enumerate(raw) if index not in drop]
    assert [record.offset for record in raw] == [1000 + index for index in range(len(records))]
    assert codec_of(memoryview(of_client(records, codec)), header) == codec
    if not kept:
        return
    (made,) = build(kept, codec)

    before = read(bytes(of_client(records, codec)))  # aiokafka's builder takes a first time of -1 for none
    assert read(made.raw) == [before[record.offset - 1000] for record in kept]
    (again,) = scan(made.raw, 0, len(made.raw))
    assert (again.base_offset, again.record_count, again.last_offset_delta) == (0, len(kept), len(kept) - 1)
    assert (again.producer_id, again.producer_epoch, again.base_sequence) == (900, 7, 41)
    assert again.max_timestamp == made.max_timestamp == max(record.timestamp for record in kept)


def test_a_batch_with_holes_is_read_at_its_offsets() -> None:
    """As the cleaner leaves it: fewer records, the old last offset delta."""
    records: list[Sample] = [(5, b"k%d" % at, b"v", []) for at in range(2)]
    header, found = opened(of_client(records, 0, offsets=(1, 3)))

    assert (header.record_count, header.last_offset_delta) == (2, 3)
    assert [record.offset for record in found] == [1001, 1003]


def test_times_set_by_the_broker_are_kept() -> None:
    """With LogAppendTime every reader sees the batch's own time."""
    raw = of_client([(5, None, b"a", []), (9, None, b"b", [])], 0)
    struct.pack_into(">h", raw, 21, LOG_APPEND_TIME_BIT)
    struct.pack_into(">q", raw, 35, 7_000)
    struct.pack_into(">I", raw, 17, crc32c(memoryview(raw)[21:]))
    _, found = opened(raw)
    (made,) = build(found, 0)

    assert [time for time, _, _, _ in read(made.raw)] == [7_000, 7_000]


@pytest.mark.parametrize("magic", [0, 1])
@pytest.mark.parametrize("codec", [0, 1, 2, 3])
def test_old_formats_become_v2(magic: Any, codec: int) -> None:
    """Messages of their own, or one that wraps them compressed; null and empty are told apart."""
    if magic == 0 and codec == CODECS["lz4"]:
        return  # never was sound: KAFKA-3160
    builder = LegacyRecordBatchBuilder(magic=magic, compression_type=codec, batch_size=1 << 20)
    content: list[tuple[bytes | None, bytes | None]] = [(b"k", b"v"), (None, b""), (b"", None)]
    for offset, (key, value) in enumerate(content):
        builder.append(offset, timestamp=50 + offset, key=key, value=value)
    raw = bytearray(builder.build())
    found = [record for header in scan(raw, 0, len(raw)) for record in open_batch(memoryview(raw), header)]
    (made,) = build(found, 0)

    assert {header.leader_epoch for header in scan(raw, 0, len(raw))} == {-1}  # there is a checksum in that place
    assert [record.offset for record in found] == [0, 1, 2]
    times = [50, 51, 52] if magic else [-1, -1, -1]
    assert read(made.raw) == [(time, *pair, []) for time, pair in zip(times, content, strict=True)]


def test_what_is_too_large_is_halved() -> None:
    """Offsets and sequences go on from part to part."""
    records: list[Sample] = [(5, None, b"x" * 100, []) for _ in range(9)]
    _, raw = opened(of_client(records, 0))
    made = build(raw, 0, bytes_max=400)

    assert all(len(each.raw) <= 400 for each in made)
    assert [each.base_offset for each in made] == [
        1000 + sum(one.record_count for one in made[:at]) for at in range(len(made))
    ]
    sequences = [scan(each.raw, 0, len(each.raw))[0].base_sequence for each in made]
    assert sequences == [41 + each.base_offset - 1000 for each in made]
    assert [sample for each in made for sample in read(each.raw)] == records


def test_damage_is_named() -> None:
    """A wrong checksum, or a sound one around records that cannot be."""
    raw = of_client([(5, b"k", b"v" * 20, [])], 0)
    raw[-3] ^= 1
    with pytest.raises(CorruptRecords, match="offset 1000 is damaged"):
        opened(raw)

    cut = of_client([(5, b"k", b"v" * 20, [])], CODECS["zstd"])
    cut[-6:] = b"\x00" * 6
    struct.pack_into(">I", cut, 17, crc32c(memoryview(cut)[21:]))
    with pytest.raises(CorruptRecords, match="offset 1000 cannot be read"):
        opened(cut)

    # A set in the lz4 of magic 0 (KAFKA-3160): the codec stands elsewhere than in a batch of magic 2.
    checked = struct.pack(">bbii", 0, CODECS["lz4"], -1, 5) + b"value"
    old = bytearray(struct.pack(">qiI", 29, len(checked) + 4, zlib.crc32(checked)) + checked)
    with pytest.raises(CorruptRecords, match=r"offset 29 cannot be read") as refused:
        opened(old)
    assert "(magic 0, codec 3)" in str(refused.value)

    long = of_client([(5, b"k", b"v" * 20, [])], 0)
    long[61] = 0x7E
    struct.pack_into(">I", long, 17, crc32c(memoryview(long)[21:]))
    with pytest.raises(CorruptRecords, match="claims 63 bytes"):
        opened(long)
