"""Kafka's flexible encoding by hand."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kio.serial.writers import write_unsigned_varint
from kio.static.primitive import uvarint as kio_uvarint

from replicator.errors import CorruptRecords
from replicator.wire.protocol.cursor import compact_string, read_length, read_uvarint, skip_tags, uvarint


@given(st.integers(0, 2**31 - 1), st.binary(max_size=5))
def test_varints_round_trip_and_equal_kios(number: int, behind: bytes) -> None:
    """Whatever follows."""
    expected = io.BytesIO()
    write_unsigned_varint(expected, kio_uvarint(number))

    assert uvarint(number) == expected.getvalue()
    assert read_uvarint(uvarint(number) + behind, 0) == (number, len(uvarint(number)))


def test_what_is_remembered_of_varints_is_little() -> None:
    """It grew for hours, up to 4 MB: sizes of batches are ever new."""
    for number in range(1 << 20, (1 << 20) + 5000):
        uvarint(number)
    assert uvarint.cache_info().currsize * 250 <= 256 << 10


def test_a_varint_that_does_not_end_is_corrupt() -> None:
    """Five bytes hold more than any length."""
    with pytest.raises(CorruptRecords):
        read_uvarint(b"\x80" * 10, 0)


def test_a_varint_cut_short_is_an_index_error() -> None:
    """Which the decoders turn into `CorruptRecords`."""
    with pytest.raises(IndexError):
        read_uvarint(b"\x80", 0)


def test_a_length_beyond_the_end_is_corrupt_before_anything_is_made_of_it() -> None:
    """No allocation follows from a number in a frame."""
    assert read_length(b"\x00", 0, 1) == (-1, 1)
    assert read_length(b"\x03ab", 0, 3) == (2, 1)
    with pytest.raises(CorruptRecords, match="3 where 2 bytes are left"):
        read_length(b"\x04ab", 0, 3)


def test_tagged_fields_are_skipped_whatever_they_hold() -> None:
    """None, one, many."""
    assert skip_tags(b"\x00x", 0) == 1
    assert skip_tags(b"\x02\x00\x01a\x05\x02bcx", 0) == 8


@pytest.mark.parametrize("text", ["", "orders", "x" * 200, "naïve"])
def test_compact_strings(text: str) -> None:
    """Length plus one, then UTF-8."""
    raw = compact_string(text)
    length, position = read_length(raw, 0, len(raw))

    assert raw[position : position + length].decode() == text
