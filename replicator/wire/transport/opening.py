"""Opens a connection, logs in and keeps the login valid: versions, login, and its renewal (KIP-368)."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Final

from replicator.errors import AuthenticationFailed, ConnectionFailed, KafkaError
from replicator.logins import logins_of
from replicator.wire.protocol.versions import negotiate
from replicator.wire.transport.auth import authenticate
from replicator.wire.transport.connection import THROTTLE_SECONDS_MAX, Connection
from replicator.wire.transport.stream import open_stream

if TYPE_CHECKING:
    from replicator.aio.threads import Threads
    from replicator.model.security import ClusterSpec

_OPEN_SECONDS_MAX = 10.0
LOGIN_SECONDS_MIN: Final = 5.0
"""A login must be valid for that long: each one runs a token command, or thousands of rounds of a hash."""
_SHARE_OF_LIFETIME = 0.8
_VERDICT_SECONDS = 0.05
_VERDICT_POLLS_MAX = 40


async def open_connection(cluster: ClusterSpec, threads: Threads, host: str, port: int, *, node: str) -> Connection:
    """Connect, agree on versions, log in.

    Args:
        cluster: How to reach it.
        threads: Where blocking work is done.
        host: Address of the broker.
        port: Its port.
        node: The broker's name in messages.

    Raises:
        KafkaError: ConnectionFailed, AuthenticationFailed or ProtocolError, with the reason.
    """
    seconds = min(cluster.request_timeout_seconds, _OPEN_SECONDS_MAX)
    stream = await open_stream(cluster, threads, host, port, timeout_seconds=seconds)
    connection = Connection(cluster, stream, node)
    try:
        async with asyncio.timeout(seconds):
            connection.versions = await negotiate(connection)
            if cluster.security.protocol.sasl:
                _Login(connection, threads).renew_after(await _lifetime_seconds(connection, threads))
    except TimeoutError as error:
        connection.close()
        raise ConnectionFailed(
            f"{node} of cluster {cluster.alias!r} accepts connections but does not answer",
            cluster=cluster.alias,
            why=f"no answer to the first request within {seconds:g} s",
            next_step=f"check that this listener speaks {cluster.security.protocol}",
        ) from error
    except ConnectionFailed as error:
        connection.close()
        if error.next_step:
            raise
        # A TLS listener that receives plain bytes, and the other way round, closes the connection silently.
        raise ConnectionFailed(
            f"{node} of cluster {cluster.alias!r} accepts connections and closes them before the first answer",
            cluster=cluster.alias,
            why=error.why,
            next_step=f"check that the listener at {host}:{port} speaks {cluster.security.protocol} "
            f"(clusters.{cluster.alias}.security.protocol), and that the broker runs",
        ) from error
    except BaseException:
        connection.close()
        raise
    return connection


async def _lifetime_seconds(connection: Connection, threads: Threads) -> float | None:
    """Log in; return for how long the login is valid, None for without limit.

    Raises:
        AuthenticationFailed: As `authenticate`, or the login would be valid for less than `LOGIN_SECONDS_MIN`.
        KafkaError: As `authenticate`.
    """
    cluster = connection.cluster
    lifetime_seconds = await _logged_in(connection, threads)
    if lifetime_seconds is not None and lifetime_seconds < LOGIN_SECONDS_MIN:
        raise AuthenticationFailed(
            f"a login to {connection.node} of cluster {cluster.alias!r} is valid for only {lifetime_seconds:g} s",
            cluster=cluster.alias,
            why=f"a login must be valid for {LOGIN_SECONDS_MIN:g} s",
            next_step="make sure that the token is renewed before it expires, and that connections.max.reauth.ms of "
            "the broker is larger",
            retryable=True,
        )
    return lifetime_seconds


async def _logged_in(connection: Connection, threads: Threads) -> float | None:
    """Log in, unless the same login was refused a short while ago (`replicator.logins`).

    Raises:
        AuthenticationFailed: As `authenticate`, or it is too early for another try.
        KafkaError: As `authenticate`.
    """
    logins, address = logins_of(connection.cluster), connection.node
    for _ in range(_VERDICT_POLLS_MAX):
        # Until a login has been accepted, one is tried at a time; one that hangs holds up the others only for a while.
        if logins.proven or not logins.trying:
            break
        await asyncio.sleep(_VERDICT_SECONDS)
    logins.trying.add(address)
    try:
        await threads.run(partial(logins.check, address))
        lifetime_seconds = await authenticate(connection, connection.cluster, threads)
    except AuthenticationFailed as error:
        if error.refused:
            await threads.run(partial(logins.note_refusal, address, error))
        raise
    else:
        logins.taken(address)
        return lifetime_seconds
    finally:
        logins.trying.discard(address)


class _Login:
    """The login of one connection, renewed while the connection is open; a failed renewal closes the connection."""

    def __init__(self, connection: Connection, threads: Threads) -> None:
        self._connection = connection
        self._threads = threads
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._renewing: asyncio.Task[None] | None = None
        connection.when_closed(self._end)

    def renew_after(self, lifetime_seconds: float | None) -> None:
        """Renew the login when most of its time is over."""
        if lifetime_seconds is not None and self._connection.closed is None:
            self._timer = self._loop.call_later(lifetime_seconds * _SHARE_OF_LIFETIME, self._begin)

    def _begin(self) -> None:
        self._renewing = self._loop.create_task(self._renew())

    def _end(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._renewing is not None:
            self._renewing.cancel()

    async def _renew(self) -> None:
        """Log in again; other requests wait meanwhile, since a broker refuses them during re-authentication."""
        connection, cluster = self._connection, self._connection.cluster
        connection.begin_login()
        seconds = min(cluster.request_timeout_seconds, _OPEN_SECONDS_MAX) + THROTTLE_SECONDS_MAX
        try:
            async with asyncio.timeout(seconds):
                lifetime_seconds = await _lifetime_seconds(connection, self._threads)
        except KafkaError as error:
            self._renewing = None
            connection.close(error)
        except Exception as error:  # noqa: BLE001 - any kind: requests held back would wait forever
            self._renewing = None
            connection.close(
                ConnectionFailed(
                    f"the login to {connection.node} of cluster {cluster.alias!r} could not be renewed",
                    cluster=cluster.alias,
                    why=f"no answer within {seconds:g} s" if isinstance(error, TimeoutError) else repr(error),
                )
            )
        else:
            self._renewing = None
            self.renew_after(lifetime_seconds)
            connection.logged_in()
