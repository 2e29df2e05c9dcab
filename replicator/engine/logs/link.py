"""A connection that is there when it is needed: opened on demand, and again after a fault, with a growing pause."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from replicator.aio.tasks import watched
from replicator.backoff import Backoff
from replicator.errors import KafkaError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from replicator.wire.transport.connection import Connection

_PAUSE_SECONDS = (0.05, 5.0)


class Link:
    """What one reader or writer holds of its broker.

    Args:
        connect: Opens a connection, or raises KafkaError.
        on_open: Called once a connection is there.
        on_refused: Called with the reason as soon as an attempt has failed.
        on_rested: Called after the pause that follows; nothing is tried again unless asked for.
        on_free: Called when `get` may give the connection again that it did not give.
    """

    def __init__(
        self,
        connect: Callable[[], Awaitable[Connection]],
        on_open: Callable[[], None],
        on_refused: Callable[[KafkaError], None],
        on_rested: Callable[[], None],
        on_free: Callable[[], None],
    ) -> None:
        self._connect = connect
        self._on_open = on_open
        self._on_refused = on_refused
        self._on_rested = on_rested
        self._on_free = on_free
        self._closed = False
        self._connection: Connection | None = None
        self._opening: asyncio.Task[None] | None = None
        self._refusals = Backoff(*_PAUSE_SECONDS)
        self._drops = Backoff(*_PAUSE_SECONDS)
        self._rests_first = False

    def get(self) -> Connection | None:
        """Return the connection if it is open and sends at once, and begin to open one if there is none.

        What would wait in a connection (for a pause that the broker asked for, or a login) is not handed to it: a place
        on the target may be too old to write from when it leaves. Nothing is opened any more once this is closed.
        """
        connection = self._connection
        if connection is not None and connection.closed is None:
            if not connection.holds_back:
                return connection
            connection.when_free(self._on_free)
        elif self._opening is None and not self._closed:
            self._opening = watched(asyncio.get_running_loop().create_task(self._open()))
        return None

    def works(self) -> None:
        """The connection carried something that makes sense: the next pause after a drop is a short one again."""
        self._drops.reset()

    def throttle(self, seconds: float) -> None:
        """Send nothing for as long as an answer on the connection asked."""
        if self._connection is not None:
            self._connection.throttle(seconds)

    def drop(self) -> None:
        """Close the connection: what it carries cannot be trusted any more. The next one is opened after a pause."""
        connection, self._connection = self._connection, None
        self._rests_first = True
        if connection is not None:
            connection.close()

    def close(self) -> None:
        """Close for good; requests without an answer are reported lost."""
        self._closed = True
        if self._opening is not None:
            self._opening.cancel()
        if self._connection is not None:
            self._connection.close()

    async def _open(self) -> None:
        try:
            if self._rests_first:
                self._rests_first = False
                await asyncio.sleep(self._drops.next_seconds())
            connection = await self._connect()
        except KafkaError as error:
            self._on_refused(error)
            await asyncio.sleep(self._refusals.next_seconds())
            then = self._on_rested
        else:
            self._refusals.reset()
            self._connection = connection
            then = self._on_open
        finally:
            self._opening = None
        then()
