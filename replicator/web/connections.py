"""Connections of the HTTP server: each has time and a share, and a new one is never kept out by idle ones.

Which page is asked for is known only once a request is there. So a full house makes room for whoever comes: the oldest
connection that has not said anything whole goes, first of the same address. A liveness probe gets its answer.
"""

from __future__ import annotations

import asyncio
from typing import ClassVar

from uvicorn.protocols.http.h11_impl import H11Protocol

from replicator.core.acl.certificate_names import names_in

CONNECTIONS_MAX = 64
ADDRESS_CONNECTIONS_MAX = 32
HEAD_SECONDS_MAX = 10.0
"""From the connection, or the last answer, to a whole request."""
ANSWER_SECONDS_MAX = 30.0
"""For an answer to be read."""


class Room:
    """The connections of one server, oldest first.

    Args:
        connections_max: Of all addresses together.
        address_max: Of one address.
    """

    def __init__(self, connections_max: int = CONNECTIONS_MAX, address_max: int = ADDRESS_CONNECTIONS_MAX) -> None:
        self._max = connections_max
        self._address_max = address_max
        self._there: dict[Connection, str] = {}

    def enter(self, connection: Connection, address: str) -> None:
        """Take a connection in; others may have to go."""
        of_address = [one for one, where in self._there.items() if where == address]
        if len(of_address) >= self._address_max:
            self._end_one(of_address)
        elif len(self._there) >= self._max:
            self._end_one(list(self._there))
        self._there[connection] = address

    def leave(self, connection: Connection) -> None:
        """A connection has ended."""
        self._there.pop(connection, None)

    def _end_one(self, oldest_first: list[Connection]) -> None:
        """End the oldest one that is not being answered; else the oldest."""
        one = next((one for one in oldest_first if not one.is_being_answered()), oldest_first[0])
        del self._there[one]
        one.transport.abort()


class Connection(H11Protocol):
    """One connection. Subclassed with a room for each server."""

    room: ClassVar[Room]
    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a place; note the names of a certificate."""
        super().connection_made(transport)
        self.room.enter(self, self.client[0] if self.client is not None else "")
        secured = transport.get_extra_info("ssl_object")
        if secured is not None:
            self.app_state = {**self.app_state, "identities": names_in(secured.getpeercert(binary_form=True) or b"")}
        self._end_in(HEAD_SECONDS_MAX)

    def connection_lost(self, exc: Exception | None) -> None:
        """Give the place back."""
        self.room.leave(self)
        if self._timer is not None:
            self._timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """A whole request has the time of its answer; a part of one has what is left."""
        super().data_received(data)
        if self.is_being_answered():
            self._end_in(ANSWER_SECONDS_MAX)

    def on_response_complete(self) -> None:
        """The next request has its time."""
        super().on_response_complete()
        if not self.transport.is_closing():
            self._end_in(HEAD_SECONDS_MAX)

    def is_being_answered(self) -> bool:
        """Return whether a whole head of a request is there that has no whole answer yet."""
        # Before the first request there is none, which its type does not say.
        return self.cycle is not None and not self.cycle.response_complete  # type: ignore[redundant-expr]

    def _end_in(self, seconds: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self.loop.call_later(seconds, self._end)

    def _end(self) -> None:
        """Close, once what was answered is read; and without that after a while."""
        if self.transport.is_closing():
            self.transport.abort()
            return
        self.transport.close()
        self._timer = self.loop.call_later(ANSWER_SECONDS_MAX, self._end)
