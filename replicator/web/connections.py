"""Connections of the HTTP server: each has time limits and a share, and idle ones never keep out a new one.

Which page a caller wants is known only once its request is there. So a full server makes room for every newcomer: it
ends the oldest connection without a whole request, first among those of the same address. Liveness probes are always
served.
"""

from __future__ import annotations

import asyncio
from typing import ClassVar

from uvicorn.protocols.http.h11_impl import H11Protocol

from replicator.core.acl.certificate_names import names_in

CONNECTIONS_MAX = 64
ADDRESS_CONNECTIONS_MAX = 32
HEAD_SECONDS_MAX = 10.0
"""From the start of the connection, or the last answer, to a whole request."""
ANSWER_SECONDS_MAX = 30.0
"""How long a caller may take to read an answer."""


class Room:
    """The connections of one server, oldest first.

    Args:
        connections_max: From all addresses together.
        address_max: From one address.
    """

    def __init__(self, connections_max: int = CONNECTIONS_MAX, address_max: int = ADDRESS_CONNECTIONS_MAX) -> None:
        self._max = connections_max
        self._address_max = address_max
        self._there: dict[Connection, str] = {}

    def enter(self, connection: Connection, address: str) -> None:
        """Add a connection; another one may have to go."""
        of_address = [one for one, where in self._there.items() if where == address]
        if len(of_address) >= self._address_max:
            self._end_one(of_address)
        elif len(self._there) >= self._max:
            self._end_one(list(self._there))
        self._there[connection] = address

    def leave(self, connection: Connection) -> None:
        """Remove a connection that has ended."""
        self._there.pop(connection, None)

    def _end_one(self, oldest_first: list[Connection]) -> None:
        """End the oldest one that is not being answered, or else the oldest."""
        one = next((one for one in oldest_first if not one.is_being_answered()), oldest_first[0])
        del self._there[one]
        one.transport.abort()


class Connection(H11Protocol):
    """One connection. Each server subclasses it with its own room."""

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
        """Give a whole request the time for its answer; a partial one keeps the time that is left."""
        super().data_received(data)
        if self.is_being_answered():
            self._end_in(ANSWER_SECONDS_MAX)

    def on_response_complete(self) -> None:
        """Give the next request its time."""
        super().on_response_complete()
        if not self.transport.is_closing():
            self._end_in(HEAD_SECONDS_MAX)

    def is_being_answered(self) -> bool:
        """Return whether a whole request head has arrived and is not fully answered yet."""
        # Before the first request `cycle` is None, although its type does not say so.
        return self.cycle is not None and not self.cycle.response_complete  # type: ignore[redundant-expr]

    def _end_in(self, seconds: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self.loop.call_later(seconds, self._end)

    def _end(self) -> None:
        """Close once the caller has read the answer, or after a while without that."""
        if self.transport.is_closing():
            self.transport.abort()
            return
        self.transport.close()
        self._timer = self.loop.call_later(ANSWER_SECONDS_MAX, self._end)
