"""Decompression that stops at a bound while it runs, whatever the compressed bytes expand to.

zstd expands up to 1 : 32,000 and gzip 1 : 1,000, so an ordinary producer can put gigabytes into a batch of a few
kilobytes: nothing is decompressed here without a number of bytes at which it stops.

Codecs are Kafka's (CompressionType): 0 none, 1 gzip, 2 snappy (bare or with xerial's blocks), 3 lz4, 4 zstd.
"""

from __future__ import annotations

import mmap
import struct
import zlib
from typing import TYPE_CHECKING

from cramjam import DecompressionError, lz4, snappy, zstd

from replicator.errors import CorruptRecords, TooLargeToOpen

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Inflated = bytes | bytearray | memoryview
OPENED_BYTES_MAX = 32 << 20
"""The most that the records of one batch may take in memory where nothing else bounds them."""
RECORD_BYTES = 200
"""What a record takes as a Python object, beside its own bytes: with tiny records this exceeds the batch's bytes."""

_GUESSED_GROWTH = 8
_GUESS_BYTES_MIN = 16 << 10
_STEP = 4
_MAPPED_FROM_BYTES = 1 << 20
_NO_ROOM = "failed to write whole buffer"
"""What cramjam's decoders say if the output has no room left (Rust's `WriteZero`)."""
_GZIP_PIECE_BYTES_MIN = 256
_GZIP_PIECE_BYTES_MAX = 64 << 10
_GZIP_PART_BYTES_MAX = 1 << 20
_GZIP_OR_ZLIB = 32 + zlib.MAX_WBITS
_XERIAL_MAGIC = b"\x82SNAPPY\x00"
_XERIAL_HEAD_BYTES = 16
_BLOCK = struct.Struct(">i")


def inflate(codec: int, data: memoryview, bytes_max: int) -> Inflated:
    """Return what compressed bytes expand to.

    Args:
        codec: Kafka's number for the codec.
        data: The compressed bytes.
        bytes_max: The most bytes they may expand to; hardly more than that is ever allocated.

    Returns:
        The bytes; for large data without compression, the given view itself.

    Raises:
        TooLargeToOpen: They expand to more.
        CorruptRecords: The data are not valid for the codec, or Kafka has no such codec.
    """
    open_ = _CODECS.get(codec)
    if open_ is None:
        raise CorruptRecords("records cannot be decompressed", why=f"Kafka has no codec {codec}")
    if bytes_max < 0:
        raise _too_large(bytes_max)
    try:
        return open_(data, bytes_max)
    except (DecompressionError, zlib.error, struct.error, ValueError) as error:
        raise CorruptRecords("records cannot be decompressed", why=f"{type(error).__name__}: {error}") from error


def _too_large(bytes_max: int) -> TooLargeToOpen:
    return TooLargeToOpen(f"records expand to more than {bytes_max} bytes")


def _plain(data: memoryview, bytes_max: int) -> Inflated:
    if len(data) > bytes_max:
        raise _too_large(bytes_max)
    return bytes(data) if len(data) < _MAPPED_FROM_BYTES else data


def _gunzip(data: memoryview, bytes_max: int) -> Inflated:
    """Return what all members of a gzip stream expand to, one after the other."""
    out = bytearray()
    # One byte more than allowed: a full buffer alone does not show whether there is more.
    for part in gunzip_parts(data, min(_GZIP_PART_BYTES_MAX, bytes_max + 1)):
        out += part
        if len(out) > bytes_max:
            raise _too_large(bytes_max)
    return out


def gunzip_parts(data: memoryview, part_bytes_max: int) -> Iterator[bytes]:
    """Yield what the members of a gzip stream expand to.

    A decoder copies whatever follows its member, so each one is fed in pieces, a short one first: a batch may consist
    of members of twenty bytes.

    Raises:
        ValueError: The stream is cut off.
        zlib.error: This is not a gzip stream.
    """
    at = 0
    while at < len(data):
        member = zlib.decompressobj(_GZIP_OR_ZLIB)
        size = _GZIP_PIECE_BYTES_MIN
        is_full = False
        while not member.eof:
            if at >= len(data) and not is_full:  # after a full part, the decoder may still hold input
                raise ValueError("it is cut off")
            piece = data[at : at + size]
            part = member.decompress(piece, part_bytes_max)
            yield part
            is_full = len(part) == part_bytes_max
            # At a member's end, the same unread bytes may be in both.
            at += len(piece) - max(len(member.unused_data), len(member.unconsumed_tail))
            size = min(size * _STEP, _GZIP_PIECE_BYTES_MAX)


def _unsnap(data: memoryview, bytes_max: int) -> Inflated:
    if not is_xerial(data):
        return _unsnap_block(data, bytes_max)
    out = bytearray()
    for block in xerial_blocks(data):
        out += _unsnap_block(block, bytes_max - len(out))
    return out


def is_xerial(data: memoryview) -> bool:
    """Return whether snappy data consist of xerial's blocks."""
    return bytes(data[: len(_XERIAL_MAGIC)]) == _XERIAL_MAGIC


def xerial_blocks(data: memoryview) -> Iterator[memoryview]:
    """Yield xerial's snappy blocks; each starts with its length.

    Raises:
        ValueError: A block claims more bytes than there are.
        struct.error: The data end inside a length.
    """
    at = _XERIAL_HEAD_BYTES
    while at < len(data):
        (size,) = _BLOCK.unpack_from(data, at)
        at += _BLOCK.size
        if not 0 <= size <= len(data) - at:
            raise ValueError(f"a block claims {size} bytes")
        yield data[at : at + size]
        at += size


def _unsnap_block(data: memoryview, bytes_max: int) -> bytearray | memoryview:
    size = snappy.decompress_raw_len(data)
    if size > bytes_max:
        raise _too_large(bytes_max)
    out = _room(size)
    if size:
        snappy.decompress_raw_into(data, out)
    elif len(data) > 1:
        raise ValueError(f"{len(data) - 1} bytes follow an empty block")
    return out


def _room(size: int) -> bytearray | memoryview:
    """Return a buffer to write to.

    Python fills a bytearray with zeros first, and nothing else runs meanwhile: 100 ms for 32 MiB on a busy machine. A
    memory map costs only what is written to it, by a decoder that releases the GIL.
    """
    return bytearray(size) if size < _MAPPED_FROM_BYTES else memoryview(mmap.mmap(-1, size))


def _by_steps(into: Callable[[memoryview, bytearray | memoryview], int]) -> Callable[[memoryview, int], Inflated]:
    """Return a decoder that is retried with more and more room, up to the bound."""

    def open_(data: memoryview, bytes_max: int) -> Inflated:
        room = min(bytes_max, max(_GUESS_BYTES_MIN, len(data) * _GUESSED_GROWTH))
        while True:
            out = _room(room)
            try:
                size = into(data, out)
            except DecompressionError as error:
                if _NO_ROOM not in str(error):
                    raise
                if room >= bytes_max:
                    raise _too_large(bytes_max) from None
                del out  # before the next one is made
                room = min(bytes_max, room * _STEP)
            else:
                if isinstance(out, memoryview):
                    return out[:size]
                del out[size:]
                return out

    return open_


_CODECS: dict[int, Callable[[memoryview, int], Inflated]] = {
    0: _plain,
    1: _gunzip,
    2: _unsnap,
    3: _by_steps(lz4.decompress_into),
    4: _by_steps(zstd.decompress_into),
}
