"""Frames for responses that wait until there is room for them, for readers without a pool of their own.

A broker returns at least one whole batch, however little was asked for. A response begins with its size: if it is
larger than usual, the rest is read once there is room, and its broker waits meanwhile.
"""

from __future__ import annotations

import asyncio
import weakref
from typing import TYPE_CHECKING, Final, Protocol

from replicator.errors import KafkaError
from replicator.wire.frames import MAPPED_BYTES_MIN, Frame

if TYPE_CHECKING:
    from collections.abc import Callable

POLL_SECONDS: Final = 0.05
ROOM_SECONDS: Final = 5.0


class Room(Protocol):
    """The memory that large responses are taken out of."""

    def take(self, size: int) -> bool:
        """Return whether `size` bytes may be held from now on; if not, the caller asks again a little later."""

    def give_back(self, size: int) -> None:
        """Take back `size` bytes; called from the thread that drops their last use."""


class NoRoom(KafkaError):
    """There was no room for a large response within `ROOM_SECONDS`."""

    def __init__(self, cluster: str, size: int) -> None:
        super().__init__(
            "there is no room for a large response",
            cluster=cluster,
            why=f"it has {size} bytes, and all that limits.in_flight_bytes allows is in use",
            next_step="it is tried again; raise limits.in_flight_bytes if the copy never leaves that much free",
        )


class RoomFrame(Frame):
    """A frame for one response.

    Args:
        room: The memory for a large response; it is returned once nothing refers to the bytes any more.
        usual_bytes: Responses up to this size are read without `room`.
        when_refused: Called with the size if there was no room within `ROOM_SECONDS`; None: it waits as long as it
            takes.
    """

    __slots__ = ("_refused_at", "_room", "_usual_bytes", "_when_refused")

    def __init__(self, room: Room, usual_bytes: int, when_refused: Callable[[int], object] | None = None) -> None:
        super().__init__(0)
        self._room = room
        self._usual_bytes = max(usual_bytes, MAPPED_BYTES_MIN)  # only of a mapping can the end be noticed
        self._when_refused = when_refused
        self._refused_at: float | None = None

    def reserve(self, size: int, when_granted: Callable[[], object] | None = None) -> bool:
        """Make room for `size` bytes, or have `when_granted` called to reserve again; see `Frame.reserve`."""
        if size > self._usual_bytes:
            if not self._room.take(size):
                self._ask_again(size, when_granted)
                return False
            self.adopt(size)
            weakref.finalize(self.buffer, self._room.give_back, size).atexit = False
        else:
            self.adopt(size)
        return True

    def _ask_again(self, size: int, when_granted: Callable[[], object] | None) -> None:
        loop = asyncio.get_running_loop()
        if self._refused_at is None:
            self._refused_at = loop.time()
        if self._when_refused is not None and loop.time() - self._refused_at > ROOM_SECONDS:
            loop.call_soon(self._when_refused, size)
        elif when_granted is not None:
            loop.call_later(POLL_SECONDS, when_granted)
