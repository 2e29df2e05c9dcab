"""Scanning batches and rewriting their headers in place."""

from __future__ import annotations

import gzip
import struct
from collections.abc import Callable
from typing import Any

import cramjam
import pytest
from aiokafka.record.default_records import DefaultRecordBatch, DefaultRecordBatchBuilder
from crc32c import crc32c
from hypothesis import given
from hypothesis import strategies as st

from replicator.errors import CorruptRecords
from replicator.model.batch import (
    DELETE_HORIZON_BIT,
    HEADER,
    HEADER_BYTES,
    LOG_APPEND_TIME_BIT,
    SEQUENCE_MODULUS,
    TRANSACTIONAL_BIT,
)
from replicator.wire.batches.batch import rewrite, scan

CODECS = {"none": 0, "gzip": 1, "snappy": 2, "lz4": 3, "zstd": 4}
_CLEARED = LOG_APPEND_TIME_BIT | TRANSACTIONAL_BIT | DELETE_HORIZON_BIT


def built(codec: int, count: int, value: bytes, base: int = 1234) -> bytes:
    """Return a batch made by aiokafka, as a broker would have stored it."""
    builder = DefaultRecordBatchBuilder(
        magic=2,
        compression_type=codec,
        is_transactional=0,
        producer_id=77,
        producer_epoch=2,
        base_sequence=5,
        batch_size=1 << 24,
    )
    for at in range(count):
        builder.append(at, 1_000 + at, b"k%d" % at, value, [("h", b"1"), ("h", None)])
    raw = bytearray(builder.build())
    struct.pack_into(">q", raw, 0, base)
    struct.pack_into(">i", raw, 12, 9)
    return bytes(raw)


def by_hand(codec: int, payload: bytes, attributes: int = 0) -> bytes:
    """Return a batch of one record around a payload that is only compressed, never looked at."""
    compressors: dict[int, Callable[[bytes], Any]] = {
        0: bytes,
        1: gzip.compress,
        2: cramjam.snappy.compress_raw,
        3: cramjam.lz4.compress,
        4: cramjam.zstd.compress,
    }
    body = bytes(compressors[codec](payload))
    raw = bytearray(
        HEADER.pack(50, HEADER_BYTES - 12 + len(body), 3, 2, 0, codec | attributes, 0, 10, 10, 77, 2, 5, 1) + body
    )
    struct.pack_into(">I", raw, 17, crc32c(memoryview(raw)[21:]))
    return bytes(raw)


def rewritten(raw: bytes, sequence: int = 42, before: bytes = b"xyz") -> bytes:
    """Rewrite a batch that stands somewhere in a buffer."""
    buffer = bytearray(before + raw + b"behind")
    (header,) = scan(buffer, len(before), len(before) + len(raw))
    rewrite(memoryview(buffer), [(header, sequence)], 900, 7)
    assert bytes(buffer[: len(before)]) + bytes(buffer[-6:]) == before + b"behind"
    return bytes(buffer[len(before) : -6])


@pytest.mark.parametrize("codec", CODECS.values(), ids=CODECS)
@pytest.mark.parametrize("value_bytes", [10, 20_000], ids=["small", "large"])
def test_a_rewritten_batch_of_every_codec_has_the_same_payload(codec: int, value_bytes: int) -> None:
    """Both ways of making the checksum; aiokafka reads the result, records and all."""
    value = bytes(range(256)) * (value_bytes // 256 + 1)
    before = built(codec, 20, value)
    after = rewritten(before)
    (header,) = scan(after, 0, len(after))

    assert after[HEADER_BYTES:] == before[HEADER_BYTES:]
    assert (header.base_offset, header.producer_id, header.producer_epoch, header.base_sequence) == (0, 900, 7, 42)
    assert (header.record_count, header.last_offset_delta, header.leader_epoch) == (20, 19, 9)
    assert header.crc == crc32c(after[21:])
    batch = DefaultRecordBatch(bytearray(after))
    assert batch.validate_crc()
    assert [bytes(record.value) for record in batch] == [value] * 20


@pytest.mark.parametrize("codec", CODECS.values(), ids=CODECS)
@pytest.mark.parametrize("size", [0, 100, 6080, 6083, 6084, 6200, 100_000])
def test_attribute_bits_are_cleared_and_the_codec_is_kept(codec: int, size: int) -> None:
    """Also on both sides of the size where the way of making the checksum changes."""
    payload = bytes((at * 7919 >> 3) & 255 for at in range(size))
    before = by_hand(codec, payload, _CLEARED)
    after = rewritten(before)
    (header,) = scan(after, 0, len(after))

    assert header.attributes == codec
    assert header.crc == crc32c(after[21:])
    assert after[HEADER_BYTES:] == before[HEADER_BYTES:]


def test_a_small_damaged_batch_is_found_here() -> None:
    """Its checksum is computed on the way, and nothing of it is changed."""
    raw = bytearray(by_hand(0, b"x" * 100))
    raw[-1] ^= 1
    (header,) = scan(raw, 0, len(raw))
    kept = bytes(raw)
    with pytest.raises(CorruptRecords, match="offset 50 is damaged"):
        rewrite(memoryview(raw), [(header, 42)], 900, 7)

    assert bytes(raw) == kept


def test_a_large_damaged_batch_stays_damaged() -> None:
    """Its checksum is carried along, so that the target's broker finds it."""
    raw = bytearray(by_hand(0, b"x" * 100_000))
    raw[-1] ^= 1
    (header,) = scan(raw, 0, len(raw))
    rewrite(memoryview(raw), [(header, 42)], 900, 7)

    assert scan(raw, 0, len(raw))[0].crc != crc32c(memoryview(raw)[21:])


def test_the_last_sequence_wraps() -> None:
    """From 2^31 - 1 to 0."""
    after = rewritten(built(0, 20, b"v"), SEQUENCE_MODULUS - 5)

    assert scan(after, 0, len(after))[0].last_sequence == 14


# -- scan ---------------------------------------------------------------------------------------------------


def old_message(magic: int, payload: bytes, base: int = 8) -> bytes:
    """Return a message of magic 0 or 1."""
    body = struct.pack(">Ibb", 0, magic, 0) + (bytes(8) if magic else b"")
    body += struct.pack(">i", -1) + struct.pack(">i", len(payload)) + payload
    return struct.pack(">qi", base, len(body)) + body


def test_batches_in_a_row_and_a_cut_one_at_the_end() -> None:
    """An answer may end anywhere in a batch."""
    whole = built(0, 3, b"v") + built(4, 5, b"v", 1237)
    for cut in range(len(whole)):
        headers = scan(whole, 0, cut)
        assert len(headers) == (0 if cut < len(built(0, 3, b"v")) else 1)
    headers = scan(whole, 0, len(whole))

    assert [(each.base_offset, each.next_offset) for each in headers] == [(1234, 1237), (1237, 1242)]
    assert [whole[each.start : each.end] for each in headers] == [whole[: headers[0].size], whole[headers[0].size :]]


@pytest.mark.parametrize("magic", [0, 1])
@pytest.mark.parametrize("size", [0, 5, 200])
def test_old_messages_are_found_however_short(magic: int, size: int) -> None:
    """Alone, two at the end, and before a batch: never left out as if they were cut off."""
    message = old_message(magic, b"p" * size)

    assert [each.magic for each in scan(message, 0, len(message))] == [magic]
    assert [each.magic for each in scan(message * 2, 0, 2 * len(message))] == [magic, magic]
    mixed = message + built(0, 1, b"v", 9)
    assert [each.magic for each in scan(mixed, 0, len(mixed))] == [magic, 2]
    (header,) = scan(message, 0, len(message))
    assert (header.base_offset, header.size, header.record_count, header.next_offset) == (8, len(message), -1, 9)
    assert scan(message, 0, len(message) - 1) == []


@pytest.mark.parametrize(("length", "magic"), [(-1, 2), (0, 2), (48, 2), (100, 3), (100, -1), (13, 1), (-100, 0)])
def test_lengths_and_formats_that_are_not_kafkas_are_corrupt(length: int, magic: int) -> None:
    """They never make the scan stand still or walk backwards."""
    raw = HEADER.pack(50, length, 3, magic, 0, 0, 0, 10, 10, 77, 2, 5, 1) + bytes(100)
    with pytest.raises(CorruptRecords, match="offset 50"):
        scan(raw, 0, len(raw))


@given(st.binary(max_size=300), st.integers(0, 300))
def test_garbage_is_refused_or_understood_but_never_walked_out_of(raw: bytes, start: int) -> None:
    """Every header returned lies within the bytes that were given."""
    try:
        headers = scan(raw, min(start, len(raw)), len(raw))
    except CorruptRecords:
        return
    position = min(start, len(raw))
    for header in headers:
        assert position == header.start < header.end <= len(raw)
        position = header.end
