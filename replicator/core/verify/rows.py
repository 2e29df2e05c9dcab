"""Records of one partition as rows, and rows as bytes for a digest.

A row is (offset, timestamp in ms, key, value, headers). The content of a field is in memory, unless it is large: then a
`Large` represents it, equal to another if their bytes are equal.
"""

from __future__ import annotations

import hashlib
import marshal
import struct
from collections.abc import Callable, Iterator
from typing import Final, TypeAlias

DIGEST_BYTES: Final = 16
LARGE_BYTES: Final = 1 << 20
"""A field of more bytes is a `Large`, wherever it comes from: equal fields have to be equal in every batch."""
_MARSHAL_VERSION = 0  # no references, no interning: equal records give equal bytes, in every Python 3
_MARSHAL_LIST_HEAD = 5  # type and length of the list; left out, so that the digest does not depend on chunks
_SIZED = struct.Struct("<ci")
_ROW_HEAD = _SIZED.pack(b"(", 5)
_PAIR_HEAD = _SIZED.pack(b"(", 2)


class Large:
    """A field of a record that is not kept in memory.

    Args:
        size: How many bytes it has.
        digest: Their `short_digest`.
        pieces: Reads them again, in pieces; None if nobody will ask.
    """

    __slots__ = ("digest", "pieces", "size")

    def __init__(self, size: int, digest: bytes, pieces: Callable[[], Iterator[bytes | memoryview]] | None) -> None:
        self.size = size
        self.digest = digest
        self.pieces = pieces

    def __eq__(self, other: object) -> bool:
        """Return whether the other one represents the same bytes."""
        return isinstance(other, Large) and (self.size, self.digest) == (other.size, other.digest)

    def __hash__(self) -> int:
        return hash((self.size, self.digest))

    def __len__(self) -> int:
        return self.size


class ManyHeaders:
    """The headers of a record that has too many to create objects for.

    Args:
        count: How many there are.
        digest: The digest of their concatenated bytes.
        pieces: Yields those bytes, as `header_bytes` makes them; None if nobody will ask.
    """

    __slots__ = ("count", "digest", "pieces")

    def __init__(self, count: int, digest: bytes, pieces: Callable[[], Iterator[bytes]] | None) -> None:
        self.count = count
        self.digest = digest
        self.pieces = pieces

    def __eq__(self, other: object) -> bool:
        """Return whether the others are the same headers in the same order."""
        return isinstance(other, ManyHeaders) and (self.count, self.digest) == (other.count, other.digest)

    def __hash__(self) -> int:
        return hash((self.count, self.digest))

    def __len__(self) -> int:
        return self.count


class Unopened(bytes):
    """The key of a row that represents a whole batch, as stored, because it cannot be opened."""

    __slots__ = ()


Field: TypeAlias = bytes | Large | None
Name: TypeAlias = str | bytes | Large
"""A header's name is bytes if it is not valid UTF-8."""
Headers: TypeAlias = list[tuple[Name, Field]] | ManyHeaders
Row: TypeAlias = tuple[int, int, Field, Field, Headers | None]
"""(offset, timestamp in ms, key, value, headers in order or None)."""


def short_digest(data: bytes | bytearray | memoryview) -> bytes:
    """Return the digest that identifies large fields, and keys."""
    return hashlib.blake2b(data, digest_size=DIGEST_BYTES).digest()


def row_bytes(rows: list[Row]) -> Iterator[bytes | memoryview]:
    """Yield rows as bytes for a digest: equal records give equal bytes, however they are split into lists."""
    whole = _marshalled(rows)
    if whole is not None:
        yield whole
        return
    for row in rows:
        yield from _of_row(row)


def row_size(rows: list[Row]) -> int:
    """Return how many bytes `row_bytes` yields."""
    whole = _marshalled(rows)
    return len(whole) if whole is not None else sum(map(_size_of_row, rows))


def _marshalled(rows: list[Row]) -> memoryview | None:
    try:
        return memoryview(marshal.dumps(rows, _MARSHAL_VERSION))[_MARSHAL_LIST_HEAD:]
    except ValueError:  # there is a large field in it
        return None


def _of_row(row: Row) -> Iterator[bytes | memoryview]:
    offset, time_ms, key, value, headers = row
    yield _ROW_HEAD + _plain(offset) + _plain(time_ms)
    yield from _of_field(key)
    yield from _of_field(value)
    if headers is None:
        yield _plain(None)
        return
    yield _SIZED.pack(b"[", len(headers))
    if isinstance(headers, ManyHeaders):
        if headers.pieces is not None:
            yield from headers.pieces()
        return
    for name, of_header in headers:
        yield _PAIR_HEAD
        yield from _of_field(name)
        yield from _of_field(of_header)


def header_bytes(name: str | bytes, value: bytes | None) -> bytes:
    """Return the bytes of one header within a row."""
    return _PAIR_HEAD + _plain(name) + _plain(value)


def _of_field(field: Field | Name) -> Iterator[bytes | memoryview]:
    if not isinstance(field, Large):
        yield _plain(field)
        return
    yield _SIZED.pack(b"s", field.size)
    if field.pieces is not None:
        yield from field.pieces()


def _size_of_row(row: Row) -> int:
    offset, time_ms, key, value, headers = row
    size = len(_ROW_HEAD) + len(_plain(offset)) + len(_plain(time_ms)) + _size_of_field(key) + _size_of_field(value)
    if headers is None:
        return size + len(_plain(None))
    if isinstance(headers, ManyHeaders):
        return size + _SIZED.size + sum(map(len, headers.pieces())) if headers.pieces is not None else size
    return size + _SIZED.size + sum(map(_size_of_header, headers))


def _size_of_header(header: tuple[Name, Field]) -> int:
    return len(_PAIR_HEAD) + _size_of_field(header[0]) + _size_of_field(header[1])


def _size_of_field(field: Field | Name) -> int:
    return _SIZED.size + field.size if isinstance(field, Large) else len(_plain(field))


def _plain(value: str | bytes | int | None) -> bytes:
    return marshal.dumps(value, _MARSHAL_VERSION)
