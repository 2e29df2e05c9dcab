"""Decompression that ends at a bound while it runs, whatever the compressed bytes expand to.

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
"""What the records of one batch may take in memory where nothing else bounds it."""
RECORD_BYTES = 200
"""What a record takes as a Python object, beside its own bytes: a batch of tiny ones takes more than its bytes."""

_GUESSED_GROWTH = 8
_GUESS_BYTES_MIN = 16 << 10
_STEP = 4
_MAPPED_FROM_BYTES = 1 << 20
_NO_ROOM = "failed to write whole buffer"
"""What cramjam's decoders say where the output has no room left (Rust's `WriteZero`)."""
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
        codec: Kafka's number of the codec.
        data: The compressed bytes.
        bytes_max: How many bytes it may be at most; no more than that, and a little, is ever allocated.

    Returns:
        The bytes; of what is not compressed, and large, the view that was given.

    Raises:
        TooLargeToOpen: It would be more.
        CorruptRecords: They are not what the codec makes, or the codec is none of Kafka's.
    """
    open_ = _CODECS.get(codec)
    if open_ is None:
        raise CorruptRecords("records cannot be decompressed", why=f"codec {codec} is none of Kafka's")
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
    """Return the members of a gzip stream, one behind the other."""
    out = bytearray()
    # One byte more than allowed: whether there is more cannot be told from a full buffer.
    for part in gunzip_parts(data, min(_GZIP_PART_BYTES_MAX, bytes_max + 1)):
        out += part
        if len(out) > bytes_max:
            raise _too_large(bytes_max)
    return out


def gunzip_parts(data: memoryview, part_bytes_max: int) -> Iterator[bytes]:
    """Yield what the members of a gzip stream expand to.

    A decoder copies whatever follows its member, so each is fed by pieces: a short one at first, since a batch may
    consist of members of twenty bytes.

    Raises:
        ValueError: It is cut off.
        zlib.error: It is no gzip stream.
    """
    at = 0
    while at < len(data):
        member = zlib.decompressobj(_GZIP_OR_ZLIB)
        size = _GZIP_PIECE_BYTES_MIN
        is_full = False
        while not member.eof:
            if at >= len(data) and not is_full:  # what filled its part may have more to come of what it was fed
                raise ValueError("it is cut off")
            piece = data[at : at + size]
            part = member.decompress(piece, part_bytes_max)
            yield part
            is_full = len(part) == part_bytes_max
            # What a member's end leaves may stand in both.
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
    """Return whether snappy's data consist of blocks."""
    return bytes(data[: len(_XERIAL_MAGIC)]) == _XERIAL_MAGIC


def xerial_blocks(data: memoryview) -> Iterator[memoryview]:
    """Yield snappy's blocks; each says first how long it is.

    Raises:
        ValueError: They are longer than what is there.
        struct.error: The data end inside such a length.
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
    """Return bytes to be written to.

    Python fills a byte array with zeros before it is used, and nothing else runs meanwhile: 100 ms for 32 MiB on a busy
    machine. A map costs what is written to it, by a decoder that lets others run.
    """
    return bytearray(size) if size < _MAPPED_FROM_BYTES else memoryview(mmap.mmap(-1, size))


def _by_steps(into: Callable[[memoryview, bytearray | memoryview], int]) -> Callable[[memoryview, int], Inflated]:
    """Return a decoder that is given more and more room: it ends where there is none left."""

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
