"""The checksum after a change of the head, against a full recompute."""

from __future__ import annotations

import pytest
from crc32c import crc32c
from hypothesis import given
from hypothesis import strategies as st

from replicator.wire.batches.crc import crc_after_head_change

heads = st.binary(min_size=40, max_size=40)


@given(heads, heads, st.binary(max_size=5000))
def test_it_equals_a_full_recompute(old: bytes, new: bytes, tail: bytes) -> None:
    """For any heads and any tail."""
    assert crc_after_head_change(crc32c(old + tail), old, new, len(tail)) == crc32c(new + tail)


@pytest.mark.parametrize("size", [0, 1, 15, 16, 17, 255, 256, 4095, 65_536, 1 << 20, (1 << 20) + 12_345, 3_000_001])
def test_it_equals_a_full_recompute_at_every_digit(size: int) -> None:
    """Lengths are taken apart in base 16: each place and digit has its own table."""
    old, new, tail = bytes(40), bytes(range(40)), b"\xa5" * size

    assert crc_after_head_change(crc32c(old + tail), old, new, size) == crc32c(new + tail)


@given(heads, heads, st.binary(min_size=1, max_size=300), st.integers(0, 1 << 20))
def test_damage_is_carried_along(old: bytes, new: bytes, tail: bytes, at: int) -> None:
    """A checksum that did not match before does not match after."""
    damaged = bytearray(tail)
    damaged[at % len(tail)] ^= 1

    assert crc_after_head_change(crc32c(old + tail), old, new, len(tail)) != crc32c(new + bytes(damaged))


def test_a_length_no_batch_has_is_refused() -> None:
    """Rather than a wrong checksum."""
    with pytest.raises(ValueError, match="out of range"):
        crc_after_head_change(0, b"a", b"b", 1 << 32)
