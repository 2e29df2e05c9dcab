"""Small batches merged: the same records, at consecutive places, whoever reads them."""

from __future__ import annotations

import struct
from collections.abc import Collection
from typing import Any

import pytest
from crc32c import crc32c
from hypothesis import given
from hypothesis import strategies as st

from replicator.core.copy.reading.pieces import Passes
from replicator.errors import CorruptRecords, TooLargeToOpen
from replicator.wire.batches.batch import scan
from replicator.wire.batches.coalesce import merge
from replicator.wire.batches.recode import open_batch
from tests.unit.wire.test_recode import CODECS, Sample, of_client, read, samples

_FIRST = 1000
_ONE: list[Sample] = [(5, b"k", b"v" * 20, [])]


def fetched(*batches: list[Sample], codec: int = 0, plain: Collection[int] = ()) -> tuple[bytearray, Passes]:
    """Return a frame of batches at consecutive offsets, and the batches with their base sequences from 41 on.

    Those numbered in `plain` are not compressed.
    """
    frame = bytearray()
    offset = _FIRST
    for number, records in enumerate(batches):
        raw = of_client(records, 0 if number in plain else codec)
        struct.pack_into(">q", raw, 0, offset)
        frame += raw
        offset += len(records)
    return frame, [(header, 41 + header.base_offset - _FIRST) for header in scan(frame, 0, len(frame))]


def spoilt(at: int, value: int) -> tuple[bytearray, Passes]:
    """Return three batches of one record; in the second, a byte of the records is another, and the checksum right."""
    frame, passes = fetched(_ONE, _ONE, _ONE)
    start, end = passes[1][0].start, passes[1][0].end
    frame[start + 61 + at] = value
    struct.pack_into(">I", frame, start + 17, crc32c(memoryview(frame)[start + 21 : end]))
    return frame, [(header, 0) for header in scan(frame, 0, len(frame))]


@given(
    codec=st.sampled_from(list(CODECS.values())),
    batches=st.lists(samples, min_size=1, max_size=12),
    plain=st.sets(st.integers(1, 11)),
)
def test_readers_see_the_same_records(codec: int, batches: Any, plain: set[int]) -> None:
    """By aiokafka's reader and by ours: nulls, headers twice, times that go back; the frame is untouched."""
    frame, passes = fetched(*batches, codec=codec, plain=plain)
    before = bytes(frame)
    made = merge(frame, passes, 900, 7)

    assert frame == before
    wanted = [sample for header, _ in passes for sample in read(bytes(frame[header.start : header.end]))]
    assert read(made.raw) == wanted
    (header,) = scan(made.raw, 0, len(made.raw))
    view = memoryview(made.raw)
    parts = [record for each, _ in passes for record in open_batch(memoryview(frame), each)]
    ours = open_batch(view, header)
    assert [(record.timestamp, bytes(record.body)) for record in ours] == [
        (record.timestamp, bytes(record.body)) for record in parts
    ]
    assert [record.offset for record in ours] == list(range(len(wanted)))
    assert header.attributes == codec
    assert (header.producer_id, header.producer_epoch, header.base_sequence) == (900, 7, 41)
    assert (made.base_offset, made.record_count, header.record_count) == (_FIRST, len(wanted), len(wanted))
    assert header.last_offset_delta == len(wanted) - 1
    assert header.max_timestamp == made.max_timestamp == max(each.max_timestamp for each, _ in passes)


def test_places_and_times_of_many_bytes() -> None:
    """Indexes and time deltas beyond what two bytes hold, and times farther apart than a delta can say as a sum."""
    times = [1 << 62, -(1 << 62), 0, *[7] * 9000]
    batches: list[list[Sample]] = [[(time, None, b"x", [])] for time in times]
    frame, passes = fetched(*batches)
    made = merge(frame, passes, 900, 7)

    assert [time for time, _, _, _ in read(made.raw)] == times


def test_what_is_not_of_the_records_is_dropped() -> None:
    """A transaction's bit, a delete horizon, the producer's id: as when a batch passes on its own."""
    frame, passes = fetched([(5, None, b"a", [])], [(9, None, b"b", [])])
    for header, _ in passes:
        struct.pack_into(">h", frame, header.start + 21, 0x50)
        struct.pack_into(">I", frame, header.start + 17, crc32c(memoryview(frame)[header.start + 21 : header.end]))
    passes = [(header, 41) for header in scan(frame, 0, len(frame))]
    made = merge(frame, passes, 900, 7)

    assert scan(made.raw, 0, len(made.raw))[0].attributes == 0
    assert read(made.raw) == [(5, None, b"a", []), (9, None, b"b", [])]


@pytest.mark.parametrize("codec", CODECS.values())
def test_damage_is_named_by_its_offset(codec: int) -> None:
    """A wrong checksum in the middle."""
    frame, passes = fetched(_ONE, _ONE, _ONE, codec=codec)
    frame[passes[1][0].end - 3] ^= 1

    with pytest.raises(CorruptRecords, match="offset 1001 is damaged"):
        merge(frame, passes, 900, 7)


@pytest.mark.parametrize(
    ("at", "value", "says"),
    [
        (0, 0x7E, "claims 63 bytes"),
        (0, 0x02, "claims 1 bytes"),
        (0, 0x30, "follow its records"),
        (3, 0x02, "record 0 is 1"),
        (3, 0xFF, "record 0 is"),
    ],
)
def test_records_that_cannot_be_are_named(at: int, value: int, says: str) -> None:
    """The checksum is right and the records are not: what a reader of the source would choke on is not hidden."""
    frame, passes = spoilt(at, value)

    with pytest.raises(CorruptRecords, match=says) as caught:
        merge(frame, passes, 900, 7)
    assert "offset 1001" in str(caught.value)


def test_compressed_records_that_cannot_be_are_named() -> None:
    """They end inside a record, or are no compressed bytes at all."""
    zstd = CODECS["zstd"]
    frame, passes = fetched(_ONE, _ONE, _ONE, codec=zstd)
    start, end = passes[1][0].start, passes[1][0].end
    struct.pack_into(">i", frame, start + 57, 2)
    struct.pack_into(">I", frame, start + 17, crc32c(memoryview(frame)[start + 21 : end]))
    more = [(header, 0) for header in scan(frame, 0, len(frame))]
    with pytest.raises(CorruptRecords, match="offset 1001 is damaged"):
        merge(frame, more, 900, 7)

    frame[end - 6 : end] = b"\x00" * 6
    struct.pack_into(">I", frame, start + 17, crc32c(memoryview(frame)[start + 21 : end]))
    broken = [(header, 0) for header in scan(frame, 0, len(frame))]
    with pytest.raises(CorruptRecords, match="offset 1001 cannot be read"):
        merge(frame, broken, 900, 7)


@pytest.mark.parametrize("codec", CODECS.values())
def test_a_merged_batch_ends_before_it_would_be_too_large_once_opened(codec: int) -> None:
    """Of each batch no more is opened than there is room for: the rest is left to the caller."""
    large: list[Sample] = [(5, None, bytes(4000), [])]
    frame, passes = fetched(_ONE, large, _ONE, large, large, codec=codec)
    made = merge(frame, passes, 900, 7, 9000)
    assert (made.taken, made.record_count) == (4, 4)
    assert made.opened_bytes <= 9000
    assert [value for _, _, value, _ in read(made.raw)] == [_ONE[0][2], bytes(4000)] * 2

    for few in (passes[1:], passes[:2]):
        with pytest.raises(TooLargeToOpen):
            merge(frame, few, 900, 7, 3000)
