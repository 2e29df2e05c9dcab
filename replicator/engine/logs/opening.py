"""Decompresses batches off the event loop: whatever takes longer than a few milliseconds runs in a thread.

There is one thread for the whole process, so one batch is opened at a time, however many flows, attaches and
comparisons want to; and always with a bound on what it may expand to (`wire.batches.inflate`).
"""

from __future__ import annotations

import asyncio
import hashlib
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from replicator.core.offsets.pairing import spans_of
from replicator.errors import TooLargeToOpen
from replicator.model.batch import COMPRESSION_MASK, HEADER_BYTES, MAGIC_V2
from replicator.wire.batches.batch import prove
from replicator.wire.batches.inflate import OPENED_BYTES_MAX
from replicator.wire.batches.recode import open_batch
from replicator.wire.batches.records import decode

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from replicator.core.offsets.pairing import Ranges, Span
    from replicator.model.batch import BatchHeader
    from replicator.wire.batches.recode import RawRecord
    from replicator.wire.batches.records import Record
    from replicator.wire.frames import Frame, FramePool

ON_LOOP_BYTES_MAX = 256 << 10
"""How much memory a batch may take to be opened on the event loop: about a millisecond of work."""
ON_LOOP_RECORDS_MAX = 1000
_SHARES = ((8, 4), (2, 1))
"""What a batch may take, and what is kept free for it and for what is built from it: divisors of `in_flight_bytes`."""
_ROOM_SECONDS = 5.0
_ROOM_POLL_SECONDS = 0.005

_THREAD = ThreadPoolExecutor(1, thread_name_prefix="opening")
_T = TypeVar("_T")


def is_small(header: BatchHeader) -> bool:
    """Return whether a batch may be opened on the event loop, within `ON_LOOP_BYTES_MAX`."""
    return header.size <= ON_LOOP_BYTES_MAX and header.record_count <= ON_LOOP_RECORDS_MAX


async def beside(work: Callable[[], _T]) -> _T:
    """Return the result of long work, done in the thread.

    Raises:
        Exception: Whatever the work raises.
    """
    return await asyncio.get_running_loop().run_in_executor(_THREAD, work)


async def opened(header: BatchHeader, work: Callable[[int], _T], bytes_max: int = OPENED_BYTES_MAX) -> _T:
    """Return what `work` makes of an opened batch: at once if it is small, else in the thread.

    Args:
        header: The batch.
        work: Opens the batch within a number of bytes. Of its records, only what `work` returns is kept.
        bytes_max: How much memory its records may take beyond the bytes of the batch, which are in memory already.

    Raises:
        TooLargeToOpen: They would take more.
        CorruptRecords: It is not sound.
    """
    if is_small(header):
        try:
            return work(min(ON_LOOP_BYTES_MAX, bytes_max))
        except TooLargeToOpen:
            pass
    return await beside(lambda: work(bytes_max + header.size))


async def records_of(frame: Frame, header: BatchHeader) -> list[Record]:
    """Return the records of a batch.

    Raises:
        TooLargeToOpen: They take more than `OPENED_BYTES_MAX`.
        CorruptRecords: It is not sound.
    """
    return await opened(header, partial(decode, frame.buffer, header))


async def spans_in(
    frame: Frame, header: BatchHeader, begin: int, end: int, *, aborted: bool = False, given_up: Ranges = ()
) -> list[Span]:
    """Return where a batch holds records to copy (`core.offsets.pairing.spans_of`).

    Raises:
        TooLargeToOpen: It has to be opened to find out, and takes more than `OPENED_BYTES_MAX`.
        CorruptRecords: It is not sound.
    """

    def attempt(bytes_max: int) -> list[Span]:
        unpack = partial(open_batch, frame.view, bytes_max=bytes_max)
        return list(spans_of(header, begin, end, unpack, aborted=aborted, given_up=given_up))

    return attempt(0) if is_whole(header) else await opened(header, attempt)


def is_whole(header: BatchHeader) -> bool:
    """Return whether a batch holds a record at each of its offsets, according to its header."""
    return header.magic == MAGIC_V2 and header.record_count == header.last_offset_delta + 1


@dataclass(frozen=True, slots=True)
class Unopened:
    """Stands in for the content of a record whose batch is too large to open: the batch as it is stored.

    A batch that is copied as it is keeps its bytes after the header, so two of these are equal if the records are.

    Attributes:
        place: The record's index in the batch.
        header: The header fields that have to be equal.
        digest: The digest of the bytes after the header.
    """

    place: int
    header: tuple[int, ...]
    digest: bytes


async def content_at(frame: Frame, header: BatchHeader, offset: int) -> object | None:
    """Return the content of the record at an offset; None if its batch holds none.

    Raises:
        TooLargeToOpen: The batch takes more than `OPENED_BYTES_MAX`, and its header does not say what it holds.
        CorruptRecords: It is not sound.
    """

    def attempt(bytes_max: int) -> object | None:
        found = decode(frame.buffer, header, bytes_max)
        return next((each.content for each in found if each.offset == offset), None)

    def unopened() -> Unopened:
        prove(frame.view, header)
        stored = hashlib.blake2b(frame.view[header.start + HEADER_BYTES : header.end], digest_size=16)
        of_header = (header.attributes & COMPRESSION_MASK, header.record_count, header.base_timestamp)
        return Unopened(offset - header.base_offset, (*of_header, header.max_timestamp), stored.digest())

    try:
        return await opened(header, attempt)
    except TooLargeToOpen:
        if not is_whole(header) or not header.base_offset <= offset < header.next_offset:
            raise
    return await beside(unopened)


async def last_offset(frame: Frame, header: BatchHeader) -> int:
    """Return the offset of a batch's last record, from the header alone if the cleaner removed none of its records.

    Raises:
        TooLargeToOpen: It has to be opened to find out, and takes more than `OPENED_BYTES_MAX`.
        CorruptRecords: It is not sound.
    """
    if is_whole(header):
        return header.next_offset - 1
    return await opened(header, lambda bytes_max: decode(frame.buffer, header, bytes_max)[-1].offset)


class Opener:
    """Opens those batches of one flow that have to be re-encoded; the memory counts towards its `in_flight_bytes`.

    A partition must not hold a frame while it waits for its turn: the waiting frames might be all there are.

    Args:
        frames: The flow's frames, which share the memory.

    Attributes:
        is_busy: Whether a batch of the flow is open, or about to be.
    """

    def __init__(self, frames: FramePool) -> None:
        self.is_busy = False
        self._frames = frames

    def take_turn(self) -> bool:
        """Take the turn if no batch of the flow is open, until `end_turn`; return whether it was taken."""
        taken = not self.is_busy
        self.is_busy = True
        return taken

    def end_turn(self) -> None:
        """Let others open batches."""
        self.is_busy = False

    @property
    def bytes_max(self) -> int:
        """How much memory the records of one batch may take."""
        return self._frames.bytes_max // _SHARES[-1][0]

    async def use(self, frame: Frame, header: BatchHeader, use: Callable[[list[RawRecord]], Awaitable[None]]) -> None:
        """Open a batch, after `take_turn`, and hand its records to `use`; they are dropped afterwards.

        Raises:
            TooLargeToOpen: They take more than is allowed.
            CorruptRecords: The batch is not sound.
        """
        for part, kept_free in _SHARES:
            bytes_max = self._frames.bytes_max // part
            async with self._room(self._frames.bytes_max // kept_free, frame):
                try:
                    records = await beside(partial(open_batch, frame.view, header, bytes_max))
                except TooLargeToOpen:
                    if bytes_max >= self.bytes_max:
                        raise
                    continue
                await use(records)
                return

    @asynccontextmanager
    async def _room(self, size: int, frame: Frame) -> AsyncIterator[None]:
        """Wait until frames of other batches have come back.

        The wait is bounded, as the frames of a stuck target do not come back. Then one batch is opened all the same.
        """
        frames, loop = self._frames, asyncio.get_running_loop()
        frames.lend(size)
        try:
            until = loop.time() + _ROOM_SECONDS
            while not frames.has_room(len(frame.buffer)) and loop.time() < until:  # noqa: ASYNC110 - frames have no event
                await asyncio.sleep(_ROOM_POLL_SECONDS)
            yield
        finally:
            frames.return_lent(size)
