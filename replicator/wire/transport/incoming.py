"""The read side of a connection: bytes as they arrive, cut into answers, each in the frame that its request brought.

Small answers (every acknowledgement) are read several at once into a stage. Of a large one only the beginning passes
through it: the rest is read into its frame.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from replicator.wire.frames import Frame
from replicator.wire.limits import limit_of

if TYPE_CHECKING:
    from collections import deque
    from collections.abc import Callable

    from replicator.wire.transport.stream import Stream
    from replicator.wire.transport.unanswered import Waiting

    Take = Callable[[Waiting, Frame], None]

_READS_PER_WAKE_MAX = 16
_PULL_BYTES = 1 << 20
"""While a large answer arrives, wake only for this much (where the transport can)."""
_PREFIX = struct.Struct(">i")
_PREFIX_BYTES = 4
_STAGE_BYTES = 32 << 10


class Unexpected(Exception):
    """What arrives is no answer to what was asked; `why` says it in words."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


class TooLarge(Unexpected):
    """It is the answer to the first request, and claims to have more bytes than are accepted."""

    def __init__(self, why: str, claimed_bytes: int) -> None:
        super().__init__(why)
        self.claimed_bytes = claimed_bytes


class Ended(OSError):
    """The broker has closed its end; `strerror` says when."""

    def __init__(self, why: str) -> None:
        super().__init__(0, why)


class Incoming:
    """What has arrived on one connection and was not handed out yet.

    Args:
        stream: The connection.
        waiting: The requests without an answer, in order; each is taken out before its answer is handed out.

    Attributes:
        waits_for_room: Whether nothing is read, as the frame of an answer has to grow and its pool has no room now.
    """

    def __init__(self, stream: Stream, waiting: deque[Waiting]) -> None:
        self.waits_for_room = False
        self._stream = stream
        self._waiting = waiting
        self._is_closed = False
        self._stage = memoryview(bytearray(_STAGE_BYTES))
        self._staged = 0
        self._frame: Frame | None = None
        self._frame_got = 0

    def read(self, take: Take, when_room: Callable[[], object]) -> bool:
        """Read what is there, and hand out the answers that are whole.

        Args:
            take: Gets each of them, with the request that it answers, which is not waiting any more. May `close`.
            when_room: Called where an answer had to wait for room, as soon as there may be some.

        Returns:
            Whether more may be there that nothing would wake us for.

        Raises:
            BlockingIOError: Nothing more is there now, or there is no room for it yet.
            OSError: The connection is broken; `Ended` where the broker has closed it.
            MemoryError: There is none for a frame.
            TooLarge: The first answer has more bytes than its request accepts.
            Unexpected: What was read is no answer to what was asked.
        """
        if self.waits_for_room:
            raise BlockingIOError
        if self._staged >= _PREFIX_BYTES and not self._unpack_stage(take, when_room):  # its frame has room by now
            return False
        for _ in range(_READS_PER_WAKE_MAX):
            if self._is_closed or not self._read_once(take, when_room):
                return False
        return self._stream.may_hold_more()

    def close(self) -> None:
        """Hand out nothing any more."""
        self._is_closed = True
        self._frame = None  # what is cut off may be large, and whoever holds the connection still would keep it

    def _read_once(self, take: Take, when_room: Callable[[], object]) -> bool:
        """Read once; return whether another read may succeed at once."""
        frame = self._frame
        if frame is None:
            got = self._stream.recv_into(self._stage[self._staged :])
            if not got:
                raise Ended("closed by the broker")
            self._staged += got
            return self._unpack_stage(take, when_room) and self._stream.may_hold_more()
        wanted = frame.size - self._frame_got
        got = self._stream.recv_into(frame.view[self._frame_got : frame.size])
        if not got:
            raise Ended("closed by the broker in the middle of an answer")
        self._frame_got += got
        if got < wanted:
            self._stream.expect(min(wanted - got, _PULL_BYTES))
        else:
            self._stream.expect(1)
            self._finish_frame(frame, take)
        return self._stream.may_hold_more()

    def _unpack_stage(self, take: Take, when_room: Callable[[], object]) -> bool:
        """Hand out the answers that are whole in the stage, and begin the one that is cut; False: it waits for room."""
        stage, start = self._stage, 0
        while not self._is_closed and self._staged - start >= _PREFIX_BYTES:
            (size,) = _PREFIX.unpack_from(stage, start)
            frame = self._begin_frame(size, start + _PREFIX_BYTES, when_room)
            if frame is None:
                break
            start += _PREFIX_BYTES
            have = min(size, self._staged - start)
            frame.view[:have] = stage[start : start + have]
            start += have
            if have < size:
                self._frame, self._frame_got = frame, have
                self._stream.expect(min(size - have, _PULL_BYTES))
            else:
                self._finish_frame(frame, take)
        rest = self._staged - start
        if rest > 0 and start:
            stage[:rest] = bytes(stage[start : self._staged])
        self._staged = rest
        return not self.waits_for_room

    def _begin_frame(self, size: int, at: int, when_room: Callable[[], object]) -> Frame | None:
        """Return where the answer is read whose bytes begin at a place in the stage; None until there is room for it.

        Raises:
            Unexpected: Nothing was asked, or it is too small or too large.
        """
        if not self._waiting:
            raise Unexpected("an answer came without a request")
        entry = self._waiting[0]
        if not _PREFIX_BYTES <= size <= entry.frame_bytes_max:
            raise _of_size(entry, size, self._stage[at : min(at + _PREFIX_BYTES, self._staged)])
        if entry.frame is None:
            return Frame.of_answer(size)
        if entry.frame.reserve(size, when_room):
            return entry.frame
        self.waits_for_room = True
        return None

    def _finish_frame(self, frame: Frame, take: Take) -> None:
        self._frame = None
        entry = self._waiting[0]
        (correlation_id,) = _PREFIX.unpack_from(frame.buffer, 0)
        if correlation_id != entry.correlation_id:
            raise Unexpected(f"answer {correlation_id} came where {entry.correlation_id} was due")
        self._waiting.popleft()
        take(entry, frame)


def _of_size(entry: Waiting, size: int, correlation: memoryview) -> Unexpected:
    """Return what is wrong with an answer of a size that is not accepted."""
    api, most = limit_of(entry.api_key).api, entry.frame_bytes_max
    why = f"an answer to {api} claims {size} bytes; between {_PREFIX_BYTES} and {most} are accepted"
    # Words of another protocol are no size of anything: a partition would stop over a batch that there is not.
    if size < _PREFIX_BYTES or correlation != _PREFIX.pack(entry.correlation_id):
        return Unexpected(why)
    return TooLarge(why, size)
