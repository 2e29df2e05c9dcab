"""CRC-32C of a batch whose header changed, without reading its payload again.

CRC is linear: for messages of equal length, ``crc(a ^ b) = crc(a) ^ crc(b) ^ crc(0)``.
A batch is ``head (40 bytes, from byte 21 to 61) + tail``, so the new checksum follows from the old one, the two
heads and the number of tail bytes::

    new = old ^ shift(crc(old_head) ^ crc(new_head), tail_bytes)

where ``shift(x, n)`` carries a CRC register through n zero bytes.
Besides being cheaper than a pass over a large payload, this keeps integrity end to end: a payload damaged on its
way still fails the target broker's check, because the producer's own checksum was carried along.
"""

from __future__ import annotations

from crc32c import crc32c

_POLYNOMIAL = 0x82F63B78
_DIGIT_BITS = 4
_DIGITS = 7
"""Lengths are taken apart in base 16: 7 digits reach 256 MiB, more than any batch (batchLength is bounded)."""

_Matrix = list[int]
_Tables = tuple[list[int], list[int], list[int], list[int]]


def _apply(matrix: _Matrix, vector: int) -> int:
    result = 0
    row = 0
    while vector:
        if vector & 1:
            result ^= matrix[row]
        vector >>= 1
        row += 1
    return result


def _square(matrix: _Matrix) -> _Matrix:
    return [_apply(matrix, column) for column in matrix]


def _one_zero_byte() -> _Matrix:
    """Return the 32x32 matrix over GF(2) that carries a register through one zero byte."""
    bit = [_POLYNOMIAL, *(1 << n for n in range(31))]
    for _ in range(3):
        bit = _square(bit)
    return bit


def _tables(matrix: _Matrix) -> _Tables:
    """Turn a matrix into four 256-entry tables, one per byte of the register."""
    tables: list[list[int]] = []
    for byte in range(4):
        table = [0] * 256
        for bit in range(8):
            column = matrix[byte * 8 + bit]
            for value in range(1 << bit):
                table[(1 << bit) | value] = table[value] ^ column
        tables.append(table)
    return (tables[0], tables[1], tables[2], tables[3])


class _Shifter:
    """`shift(x, n)` by one table step per base-16 digit of n; tables are made when a digit is first met."""

    def __init__(self) -> None:
        self._powers: list[_Matrix] = [_one_zero_byte()]
        self._steps: dict[int, _Tables] = {}

    def _power(self, place: int) -> _Matrix:
        while len(self._powers) <= place:
            matrix = self._powers[-1]
            for _ in range(_DIGIT_BITS):
                matrix = _square(matrix)
            self._powers.append(matrix)
        return self._powers[place]

    def _step(self, place: int, digit: int) -> _Tables:
        base = self._power(place)
        matrix = base
        for _ in range(digit - 1):
            matrix = [_apply(base, column) for column in matrix]
        tables = self._steps[(place << _DIGIT_BITS) | digit] = _tables(matrix)
        return tables

    def shift(self, register: int, length: int) -> int:
        """Return `register` carried through `length` zero bytes.

        Raises:
            ValueError: `length` needs more digits than any batch has.
        """
        steps = self._steps
        place = 0
        while length:
            digit = length & 15
            if digit:
                t0, t1, t2, t3 = steps.get((place << 4) | digit) or self._step(place, digit)
                register = t0[register & 255] ^ t1[register >> 8 & 255] ^ t2[register >> 16 & 255] ^ t3[register >> 24]
            length >>= 4
            place += 1
            if place > _DIGITS:
                raise ValueError("length out of range")
        return register


_shift = _Shifter().shift


def crc_after_head_change(
    old_crc: int, old_head: bytes | memoryview, new_head: bytes | memoryview, tail_bytes: int
) -> int:
    """Return the checksum of ``new_head + tail`` given that of ``old_head + tail``.

    Args:
        old_crc: CRC-32C of the old head and the tail.
        old_head: The bytes before the change.
        new_head: The bytes after it, of the same length.
        tail_bytes: How many bytes follow the head.
    """
    return old_crc ^ _shift(crc32c(old_head) ^ crc32c(new_head), tail_bytes)
