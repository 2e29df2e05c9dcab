"""Recycled buffers for responses, and the framing of Kafka requests.

The kernel reads a response once into one frame, its batches are rewritten in that buffer and sent from it, and the
frame returns to its pool when the last batch has been acknowledged.
So the pool is the bound on memory: a slow target holds on to frames, and without a free frame nothing is fetched.
"""

from __future__ import annotations

import mmap
import struct
from collections import deque
from typing import TYPE_CHECKING, cast

from replicator.errors import BugError

if TYPE_CHECKING:
    from collections.abc import Callable

_LENGTH_AND_HEAD = struct.Struct(">ihhih")
MAPPED_BYTES_MIN = 1 << 20
_SPARE_SECONDS = 60.0


class Frame:
    """One recycled buffer. `size` is how many of its bytes the current response uses."""

    __slots__ = ("_pool", "buffer", "has_grown", "is_filled", "made_bytes", "references", "size", "view")

    def __init__(self, size: int, pool: FramePool | None = None) -> None:
        self.made_bytes = size
        self.has_grown = self.is_filled = False
        self.buffer = bytearray(size)
        self.view = memoryview(self.buffer)
        self.size = 0
        self.references = 0
        self._pool = pool

    def reserve(self, size: int, when_granted: Callable[[], object] | None = None) -> bool:
        """Make room for `size` bytes; the caller has checked its own bound.

        Args:
            size: How many bytes will be read into this frame.
            when_granted: If given, a frame that has to grow waits until its pool has room. Then this is called, and the
                caller reserves again.

        Returns:
            Whether there is room now.
        """
        pool = self._pool
        if size > len(self.buffer):
            if pool is not None and when_granted is not None and not pool.may_grow(self, size):
                pool.wait_to_grow(self, size, when_granted)
                return False
            self.buffer = bytearray(size)
            self.view = memoryview(self.buffer)
            if pool is not None:
                pool.grew(self, size)
                self.made_bytes = size
        if pool is not None and not self.is_filled:
            pool.filled(self)  # which may leave room for the next one in line
        self.size = size
        return True

    @classmethod
    def of_answer(cls, size: int) -> Frame:
        """Return a fresh frame for a response that claims `size` bytes.

        For a large one, the kernel provides memory only as the bytes arrive, and gets all of it back with the frame: a
        mere claim takes none.
        """
        if size > MAPPED_BYTES_MIN:
            frame = cls(0)
            frame.adopt(size)
        else:
            frame = cls(size)
            frame.size = size
        return frame

    def adopt(self, size: int) -> None:
        """Take fresh bytes for a response of that size, as `of_answer` does."""
        # Code that reads a bytearray, and writes to it only through `view`, works with a mapping as well.
        is_large = size > MAPPED_BYTES_MIN
        self.buffer = cast("bytearray", mmap.mmap(-1, size)) if is_large else bytearray(size)
        self.view = memoryview(self.buffer)
        self.size = size

    def hold(self, references: int = 1) -> None:
        """Add `references` users."""
        self.references += references

    def release(self, references: int = 1) -> None:
        """Remove that many users; the last one returns the frame to its pool.

        Raises:
            BugError: More releases than holds.
        """
        self.references -= references
        if self.references > 0:
            return
        if self.references < 0:
            raise BugError("a frame was released more often than it was held")
        if self._pool is not None:
            self._pool.take_back(self)


class FramePool:
    """A bounded number of frames of one usual size.

    Args:
        frames_max: The most frames that exist.
        frame_bytes: Their usual size; a frame that had to grow, or has an earlier size, is not kept.

    A response may hold one batch that is larger than a frame: the frame grows as soon as there is room for it beside
    what the others hold. Meanwhile the connection reads nothing, so the broker waits with the rest.

    Attributes:
        frames_max: As given, or as divided since.
        frame_bytes: The same.
    """

    def __init__(self, frames_max: int, frame_bytes: int) -> None:
        self.frame_bytes = frame_bytes
        self.frames_max = frames_max
        self._made = 0
        self._made_bytes = 0
        self._lent_bytes = 0
        self._filled_bytes = 0
        self._growing: deque[tuple[Frame, int, Callable[[], object]]] = deque()
        self._free: deque[Frame] = deque()
        self._spare = 0
        self._spare_since = 0.0

    def divide(self, frames_max: int, frame_bytes: int) -> None:
        """From now on, make up to `frames_max` frames of another size; those in use are dropped when they return."""
        if frame_bytes != self.frame_bytes:
            self.frame_bytes = frame_bytes
            for frame in self._free:
                self._give_up(frame)
            self._free.clear()
        self.frames_max = frames_max

    def take(self, owed_bytes: int = 0) -> Frame | None:
        """Return a free frame, held once, or None if all are in use or one waits to grow.

        Args:
            owed_bytes: How much of the frames will not come back soon, because it waits for a target broker that hangs.
                If those frames hold all the memory there is, one more is made, and a frame that waits for that memory
                to grow does not hold up others. Otherwise a batch as large as the bound would stop all reading until
                its request timed out.
        """
        size = self.frame_bytes
        if self._growing and not self.is_stuck(owed_bytes):
            return None  # small frames, one after the other, would keep it waiting forever
        if self._lent_bytes and self.in_use_bytes + size + self._lent_bytes > self.bytes_max:
            return None
        if self._free:
            frame = self._free.pop()
            self._spare = min(self._spare, len(self._free))
        elif self._made < self.frames_max and (
            self._made_bytes + size <= self.bytes_max or 0 < self._made_bytes <= owed_bytes
        ):
            self._made += 1
            self._made_bytes += size
            frame = Frame(size, self)
        else:
            return None
        frame.references = 1
        return frame

    def take_back(self, frame: Frame) -> None:
        """Take back a frame that nobody uses any more (called by `Frame.release`)."""
        if frame.is_filled:
            frame.is_filled = False
            self._filled_bytes -= frame.made_bytes
        if self._growing:
            self._growing = deque(one for one in self._growing if one[0] is not frame)
        self._put_away(frame)
        self._let_grow()

    def _put_away(self, frame: Frame) -> None:
        if len(frame.buffer) != self.frame_bytes or (self._lent_bytes and not self._fits()):
            self._give_up(frame)
        else:
            self._free.append(frame)

    def is_stuck(self, owed_bytes: int) -> bool:
        """Return whether a frame waits to grow, and cannot until `owed_bytes` of what others hold come back."""
        return bool(self._growing) and owed_bytes + self._growing[0][1] > self.bytes_max

    # -- called by `Frame.reserve` ----------------------------------------------------------------------------------

    def may_grow(self, frame: Frame, size: int) -> bool:
        """Return whether a frame may grow to `size` now, and no other has waited longer for that.

        If nothing else is held, it may grow to any size: a single batch has to be read sometime.
        """
        if self._growing and self._growing[0][0] is not frame:
            return False
        others = self._filled_bytes - (frame.made_bytes if frame.is_filled else 0) + self._lent_bytes
        return others == 0 or others + size <= self.bytes_max

    def wait_to_grow(self, frame: Frame, size: int, when_granted: Callable[[], object]) -> None:
        """Call `when_granted` once that frame may grow."""
        if all(one[0] is not frame for one in self._growing):
            self._growing.append((frame, size, when_granted))

    def filled(self, frame: Frame) -> None:
        """Count a frame that holds something from now on."""
        frame.is_filled = True
        self._filled_bytes += frame.made_bytes
        self._let_grow()

    def grew(self, frame: Frame, size: int) -> None:
        """Count that a frame grows to `size` for a response with one large batch."""
        self._made_bytes += size - frame.made_bytes
        if frame.is_filled:
            self._filled_bytes += size - frame.made_bytes
        frame.has_grown = True
        if self._growing and self._growing[0][0] is frame:
            self._growing.popleft()

    def _let_grow(self) -> None:
        if self._growing and self.may_grow(*self._growing[0][:2]):
            self._growing[0][2]()

    def give_up_spare(self, now: float) -> None:
        """Drop the frames that nobody needed in the last minute; called every second or so.

        Otherwise all frames that a burst needed would remain, and the process would keep their memory forever.

        Args:
            now: Monotonic time, in seconds.
        """
        if now - self._spare_since < _SPARE_SECONDS:
            return
        for _ in range(min(self._spare, len(self._free))):
            self._give_up(self._free.popleft())
        self._spare, self._spare_since = len(self._free), now

    def lend(self, size: int) -> None:
        """Lend `size` bytes for something other than frames, until `return_lent`.

        Fewer frames are handed out meanwhile. Those in use are not taken away: see `has_room`.
        """
        self._lent_bytes += size
        while self._free and not self._fits():
            self._give_up(self._free.popleft())

    def may_lend(self, size: int, lent_bytes: int) -> bool:
        """Return whether there is room to lend `size` bytes to a borrower that already has `lent_bytes`.

        If nobody else holds anything, there is always room: a single batch has to be read sometime.
        """
        others = self._filled_bytes + self._lent_bytes - lent_bytes
        return not self._growing and (others == 0 or others + lent_bytes + size <= self.bytes_max)

    def return_lent(self, size: int) -> None:
        """Take back what was lent."""
        self._lent_bytes -= size
        self._let_grow()

    def has_room(self, beside_bytes: int = 0) -> bool:
        """Return whether frames in use, except `beside_bytes` of them, and what is lent fit into the bound."""
        return self.in_use_bytes - beside_bytes + self._lent_bytes <= self.bytes_max

    def _fits(self) -> bool:
        return self._made_bytes + self._lent_bytes <= self.bytes_max

    def _give_up(self, frame: Frame) -> None:
        self._made -= 1
        self._made_bytes -= frame.made_bytes

    @property
    def bytes_max(self) -> int:
        """The bound for all frames together."""
        return self.frames_max * self.frame_bytes

    @property
    def in_use_bytes(self) -> int:
        """Bytes of the frames in use."""
        return self._made_bytes - len(self._free) * self.frame_bytes

    @property
    def in_use(self) -> int:
        """Frames in use."""
        return self._made - len(self._free)


def request_head(api_key: int, version: int, correlation_id: int, client_id: bytes, body_bytes: int) -> bytes:
    """Return length prefix and request header v2 (the flexible one) for a body of `body_bytes`."""
    size = 8 + 2 + len(client_id) + 1 + body_bytes
    return _LENGTH_AND_HEAD.pack(size, api_key, version, correlation_id, len(client_id)) + client_id + b"\x00"


def request_head_v1(api_key: int, version: int, correlation_id: int, client_id: bytes, body_bytes: int) -> bytes:
    """Return length prefix and request header v1, for requests without tagged fields."""
    size = 8 + 2 + len(client_id) + body_bytes
    return _LENGTH_AND_HEAD.pack(size, api_key, version, correlation_id, len(client_id)) + client_id
