"""Batches as they are stored: two of them are compared without opening them."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from replicator.core.verify.rows import DIGEST_BYTES
from replicator.model.batch import COMPRESSION_MASK, HEADER_BYTES, LOG_APPEND_TIME_BIT

if TYPE_CHECKING:
    from replicator.model.batch import BatchHeader

_RECORDS_BITS = COMPRESSION_MASK | LOG_APPEND_TIME_BIT
_PIECE_BYTES = 64 << 10


class Stored:
    """One batch of magic 2, inside the response that brought it or, after `digest`, without it.

    Args:
        view: The bytes of the response.
        header: The batch.
    """

    __slots__ = ("_content", "_is_digest", "facts", "header")

    def __init__(self, view: memoryview, header: BatchHeader) -> None:
        self.header = header
        self.facts = (
            header.base_offset,
            header.last_offset_delta,
            header.record_count,
            header.attributes & _RECORDS_BITS,
            header.base_timestamp,
            header.max_timestamp,
            header.length,
        )
        self._content: memoryview | bytes = view[header.start + HEADER_BYTES : header.end]
        self._is_digest = False

    def digest(self) -> None:
        """Replace its bytes by a digest of them."""
        self._content, self._is_digest = self._as_digest(), True

    def holds_same(self, other: Stored) -> bool:
        """Return whether both hold the same records: what the header says about them, and everything after it.

        The writer does not count: producer, epoch, sequence, and the checksum, which covers those as well.
        """
        if self.facts != other.facts:
            return False
        if self._is_digest or other._is_digest:
            return self._as_digest() == other._as_digest()
        return _are_equal(self._content, other._content)

    def _as_digest(self) -> memoryview | bytes:
        return self._content if self._is_digest else hashlib.blake2b(self._content, digest_size=DIGEST_BYTES).digest()


def _are_equal(one: memoryview | bytes, other: memoryview | bytes) -> bool:
    """Compare bytes of equal length, in pieces that stay in the cache: views are compared element by element."""
    return all(
        bytes(one[at : at + _PIECE_BYTES]) == bytes(other[at : at + _PIECE_BYTES])
        for at in range(0, len(one), _PIECE_BYTES)
    )
