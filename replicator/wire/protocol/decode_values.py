"""Reads values of Kafka's protocol that are not messages, each within the bytes that are left."""

from __future__ import annotations

import struct
from collections.abc import Callable
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

from kio.schema.errors import ErrorCode

from replicator.errors import BugError, CorruptRecords
from replicator.wire.protocol.cursor import read_uvarint

NULL = -1
_KNOWN_ERRORS = ErrorCode._value2member_map_
_I16 = struct.Struct(">h")
I32 = struct.Struct(">i")
Data = memoryview
Plain = tuple[Any, int]
"""A value, and the position after it."""


def _error_code(code: int) -> ErrorCode:
    """Return the member for a code; an unknown one is UNKNOWN_SERVER_ERROR, as in Java clients."""
    return _KNOWN_ERRORS.get(code, ErrorCode.unknown_server_error)  # type: ignore[return-value] # its members, by value


def _milliseconds(number: int) -> timedelta:
    try:
        return timedelta(milliseconds=number)
    except OverflowError:  # a login that never expires is sent as the largest number there is
        return timedelta.max if number > 0 else timedelta.min


def _uuid(raw: bytes) -> UUID | None:
    return UUID(bytes=raw) if any(raw) else None


FIXED: Final[dict[str, tuple[str, Callable[[Any], Any] | None]]] = {
    "int8": ("b", None),
    "int16": ("h", None),
    "int32": ("i", None),
    "int64": ("q", None),
    "uint16": ("H", None),
    "float64": ("d", None),
    "bool": ("?", None),
    "uuid": ("16s", _uuid),
    "error_code": ("h", _error_code),
    "timedelta_i32": ("i", _milliseconds),
    "timedelta_i64": ("q", _milliseconds),
}
"""Kafka's types of a fixed size: how `struct` reads them, and what turns the result into a value."""


def compact(data: Data, at: int) -> Plain:
    """Read a compact length; -1 means null."""
    encoded, at = read_uvarint(data, at)
    return encoded - 1, at


def legacy(layout: struct.Struct) -> Callable[[Data, int], Plain]:
    """Return a reader for a length of a fixed size."""

    def read(data: Data, at: int) -> Plain:
        return layout.unpack_from(data, at)[0], at + layout.size

    return read


def _bytes(length_of: Callable[[Data, int], Plain], *, optional: bool) -> Callable[[Data, int], Plain]:
    def read(data: Data, at: int) -> Plain:
        length, at = length_of(data, at)
        if length == NULL and optional:
            return None, at
        check_length(length, len(data) - at)
        return bytes(data[at : at + length]), at + length

    return read


def _text(length_of: Callable[[Data, int], Plain], *, optional: bool) -> Callable[[Data, int], Plain]:
    raw = _bytes(length_of, optional=optional)

    def read(data: Data, at: int) -> Plain:
        value, at = raw(data, at)
        return None if value is None else value.decode(), at

    return read


def check_length(length: int, left: int) -> None:
    """Return if a length is possible.

    Raises:
        CorruptRecords: It is negative, or more than is left.
    """
    if not 0 <= length <= left:
        raise CorruptRecords(f"it claims a length of {length} where {left} bytes are left")


def varying(kafka_type: str, *, flexible: bool, optional: bool) -> tuple[Callable[[Data, int], Plain], int]:
    """Return a reader for a value with a length of its own, and the fewest bytes that it takes."""
    if kafka_type == "string":
        length_of, bytes_min = (compact, 1) if flexible else (legacy(_I16), _I16.size)
        return _text(length_of, optional=optional), bytes_min
    if kafka_type == "bytes":
        length_of, bytes_min = (compact, 1) if flexible else (legacy(I32), I32.size)
        return _bytes(length_of, optional=optional), bytes_min
    raise BugError(f"no reader for Kafka's type {kafka_type!r}")
