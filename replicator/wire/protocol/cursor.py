"""Reads Kafka's flexible encoding by hand, with every length bounded by what is left.

Only the two hot messages (Fetch and Produce) are decoded this way; all others go through kio.
"""

from __future__ import annotations

from functools import lru_cache

from replicator.errors import CorruptRecords

_VARINT_BYTES_MAX = 5
_VARINTS_KEPT = 1 << 10
"""Each takes 250 bytes. With sixteen times as many, the cache still grew after half an hour, by 1 MB in ten minutes."""
_MORE = 0x80
_LOW_BITS = 0x7F
_TWO_BYTES_END, _THREE_BYTES_END = 1 << 14, 1 << 21


@lru_cache(maxsize=_VARINTS_KEPT)
def uvarint(number: int) -> bytes:
    """Return `number` as an unsigned varint; batch sizes repeat, so the last results are cached."""
    if number < _TWO_BYTES_END:
        return bytes((number & _LOW_BITS | _MORE, number >> 7)) if number > _LOW_BITS else bytes((number,))
    if number < _THREE_BYTES_END:
        return bytes((number & _LOW_BITS | _MORE, number >> 7 & _LOW_BITS | _MORE, number >> 14))
    out = bytearray()
    while number > _LOW_BITS:
        out.append(number & _LOW_BITS | _MORE)
        number >>= 7
    out.append(number)
    return bytes(out)


def read_uvarint(buffer: bytearray | bytes | memoryview, position: int) -> tuple[int, int]:
    """Return (value, position after it).

    Raises:
        CorruptRecords: The varint does not end within 5 bytes.
        IndexError: The buffer ends inside it.
    """
    value = buffer[position]
    if value < _MORE:
        return value, position + 1
    value &= _LOW_BITS
    for index in range(1, _VARINT_BYTES_MAX):
        byte = buffer[position + index]
        value |= (byte & _LOW_BITS) << (7 * index)
        if byte < _MORE:
            return value, position + index + 1
    raise CorruptRecords("a varint does not end")


def skip_tags(buffer: bytearray | bytes | memoryview, position: int) -> int:
    """Return the position after a tagged-field section whose content is not needed."""
    count, position = read_uvarint(buffer, position)
    for _ in range(count):
        _, position = read_uvarint(buffer, position)
        size, position = read_uvarint(buffer, position)
        position += size
    return position


def read_length(buffer: bytearray | bytes | memoryview, position: int, end: int) -> tuple[int, int]:
    """Read a compact length (encoded plus one); return (length or -1 for null, position after it).

    Raises:
        CorruptRecords: It is more than is left before `end`.
    """
    encoded, position = read_uvarint(buffer, position)
    if encoded - 1 > end - position:
        raise CorruptRecords(f"a length of {encoded - 1} where {end - position} bytes are left")
    return encoded - 1, position


def compact_string(text: str) -> bytes:
    """Return `text` in the compact string encoding."""
    raw = text.encode()
    return uvarint(len(raw) + 1) + raw
