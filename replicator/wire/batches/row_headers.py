"""The headers of one record as part of its row: as tuples, or, where they are too many for that, counted and digested.

A header of two bytes takes 64 as a Python object, so a record of 1 MiB could take 35 MB.
"""

from __future__ import annotations

import hashlib
from functools import partial
from typing import TYPE_CHECKING, Final

from replicator.core.verify.rows import DIGEST_BYTES, ManyHeaders, header_bytes
from replicator.errors import CorruptRecords
from replicator.wire.batches.recode import read_varint

if TYPE_CHECKING:
    from collections.abc import Iterator

    from replicator.core.verify.rows import Field, Name
    from replicator.wire.batches.inflate import Inflated

MANY: Final = 1000
MANY_BYTES_MIN: Final = 128 << 10
"""Both limits depend only on what the headers hold, so the row is the same whatever batch the record is in."""


def headers_of(data: Inflated, count: int, *, rereads: bool) -> list[tuple[Name, Field]] | ManyHeaders:
    """Return headers.

    Args:
        data: The headers and nothing else; up to `core.verify.rows.LARGE_BYTES`, which bounds every field.
        count: How many there are.
        rereads: Whether they will be digested; if not, and there are many, nothing of them is kept.

    Raises:
        CorruptRecords: They are damaged.
    """
    if count <= MANY or len(data) < MANY_BYTES_MIN:
        return list(_read(data, count))
    of = hashlib.blake2b(digest_size=DIGEST_BYTES)
    for piece in _pieces(data, count):
        of.update(piece)
    return ManyHeaders(count, of.digest(), partial(_pieces, bytes(data), count) if rereads else None)


def _pieces(data: Inflated, count: int) -> Iterator[bytes]:
    for name, value in _read(data, count):
        yield header_bytes(name, value)


def _read(data: Inflated, count: int) -> Iterator[tuple[str | bytes, bytes | None]]:
    """Yield headers, and raise at the end if anything follows them."""
    at = 0
    try:
        for _ in range(count):
            name, at = _field(data, at)
            if name is None:
                raise CorruptRecords("a header has no name")
            value, at = _field(data, at)
            yield shown(name), value
    except IndexError:
        raise CorruptRecords("it ends inside a record") from None
    if at != len(data):
        raise CorruptRecords("a record does not end where it should")


def _field(data: Inflated, at: int) -> tuple[bytes | None, int]:
    size, at = read_varint(data, at)
    if size < 0:
        return None, at
    if size > len(data) - at:
        raise CorruptRecords(f"a field claims {size} bytes")
    return bytes(data[at : at + size]), at + size


def shown(name: bytes) -> str | bytes:
    """Return a header's name as text if it is UTF-8, else as bytes."""
    try:
        return name.decode()
    except UnicodeDecodeError:
        return name
