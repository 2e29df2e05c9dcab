"""Opens batches beside the event loop: what takes longer than a few milliseconds has a thread of its own.

One thread for the whole process, so that one batch at a time is opened, however many flows, attaches and comparisons
want to; and never without a bound on what it may expand to (`wire.batches.inflate`).
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
"""What a batch may take in memory to be opened on the event loop: about a millisecond."""
ON_LOOP_RECORDS_MAX = 1000
_SHARES = ((8, 4), (2, 1))
"""What a batch may take, and what is kept free for it and for what is built of it, as parts of `in_flight_bytes`."""
_ROOM_SECONDS = 5.0
_ROOM_LOOK_SECONDS = 0.005

_THREAD = ThreadPoolExecutor(1, thread_name_prefix="opening")
_T = TypeVar("_T")


def is_small(header: BatchHeader) -> bool:
    """Return whether a batch may be tried on the event loop, within `ON_LOOP_BYTES_MAX`."""
    return header.size <= ON_LOOP_BYTES_MAX and header.record_count <= ON_LOOP_RECORDS_MAX


async def beside(work: Callable[[], _T]) -> _T:
    """Return the result of work that takes long, done in the thread.

    Raises:
        Exception: What it raises.
    """
    return await asyncio.get_running_loop().run_in_executor(_THREAD, work)


async def opened(header: BatchHeader, work: Callable[[int], _T], bytes_max: int = OPENED_BYTES_MAX) -> _T:
    """Return what is made of a batch that has to be opened: at once where it is small, else in the thread.

    Args:
        header: The batch.
        work: Opens it within a number of bytes. Of the records only what it returns is kept.
        bytes_max: What its records may take in memory beyond the bytes that it has, which are in memory already.

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
        TooLargeToOpen: It has to be opened for that, and takes more than `OPENED_BYTES_MAX`.
        CorruptRecords: It is not sound.
    """

    def look(bytes_max: int) -> list[Span]:
        unpack = partial(open_batch, frame.view, bytes_max=bytes_max)
        return list(spans_of(header, begin, end, unpack, aborted=aborted, given_up=given_up))

    return look(0) if is_whole(header) else await opened(header, look)


def is_whole(header: BatchHeader) -> bool:
    """Return whether a batch holds a record at each of its offsets, as its header tells."""
    return header.magic == MAGIC_V2 and header.record_count == header.last_offset_delta + 1


@dataclass(frozen=True, slots=True)
class Unopened:
    """What stands for the content of a record whose batch is too large to be opened: the batch, as it is stored.

    A batch that passes keeps its bytes behind the header, so two such are equal where the records are.

    Attributes:
        place: Which of its records is meant.
        header: What of its header has to be equal.
        digest: Of its bytes behind the header.
    """

    place: int
    header: tuple[int, ...]
    digest: bytes


async def content_at(frame: Frame, header: BatchHeader, offset: int) -> object | None:
    """Return the content of the record at an offset, None where its batch holds none.

    Raises:
        TooLargeToOpen: The batch takes more than `OPENED_BYTES_MAX`, and its header does not tell what it holds.
        CorruptRecords: It is not sound.
    """

    def look(bytes_max: int) -> object | None:
        found = decode(frame.buffer, header, bytes_max)
        return next((each.content for each in found if each.offset == offset), None)

    def unopened() -> Unopened:
        prove(frame.view, header)
        stored = hashlib.blake2b(frame.view[header.start + HEADER_BYTES : header.end], digest_size=16)
        of_header = (header.attributes & COMPRESSION_MASK, header.record_count, header.base_timestamp)
        return Unopened(offset - header.base_offset, (*of_header, header.max_timestamp), stored.digest())

    try:
        return await opened(header, look)
    except TooLargeToOpen:
        if not is_whole(header) or not header.base_offset <= offset < header.next_offset:
            raise
    return await beside(unopened)


async def last_offset(frame: Frame, header: BatchHeader) -> int:
    """Return the offset of the last record of a batch: its header tells where a cleaner took none.

    Raises:
        TooLargeToOpen: It has to be opened for that, and takes more than `OPENED_BYTES_MAX`.
        CorruptRecords: It is not sound.
    """
    if is_whole(header):
        return header.next_offset - 1
    return await opened(header, lambda bytes_max: decode(frame.buffer, header, bytes_max)[-1].offset)


class Opener:
    """Opens batches of one flow that have to be encoded anew; what that takes is part of its `in_flight_bytes`.

    Whose turn it is not must not hold a frame until it is: they might be all that there are.

    Args:
        frames: The flow's frames, which leave the room.

    Attributes:
        is_busy: Whether a batch of the flow is open, or about to be.
    """

    def __init__(self, frames: FramePool) -> None:
        self.is_busy = False
        self._frames = frames

    def take_turn(self) -> bool:
        """Return whether no batch of the flow is open: then it is the caller's turn, until `end_turn`."""
        taken = not self.is_busy
        self.is_busy = True
        return taken

    def end_turn(self) -> None:
        """Let others open batches."""
        self.is_busy = False

    @property
    def bytes_max(self) -> int:
        """What the records of one batch may take in memory."""
        return self._frames.bytes_max // _SHARES[-1][0]

    async def use(self, frame: Frame, header: BatchHeader, use: Callable[[list[RawRecord]], Awaitable[None]]) -> None:
        """Open a batch, by whose turn it is, and do something with its records, which are dropped behind it.

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

        Not for ever: those of a target that is stuck do not. Then one batch is opened beside them all the same.
        """
        frames, loop = self._frames, asyncio.get_running_loop()
        frames.lend(size)
        try:
            until = loop.time() + _ROOM_SECONDS
            while not frames.has_room(len(frame.buffer)) and loop.time() < until:  # noqa: ASYNC110 - frames have no event
                await asyncio.sleep(_ROOM_LOOK_SECONDS)
            yield
        finally:
            frames.return_lent(size)
