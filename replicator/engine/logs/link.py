"""A connection that is opened on demand, and reopened after a fault with a growing back-off."""

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
    """The connection of one reader or writer to its broker.

    Args:
        connect: Opens a connection, or raises KafkaError.
        on_open: Called once a connection is open.
        on_refused: Called with the reason as soon as an attempt has failed.
        on_rested: Called after the back-off that follows; there is no new attempt until `get` is called.
        on_free: Called when `get`, which returned None, may return the connection again.
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
        """Return the connection if it is open and sends at once; start to open one if there is none.

        A connection that would hold a request back (for a throttle time that the broker asked for, or a login) is not
        returned: by the time the request left, its position on the target might be too old to write from. Once this is
        closed, nothing is opened any more.
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
        """Note that the connection carried something valid: the next back-off after a drop is a short one again."""
        self._drops.reset()

    def throttle(self, seconds: float) -> None:
        """Send nothing for as long as a response on the connection asked."""
        if self._connection is not None:
            self._connection.throttle(seconds)

    def drop(self) -> None:
        """Close the connection, as its contents cannot be trusted any more. The next one is opened after a back-off."""
        connection, self._connection = self._connection, None
        self._rests_first = True
        if connection is not None:
            connection.close()

    def close(self) -> None:
        """Close for good; requests without a response are reported lost."""
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
