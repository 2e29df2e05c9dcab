"""The frames of one pump, and the line of readers that wait for one.

Frames are all the memory that copied data takes up. One reader at a time reads into a frame. The frame returns to the
pool once the target has acknowledged what it holds; without a free frame nothing is read.
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
"""Frames in use beyond the one that each reader fills: more would only take up memory and disturb the CPU caches."""
_POLL_MS = 500
_SHORT_POLL_MS = (10, 50)
"""The shortest poll, and the time in which every broker should get its turn. Each poll holds a frame, so with fewer
frames than readers polls are short: every broker is asked within twice the second value, plus the time for the work."""


class InLine(Protocol):
    """A reader, as the line knows it."""

    def kick(self) -> None:
        """Continue reading, if there is something to read and a frame to read into."""


class FrameLine:
    """The frames, and who gets the next one.

    Args:
        in_flight_bytes: How much memory all frames together may take up (`limits.in_flight_bytes`).

    Attributes:
        frames: The pool.
        owed_bytes: How many bytes of frames are held for target brokers that owe us responses.
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
        """Return a frame to read into, or None if enough is in flight to the target: then the reader waits in line.

        First come, first served: a reader that is quick to ask again must not keep others from ever getting a frame.
        """
        line = self._line
        line.setdefault(reader)
        if next(iter(line)) is not reader:
            return None
        # Frames held for a target broker that owes us responses do not move: other brokers may use all that is left.
        if not self.is_owed and self.frames.in_use >= self._readers + _FRAMES_AHEAD:
            return None
        frame = self.frames.take(self.owed_bytes)
        if frame is not None:
            del line[reader]
        return frame

    def leave(self, reader: InLine) -> None:
        """Take a reader that has no use for a frame now out of the line."""
        self._line.pop(reader, None)

    def kick(self) -> None:
        """Let readers that wait for a frame use the one that has become free."""
        for reader in list(self._line):
            reader.kick()

    def kick_all(self, readers: Iterable[InLine]) -> None:
        """Let readers use what has become free, the waiting ones first."""
        line = list(self._line)
        for reader in line:
            reader.kick()
        for reader in readers:
            if reader not in line:
                reader.kick()

    @property
    def poll_ms(self) -> int:
        """How long a fetch may wait on the broker for data; until it returns, it holds a frame that others may need."""
        readers, frames = self._readers, self.frames.frames_max
        if frames >= readers + _FRAMES_AHEAD:
            return _POLL_MS
        shortest, each = _SHORT_POLL_MS
        return max(shortest, each * frames // max(frames, readers))


def _divided(in_flight_bytes: int, readers: int) -> tuple[int, int]:
    """Return the number of frames and the size of each: one for each reader that waits for data, and a few more."""
    share_bytes = in_flight_bytes // max(_FRAMES_MIN, readers + _FRAMES_AHEAD)
    frame_bytes = max(_FRAME_BYTES_MIN, min(_FRAME_BYTES_MAX, share_bytes))
    return max(_FRAMES_MIN, in_flight_bytes // frame_bytes), frame_bytes
