"""The records of one batch that is opened in pieces: those that fit in memory, and the large ones as rows."""

from __future__ import annotations

import hashlib
from functools import partial
from typing import TYPE_CHECKING

from replicator.core.verify.rows import DIGEST_BYTES, LARGE_BYTES, Large
from replicator.errors import CorruptRecords
from replicator.model.batch import COMPRESSION_MASK, LOG_APPEND_TIME_BIT
from replicator.wire.batches.inflate_pieces import inflate_pieces
from replicator.wire.batches.recode import read_varint
from replicator.wire.batches.row_headers import MANY, headers_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from replicator.core.verify.rows import Field, Headers, Name, Row
    from replicator.model.batch import BatchHeader

_VARINT_BYTES_MAX = 10


def times_of(header: BatchHeader) -> tuple[int, int | None]:
    """Return the time that a batch's records are relative to, and the one time of them all if the broker set it."""
    return header.base_timestamp, header.max_timestamp if header.attributes & LOG_APPEND_TIME_BIT else None


class _Opened:
    """The opened bytes of a batch, from front to back; `position` is how many were read."""

    def __init__(self, codec: int, payload: memoryview) -> None:
        self.position = 0
        self.buffer = bytearray()
        self._pieces = inflate_pieces(codec, payload)

    def fill(self, size: int) -> bool:
        """Get `size` bytes into the buffer; return False if there are fewer."""
        while len(self.buffer) < size:
            piece = next(self._pieces, None)
            if piece is None:
                return False
            self.buffer += piece
        return True

    def take(self, size: int) -> bytearray:
        """Return the next `size` bytes.

        Raises:
            CorruptRecords: There are fewer.
        """
        if not self.fill(size):
            raise CorruptRecords("it ends inside a record")
        taken = self.buffer[:size]
        del self.buffer[:size]
        self.position += size
        return taken

    def some(self, most: int) -> bytearray:
        """Return some of the next bytes, at most `most`.

        Raises:
            CorruptRecords: There are none.
        """
        self.fill(1)
        return self.take(max(1, min(most, len(self.buffer))))

    def close(self) -> None:
        """End the decoder."""
        self._pieces.close()


class _Again:
    """Reads ranges of one batch again; in ascending order, that takes one more pass."""

    def __init__(self, codec: int, payload: memoryview) -> None:
        self._codec, self._payload = codec, payload
        self._opened: _Opened | None = None

    def read(self, start: int, size: int) -> Iterator[bytes | memoryview]:
        """Yield `size` bytes from position `start` on."""
        opened = self._opened
        if opened is None or opened.position > start:
            if opened is not None:
                opened.close()
            opened = self._opened = _Opened(self._codec, self._payload)
        while opened.position < start:
            opened.some(start - opened.position)
        end = start + size
        while opened.position < end:
            yield bytes(opened.some(end - opened.position))


class RowStream:
    """Reads the records of one batch of magic 2, front to back.

    Args:
        payload: What follows the batch's header.
        header: The batch.
        rereads: Whether large fields will be read again.
    """

    def __init__(self, payload: memoryview, header: BatchHeader, *, rereads: bool) -> None:
        codec = header.attributes & COMPRESSION_MASK
        self._header = header
        self._opened = _Opened(codec, payload)
        self._again = _Again(codec, payload) if rereads else None

    def peek(self, size: int) -> bytearray:
        """Return the next bytes without taking them: `size` and a little more, or all that are left."""
        self._opened.fill(size)
        return self._opened.buffer

    def take(self, size: int) -> bytearray:
        """Take and return the next bytes."""
        return self._opened.take(size)

    def must_end(self) -> None:
        """Return if everything was read.

        Raises:
            CorruptRecords: Something follows.
        """
        if self._opened.fill(1):
            raise CorruptRecords("bytes follow its records")

    def large_row(self) -> Row:
        """Return the next record, which is larger than may be kept in memory.

        Raises:
            CorruptRecords: It is damaged.
        """
        size, _ = self._varint()
        end = self._opened.position + size
        self._opened.take(1)
        delta_ms, _ = self._varint()
        place, _ = self._varint()
        key = self._field(end)
        value = self._field(end)
        headers = self._headers(end)
        if self._opened.position != end:
            raise CorruptRecords("a record does not end where it should")
        base_ms, append_ms = times_of(self._header)
        time_ms = base_ms + delta_ms if append_ms is None else append_ms
        return self._header.base_offset + place, time_ms, key, value, headers or None

    def _headers(self, end: int) -> Headers:
        count, _ = self._varint()
        left = end - self._opened.position
        if not 0 <= count <= left:
            raise CorruptRecords(f"a record claims {count} headers")
        if left <= LARGE_BYTES:
            return headers_of(self._opened.take(left), count, rereads=self._again is not None)
        if count > MANY:  # as they are stored: reading them one by one would take minutes
            return [("", self._content(left, keep=0))]
        return [(self._name(end), self._field(end)) for _ in range(count)]

    def _name(self, end: int) -> Name:
        name = self._field(end)
        if name is None:
            raise CorruptRecords("a header has no name")
        if isinstance(name, Large):
            return name
        try:
            return name.decode()
        except UnicodeDecodeError:
            return name

    def _field(self, end: int) -> Field:
        size, _ = self._varint()
        if size < 0:
            return None
        if size > end - self._opened.position:
            raise CorruptRecords(f"a field claims {size} bytes")
        return self._content(size, keep=LARGE_BYTES)

    def _content(self, size: int, keep: int) -> Field:
        if size <= keep:
            return bytes(self._opened.take(size))
        start, of = self._opened.position, hashlib.blake2b(digest_size=DIGEST_BYTES)
        end = start + size
        while self._opened.position < end:
            of.update(self._opened.some(end - self._opened.position))
        again = partial(self._again.read, start, size) if self._again is not None else None
        return Large(size, of.digest(), again)

    def _varint(self) -> tuple[int, int]:
        self._opened.fill(_VARINT_BYTES_MAX)
        try:
            value, size = read_varint(self._opened.buffer, 0)
        except IndexError:
            raise CorruptRecords("it ends inside a record") from None
        self._opened.take(size)
        return value, size
