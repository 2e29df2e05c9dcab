"""CRC-32C of a batch whose header has changed, without another read of its payload.

CRC is linear: for messages of equal length, ``crc(a ^ b) = crc(a) ^ crc(b) ^ crc(0)``.
A batch is ``head (40 bytes, from byte 21 to 61) + tail``, so the new checksum follows from the old one, the two
heads and the number of tail bytes::

    new = old ^ shift(crc(old_head) ^ crc(new_head), tail_bytes)

where ``shift(x, n)`` carries a CRC register through n zero bytes.
Besides being cheaper than a pass over a large payload, this keeps integrity end to end: a payload damaged on the way
still fails the target broker's check, because the producer's own checksum was carried along.
"""

from __future__ import annotations

from crc32c import crc32c

_DIGIT_BITS = 4
"""Lengths are split into digits of base 16."""
_LENGTH_BITS_MAX = 31
_DIRECT_PLACES = 5
"""Up to here (1 MiB) the checksum instruction itself carries a register through zeros fast enough."""
_RUN_PLACES = 3
"""Lower digits take one run of the instruction through zeros: 4 KiB cost less than two table steps."""
_RUN_MASK = (1 << (_RUN_PLACES * _DIGIT_BITS)) - 1
_ZEROS = memoryview(bytes(_RUN_MASK))
_ALL_ONES = 0xFFFFFFFF

_Tables = tuple[list[int], list[int], list[int], list[int]]


def _tables(columns: list[int]) -> _Tables:
    """Turn a linear map, given by its image of each bit, into four 256-entry tables, one per byte."""
    tables: list[list[int]] = []
    for byte in range(4):
        table = [0]
        for column in columns[byte * 8 : byte * 8 + 8]:
            table += [value ^ column for value in table]
        tables.append(table)
    return (tables[0], tables[1], tables[2], tables[3])


def _step(tables: _Tables, register: int) -> int:
    t0, t1, t2, t3 = tables
    return t0[register & 255] ^ t1[register >> 8 & 255] ^ t2[register >> 16 & 255] ^ t3[register >> 24]


class _Shifter:
    """Tables that carry a register through zeros: one per base-16 digit of the number of zeros, made on first use."""

    def __init__(self) -> None:
        self.steps: dict[int, _Tables] = {}

    def make(self, place: int, digit: int) -> _Tables:
        """Make and keep the tables of one digit."""
        if place < _DIRECT_PLACES:
            # crc32c inverts the register before and after, so both inversions are undone.
            zeros = bytes(digit << (_DIGIT_BITS * place))
            columns = [crc32c(zeros, (1 << bit) ^ _ALL_ONES) ^ _ALL_ONES for bit in range(32)]
        else:
            half = self._tables_of(place - 1, 8) if digit == 1 else self._tables_of(place, digit - 1)
            rest = half if digit == 1 else self._tables_of(place, 1)
            columns = [_step(rest, _step(half, 1 << bit)) for bit in range(32)]
        tables = self.steps[(place << _DIGIT_BITS) | digit] = _tables(columns)
        return tables

    def _tables_of(self, place: int, digit: int) -> _Tables:
        return self.steps.get((place << _DIGIT_BITS) | digit) or self.make(place, digit)


_shifter = _Shifter()


def crc_after_head_change(
    old_crc: int, old_head: bytes | memoryview, new_head: bytes | memoryview, tail_bytes: int
) -> int:
    """Return the checksum of ``new_head + tail`` given that of ``old_head + tail``.

    Args:
        old_crc: CRC-32C of the old head and the tail.
        old_head: The bytes before the change.
        new_head: The bytes after it, of the same length.
        tail_bytes: How many bytes follow the head.

    Raises:
        ValueError: The tail is longer than any batch.
    """
    if tail_bytes >> _LENGTH_BITS_MAX:
        raise ValueError("length out of range")
    register = crc32c(old_head) ^ crc32c(new_head)
    register = crc32c(_ZEROS[: tail_bytes & _RUN_MASK], register ^ _ALL_ONES) ^ _ALL_ONES
    steps = _shifter.steps
    place = _RUN_PLACES
    tail_bytes >>= _RUN_PLACES * _DIGIT_BITS
    while tail_bytes:
        digit = tail_bytes & 15
        if digit:
            t0, t1, t2, t3 = steps.get((place << 4) | digit) or _shifter.make(place, digit)
            register = t0[register & 255] ^ t1[register >> 8 & 255] ^ t2[register >> 16 & 255] ^ t3[register >> 24]
        tail_bytes >>= 4
        place += 1
    return old_crc ^ register
