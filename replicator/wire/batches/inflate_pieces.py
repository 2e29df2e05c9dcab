"""Decompression piece by piece: what a batch expands to is never in memory as a whole, however large it is.

gzip and snappy data are opened part by part. The decoders of zstd and lz4 write to a file, so they get a pipe: they
wait for its reader, and end when the reader has closed it.

Two kinds cannot be opened in pieces: a bare snappy block, and zstd with a window larger than `WINDOW_BYTES_MAX` (levels
20 to 22). Those are opened whole, within `inflate.OPENED_BYTES_MAX`, and so is all zstd and lz4 data where there is no
/dev/fd.
"""

from __future__ import annotations

import os
import struct
import threading
import zlib
from typing import TYPE_CHECKING, Final

from cramjam import DecompressionError, File, lz4, zstd

from replicator.errors import CorruptRecords
from replicator.wire.batches.inflate import OPENED_BYTES_MAX, gunzip_parts, inflate, is_xerial, xerial_blocks

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

    from replicator.wire.batches.inflate import Inflated

WINDOW_BYTES_MAX: Final = 8 << 20
"""How far back zstd may refer: its decoder keeps that much. Levels up to 19 stay within it."""
PIECE_BYTES_MAX: Final = 1 << 20
_PIPE_BYTES = 64 << 10
_GZIP_PART_BYTES = 256 << 10
_SNAPPY, _LZ4, _ZSTD = 2, 3, 4

_FRAME, _SKIPPED, _SKIPPED_MASK = 0xFD2FB528, 0x184D2A50, 0xFFFFFFF0
_U32 = struct.Struct("<I")
_SINGLE_SEGMENT, _CHECKSUM = 0x20, 0x04
_CONTENT_SIZE_BYTES = (0, 2, 4, 8)
_DICTIONARY_BYTES = (0, 1, 2, 4)
_BLOCK_HEAD_BYTES = 3
_REPEATED_BYTE = 1
_LARGEST_WINDOW_LOG = 41


def inflate_pieces(codec: int, data: memoryview) -> Generator[Inflated, None, None]:
    """Yield what compressed bytes expand to, in pieces of no more than about `PIECE_BYTES_MAX`.

    Args:
        codec: Kafka's number for the codec.
        data: The compressed bytes.

    Raises:
        TooLargeToOpen: They can only be opened whole, and expand to more than `OPENED_BYTES_MAX`.
        CorruptRecords: The data are not valid for the codec, or Kafka has no such codec.
    """
    open_ = _CODECS.get(codec, _whole(codec))
    try:
        yield from open_(data)
    except (DecompressionError, zlib.error, struct.error, ValueError, IndexError) as error:
        raise CorruptRecords("records cannot be decompressed", why=f"{type(error).__name__}: {error}") from error


def expands_beyond(codec: int, data: memoryview, bytes_max: int) -> bool:
    """Return whether compressed bytes expand to more than `bytes_max`; what comes after that is not opened.

    Raises:
        TooLargeToOpen: As `inflate_pieces`.
        CorruptRecords: As `inflate_pieces`.
    """
    size = 0
    for piece in inflate_pieces(codec, data):
        size += len(piece)
        if size > bytes_max:
            return True
    return False


def _whole(codec: int) -> Callable[[memoryview], Iterator[Inflated]]:
    def open_(data: memoryview) -> Iterator[Inflated]:
        yield from _cut(memoryview(inflate(codec, data, OPENED_BYTES_MAX)))

    return open_


def _cut(data: memoryview) -> Iterator[memoryview]:
    for at in range(0, len(data), PIECE_BYTES_MAX):
        yield data[at : at + PIECE_BYTES_MAX]


def _gzip(data: memoryview) -> Iterator[Inflated]:
    return gunzip_parts(data, _GZIP_PART_BYTES)


def _snappy(data: memoryview) -> Iterator[Inflated]:
    if not is_xerial(data):
        yield from _whole(_SNAPPY)(data)
        return
    for block in xerial_blocks(data):
        yield from _whole(_SNAPPY)(block)


def _zstd(data: memoryview) -> Iterator[Inflated]:
    pipe = _pipe() if _window_bytes(data) <= WINDOW_BYTES_MAX else None
    return _whole(_ZSTD)(data) if pipe is None else _piped(zstd.decompress_into, data, *pipe)


def _lz4(data: memoryview) -> Iterator[Inflated]:
    pipe = _pipe()
    return _whole(_LZ4)(data) if pipe is None else _piped(lz4.decompress_into, data, *pipe)


def _pipe() -> tuple[int, list[File]] | None:
    """Return a pipe's descriptor to read from, and the file a decoder writes to; None where there is no /dev/fd."""
    ours, theirs = os.pipe()
    try:
        return ours, [File(f"/dev/fd/{theirs}", read=False, write=True, truncate=False)]
    except OSError:
        os.close(ours)
        return None
    finally:
        os.close(theirs)


def _piped(into: Callable[[memoryview, File], int], data: memoryview, ours: int, sinks: list[File]) -> Iterator[bytes]:
    """Yield what a decoder writes; it runs in a thread, and never gets further ahead than a pipe holds."""
    failed: list[Exception] = []

    def work() -> None:
        sink = sinks.pop()
        try:
            into(data, sink)
        except Exception as error:  # noqa: BLE001 - it is raised where the pieces are read
            failed.append(error)
        finally:
            del sink  # the last reference: the pipe ends with it, and the error's traceback would keep it

    thread = threading.Thread(target=work, name="inflate", daemon=True)
    thread.start()
    try:
        while piece := os.read(ours, _PIPE_BYTES):
            yield piece
    finally:
        os.close(ours)  # a decoder that is not done ends now: its pipe is broken
        thread.join()
    if failed:
        raise failed[0]


def _window_bytes(data: memoryview) -> int:
    """Return the largest window of zstd frames (RFC 8878): what the decoder keeps.

    Raises:
        ValueError: These are not zstd frames.
        IndexError: They are cut off.
        struct.error: They are cut off.
    """
    at = window = 0
    while at < len(data):
        (magic,) = _U32.unpack_from(data, at)
        if magic & _SKIPPED_MASK == _SKIPPED:
            at += 2 * _U32.size + _U32.unpack_from(data, at + _U32.size)[0]
        elif magic == _FRAME:
            needed, at = _window_of_frame(data, at + _U32.size)
            window = max(window, needed)
        else:
            raise ValueError(f"a frame begins with {magic:08x}")
    return window


def _window_of_frame(data: memoryview, at: int) -> tuple[int, int]:
    """Return the window of the frame whose header is at `at`, and where the frame ends."""
    descriptor = data[at]
    at += 1
    single = bool(descriptor & _SINGLE_SEGMENT)
    window = 0
    if not single:
        window = 1 << min(10 + (data[at] >> 3), _LARGEST_WINDOW_LOG)
        window += window // 8 * (data[at] & 7)
        at += 1
    at += _DICTIONARY_BYTES[descriptor & 3]
    size_bytes = _CONTENT_SIZE_BYTES[descriptor >> 6] or int(single)
    if single:
        window = int.from_bytes(data[at : at + size_bytes], "little")
    at += size_bytes
    last = False
    while not last:
        head = int.from_bytes(data[at : at + _BLOCK_HEAD_BYTES], "little")
        last, kind, size = bool(head & 1), head >> 1 & 3, head >> 3
        if at + _BLOCK_HEAD_BYTES > len(data):
            raise ValueError("it is cut off")
        at += _BLOCK_HEAD_BYTES + (1 if kind == _REPEATED_BYTE else size)
    return window, at + (_U32.size if descriptor & _CHECKSUM else 0)


_CODECS: dict[int, Callable[[memoryview], Iterator[Inflated]]] = {
    0: _cut,
    1: _gzip,
    2: _snappy,
    3: _lz4,
    4: _zstd,
}
