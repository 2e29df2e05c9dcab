"""The frames of one pump, and the line of readers that wait for one.

Frames are all the memory that copied data takes. A frame is read into by one reader, and comes back once the target has
acknowledged what it holds: without a free one nothing is read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from replicator.wire.frames import Frame, FramePool

if TYPE_CHECKING:
    from collections.abc import Iterable

_FRAME_BYTES_MAX = 6 << 20
_FRAME_BYTES_MIN = 256 << 10
_FRAMES_MIN = 3
_FRAMES_AHEAD = 2
"""Frames in use beside the one each reader fills: more would only lie in the way of the caches, and fill memory."""
_POLL_MS = 500
_SHORT_POLL_MS = (10, 50)
"""Each poll holds a frame. With fewer than readers, every broker is asked within twice this time, plus the work."""


class InLine(Protocol):
    """A reader, as the line knows it."""

    def kick(self) -> None:
        """Read on, if there is something to read and a frame to read into."""


class FrameLine:
    """The frames, and who is next.

    Args:
        in_flight_bytes: What the frames may take together (`limits.in_flight_bytes`).

    Attributes:
        frames: The pool.
        owed_bytes: How much of the frames is held for target brokers that owe their answers.
        is_owed: Whether there is such a broker.
    """

    def __init__(self, in_flight_bytes: int) -> None:
        self.frames = FramePool(*_divided(in_flight_bytes, readers=1))
        self.owed_bytes = 0
        self.is_owed = False
        self._in_flight_bytes = in_flight_bytes
        self._readers = 0
        self._line: dict[InLine, None] = {}

    def serve(self, readers: int) -> None:
        """Divide the memory for that many readers."""
        self._readers = readers
        self.frames.divide(*_divided(self._in_flight_bytes, readers))

    def take(self, reader: InLine) -> Frame | None:
        """Return a frame to read into, or None while enough is on its way to the target: then the reader is in line.

        First come, first served: a reader that is quick to ask again must not leave others without a frame for good.
        """
        line = self._line
        line.setdefault(reader)
        if next(iter(line)) is not reader:
            return None
        # What a target broker that owes its answers holds is not on its way: the rest may use what else there is.
        if not self.is_owed and self.frames.in_use >= self._readers + _FRAMES_AHEAD:
            return None
        frame = self.frames.take(self.owed_bytes)
        if frame is not None:
            del line[reader]
        return frame

    def leave(self, reader: InLine) -> None:
        """This reader has no use for a frame now."""
        self._line.pop(reader, None)

    def kick(self) -> None:
        """Let readers that wait for a frame use the one that became free."""
        for reader in list(self._line):
            reader.kick()

    def kick_all(self, readers: Iterable[InLine]) -> None:
        """Let readers use what became free: those that wait for it first."""
        line = list(self._line)
        for reader in line:
            reader.kick()
        for reader in readers:
            if reader not in line:
                reader.kick()

    @property
    def poll_ms(self) -> int:
        """How long a broker may wait for something to answer with: meanwhile it holds a frame that others may need."""
        readers, frames = self._readers, self.frames.frames_max
        if frames >= readers + _FRAMES_AHEAD:
            return _POLL_MS
        shortest, each = _SHORT_POLL_MS
        return max(shortest, each * frames // max(frames, readers))


def _divided(in_flight_bytes: int, readers: int) -> tuple[int, int]:
    """Return how many frames there are and the size of each: one for each reader that waits for data, and some more."""
    share_bytes = in_flight_bytes // max(_FRAMES_MIN, readers + _FRAMES_AHEAD)
    frame_bytes = max(_FRAME_BYTES_MIN, min(_FRAME_BYTES_MAX, share_bytes))
    return max(_FRAMES_MIN, in_flight_bytes // frame_bytes), frame_bytes
