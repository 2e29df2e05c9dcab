"""The connections to one cluster: one per key, opened on demand, and not faster than makes sense."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from replicator.aio.threads import Threads
from replicator.errors import AuthenticationFailed, ConnectionFailed, KafkaError, ProtocolError
from replicator.model.text import said
from replicator.wire.transport.opening import open_connection
from replicator.wire.transport.pace import Pace

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Hashable, Sequence

    from replicator.core.status.observations import BrokerSeen
    from replicator.model.security import ClusterSpec
    from replicator.wire.transport.connection import Connection

_REASONS_MAX = 5
"""How many addresses an error lists with their reasons."""
_REASON_CHARS_MAX = 200
_OTHERS_MAX = 32
"""How many connections may stay open to brokers that the cluster does not list any more."""

Key = tuple["Hashable", "Hashable"]
Address = tuple[str, int]


class Connections:
    """The connections of one `Cluster`.

    Args:
        spec: How to reach it.
        prove: Returns if a new connection leads to the expected cluster; raises KafkaError if not.
    """

    def __init__(self, spec: ClusterSpec, prove: Callable[[Connection], Awaitable[None]]) -> None:
        self._spec = spec
        self._prove = prove
        self._threads = Threads(f"login {spec.alias}")
        self._open: dict[Key, Connection] = {}
        self._locks: dict[Key, asyncio.Lock] = {}
        self._paces: dict[Key, Pace] = {}
        self._closed = False

    def close(self) -> None:
        """Close every connection for good: no new one is opened."""
        self._closed = True
        self.drop()

    def drop(self) -> None:
        """Close every open connection."""
        for connection in self._open.values():
            connection.close()
        self._open.clear()

    def forget_others(self, nodes: Collection[Hashable]) -> None:
        """Forget what belongs to brokers that are no longer listed, unless it is in use.

        Connections to such brokers may stay open, and nothing says when they end: beyond a number, the oldest are
        closed.
        """
        others = [one for (node, _), one in self._open.items() if node not in nodes and one.closed is None]
        for idle in [one for one in others[: max(0, len(others) - _OTHERS_MAX)] if not one.in_flight]:
            idle.close()
        for key in [key for key in self._locks if key[0] not in nodes]:
            connection = self._open.get(key)
            if not self._locks[key].locked() and (connection is None or connection.closed is not None):
                del self._locks[key]
                self._open.pop(key, None)
                self._paces.pop(key, None)

    def there(self) -> dict[Key, Connection]:
        """Return the open connections."""
        return {key: one for key, one in self._open.items() if one.closed is None}

    async def get(self, key: Key, address: Address, name: str, seen: BrokerSeen) -> Connection:
        """Return the open connection for a key; open one if there is none.

        Only a connection with a completed login counts as an answer of its broker.

        Raises:
            KafkaError: The broker cannot be reached.
        """
        async with self._locks.setdefault(key, asyncio.Lock()):
            known = self._open.get(key)
            if known is not None and known.closed is None:
                return known
            now = asyncio.get_running_loop().time
            pace = self._paces.setdefault(key, Pace())
            if known is not None:
                del self._open[key]
            try:
                await asyncio.sleep(pace.wait_seconds(now()))
                self._check_open()
                connection = await open_connection(self._spec, self._threads, *address, node=name)
                await self._proven(connection)
            except KafkaError as error:
                if isinstance(error, AuthenticationFailed | ProtocolError):
                    pace.note_refusal(now())  # this cost the broker more than a TCP connection
                seen.failed(now(), error.with_next_step())
                raise
            connection.when_closed(lambda: pace.ended(connection, now()))
            connection.seen = seen
            seen.answered_at = now()
            self._open[key] = connection
            return connection

    def _check_open(self) -> None:
        if self._closed:
            raise ConnectionFailed(
                f"cluster {self._spec.alias!r} is no longer in use", cluster=self._spec.alias, why="closed by us"
            )

    async def _proven(self, connection: Connection) -> None:
        """Return if a new connection leads to the expected cluster and is still wanted; close it if not."""
        try:
            await self._prove(connection)
            self._check_open()
        except BaseException:
            connection.close()
            raise


def none_reached(spec: ClusterSpec, failed: Sequence[tuple[Address, KafkaError]]) -> KafkaError:
    """Return the error for a cluster that no bootstrap address leads to, with the reason for each address."""
    if not failed:
        return ConnectionFailed(f"cluster {spec.alias!r} has no address", cluster=spec.alias)
    if len(failed) == 1:
        return failed[0][1]
    kinds = {type(error) for _, error in failed}
    kind = kinds.pop() if kinds < {AuthenticationFailed, ProtocolError} else ConnectionFailed
    reasons = [
        f"{host}:{port}: {said(error.why or error.what, _REASON_CHARS_MAX)}"
        for (host, port), error in failed[:_REASONS_MAX]
    ]
    more = [f"and {len(failed) - _REASONS_MAX} more"] if len(failed) > _REASONS_MAX else []
    return kind(
        f"cluster {spec.alias!r} cannot be used through any of its {len(failed)} bootstrap addresses",
        cluster=spec.alias,
        why="; ".join([*reasons, *more]),
        next_step=next((error.next_step for _, error in failed if error.next_step), ""),
    )
