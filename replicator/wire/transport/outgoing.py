"""The write side of a connection: requests as views, gathered by the kernel, in the order of their sending."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from replicator.wire.transport.stream import Buffer, Stream


class Outgoing:
    """What the socket of one connection has not accepted yet; the loop watches for writability while there is any."""

    def __init__(self, loop: asyncio.AbstractEventLoop, stream: Stream) -> None:
        self._loop = loop
        self._stream = stream
        self._queue: deque[tuple[list[Buffer], int]] = deque()

    def send(self, views: list[Buffer], size: int, when_writable: Callable[[], None]) -> None:
        """Send one request after the others.

        Args:
            views: The request's bytes, in order.
            size: How many bytes they are.
            when_writable: Called when the socket accepts more; has to call `flush`.

        Raises:
            OSError: The connection is broken.
        """
        if not self._queue:
            try:
                sent = self._stream.send(views)
            except BlockingIOError:
                sent = 0
            if sent == size:
                return
            views, size = _drop_sent(views, sent), size - sent
            self._loop.add_writer(self._stream.fileno(), when_writable)
        self._queue.append((views, size))

    def flush(self) -> None:
        """Send as much of the rest as the socket accepts now.

        Raises:
            OSError: The connection is broken.
        """
        queue = self._queue
        try:
            while queue:
                views, size = queue[0]
                sent = self._stream.send(views)
                if sent == size:
                    queue.popleft()
                else:
                    queue[0] = (_drop_sent(views, sent), size - sent)
        except BlockingIOError:
            return
        self._loop.remove_writer(self._stream.fileno())

    def close(self) -> None:
        """Send nothing more; called while the stream is still open."""
        if self._queue:
            self._loop.remove_writer(self._stream.fileno())
        self._queue.clear()


def _drop_sent(views: list[Buffer], sent: int) -> list[Buffer]:
    """Return the rest of `views` after `sent` bytes."""
    for index, view in enumerate(views):
        if sent < len(view):
            return [memoryview(view)[sent:] if sent else view, *views[index + 1 :]]
        sent -= len(view)
    return []
