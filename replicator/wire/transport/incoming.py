"""The read side of a connection: cuts arriving bytes into responses, each in the frame that its request brought.

Small responses (such as acknowledgements) are read into a stage, several at once. Only the beginning of a large one
passes through the stage: the rest is read straight into its frame.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from replicator.wire.frames import Frame
from replicator.wire.protocol.limits import limit_of

if TYPE_CHECKING:
    from collections import deque
    from collections.abc import Callable

    from replicator.wire.transport.stream import Stream
    from replicator.wire.transport.unanswered import Waiting

    Take = Callable[[Waiting, Frame], None]

_READS_PER_WAKE_MAX = 16
_PULL_BYTES = 1 << 20
"""While a large response arrives, wake only for this much (if the transport can)."""
_PREFIX = struct.Struct(">i")
_PREFIX_BYTES = 4
_STAGE_BYTES = 32 << 10


class Unexpected(Exception):
    """What arrived is not a response to any request; `why` says it in words."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


class TooLarge(Unexpected):
    """The response to the first request claims more bytes than are accepted."""

    def __init__(self, why: str, claimed_bytes: int) -> None:
        super().__init__(why)
        self.claimed_bytes = claimed_bytes


class Ended(OSError):
    """The broker has closed the connection; `strerror` says at which point."""

    def __init__(self, why: str) -> None:
        super().__init__(0, why)


class Incoming:
    """What has arrived on one connection and was not handed out yet.

    Args:
        stream: The connection.
        waiting: The requests without a response, in order; each is removed before its response is handed out.

    Attributes:
        waits_for_room: Whether reading has stopped because the frame of a response has to grow and its pool has no room
            now.
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
        """Read what is there, and hand out the complete responses.

        Args:
            take: Gets each of them with its request, which is not waiting any more. May `close`.
            when_room: If a response had to wait for room, called as soon as there may be some.

        Returns:
            Whether there may be more that no event would wake us for.

        Raises:
            BlockingIOError: There is nothing more now, or no room for it yet.
            OSError: The connection is broken; `Ended` if the broker has closed it.
            MemoryError: There is no memory for a frame.
            TooLarge: The first response has more bytes than its request accepts.
            Unexpected: What was read is not a response to any request.
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
        """Hand out nothing more."""
        self._is_closed = True
        self._frame = None  # it may be large and unfinished, and anything that still holds the connection would keep it

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
        """Hand out the complete responses in the stage, and begin the next one; return False if that waits for room."""
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
        """Return the frame for the response whose bytes begin at `at` in the stage; None until there is room for it.

        Raises:
            Unexpected: There was no request, or the response is too small or too large.
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
    """Return the error for a response of a size that is not accepted."""
    api, most = limit_of(entry.api_key).api, entry.frame_bytes_max
    why = f"an answer to {api} claims {size} bytes; between {_PREFIX_BYTES} and {most} are accepted"
    # Bytes of another protocol are not a size: a partition would stop over a large batch that does not exist.
    if size < _PREFIX_BYTES or correlation != _PREFIX.pack(entry.correlation_id):
        return Unexpected(why)
    return TooLarge(why, size)
