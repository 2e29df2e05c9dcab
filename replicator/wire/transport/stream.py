"""Non-blocking byte streams to a broker: plain TCP and TLS behind one small interface.

asyncio's own transports are deliberately not used: on CPython 3.11 their `writelines` joins (copies) every payload,
and they cannot set SO_RCVLOWAT.
Here reads land in the caller's buffer and writes are gathered by the kernel (`sendmsg`), so a record byte is never
copied by Python.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Protocol

from aiohappyeyeballs import start_connection

from replicator.errors import AuthenticationFailed, ConnectionFailed
from replicator.model.text import said

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from aiohappyeyeballs import AddrInfoType

    from replicator.aio.threads import Threads
    from replicator.model.security import ClusterSpec, Security

_IOVECS_MAX = 1000
"""Linux accepts at most 1,024 (IOV_MAX) buffers in one sendmsg."""
_SOCKET_BUFFER_BYTES = 1 << 20
_TLS_RECORD_PLAINTEXT_BYTES = 16 << 10
_NEXT_ADDRESS_SECONDS = 0.25
"""After that long without an answer, the next address of a name is tried as well (RFC 8305)."""

Buffer = bytes | bytearray | memoryview


class Stream(Protocol):
    """A connected, non-blocking byte stream."""

    def fileno(self) -> int:
        """Return the descriptor to watch."""

    def recv_into(self, view: memoryview) -> int:
        """Read at most ``len(view)`` bytes; 0 means that the peer has closed.

        Raises:
            BlockingIOError: Nothing to read now.
            OSError: The connection is broken.
        """

    def send(self, views: Sequence[Buffer]) -> int:
        """Write as much of `views`, in order, as the kernel accepts now; return the number of bytes.

        Raises:
            BlockingIOError: Nothing could be written now.
            OSError: The connection is broken.
        """

    def may_hold_more(self) -> bool:
        """Return whether bytes may be readable although the descriptor does not say so (TLS records)."""

    def expect(self, size: int) -> None:
        """Ask to be woken only once `size` bytes are there, if the transport can do that."""

    def close(self) -> None:
        """Close; safe to call twice."""


class PlainStream:
    """TCP."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._low_water = 1
        self.fileno = sock.fileno

    def recv_into(self, view: memoryview) -> int:
        """See `Stream.recv_into`."""
        return self._sock.recv_into(view)

    def send(self, views: Sequence[Buffer]) -> int:
        """See `Stream.send`."""
        return self._sock.sendmsg(views if len(views) <= _IOVECS_MAX else views[:_IOVECS_MAX])

    def may_hold_more(self) -> bool:
        """See `Stream.may_hold_more`; the kernel's readiness is complete for TCP."""
        return False

    def expect(self, size: int) -> None:
        """Set SO_RCVLOWAT: fewer, larger reads while a large response arrives."""
        if size != self._low_water:
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, size)
            self._low_water = size

    def close(self) -> None:
        """See `Stream.close`."""
        self._sock.close()


class TlsStream:
    """TLS over TCP."""

    def __init__(self, sock: ssl.SSLSocket) -> None:
        self._sock = sock
        self.fileno = sock.fileno

    def recv_into(self, view: memoryview) -> int:
        """See `Stream.recv_into`."""
        try:
            return self._sock.recv_into(view)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise BlockingIOError from None
        except ssl.SSLZeroReturnError:
            return 0

    def send(self, views: Sequence[Buffer]) -> int:
        """See `Stream.send`: one TLS write per buffer, small ones joined into one record."""
        sent = 0
        small = bytearray()
        try:
            for view in views:
                if len(small) + len(view) <= _TLS_RECORD_PLAINTEXT_BYTES:
                    small += view
                    continue
                if small:
                    sent += self._sock.send(small)
                    small.clear()
                wrote = self._sock.send(view)
                sent += wrote
                if wrote < len(view):
                    return sent
            if small:
                sent += self._sock.send(small)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            if not sent:
                raise BlockingIOError from None
        return sent

    def may_hold_more(self) -> bool:
        """See `Stream.may_hold_more`: a decrypted record may wait inside the TLS layer."""
        return True

    def expect(self, size: int) -> None:
        """See `Stream.expect`; TLS records are small, so there is nothing to gain."""

    def close(self) -> None:
        """See `Stream.close`; does not wait for the peer."""
        self._sock.close()


async def open_stream(
    cluster: ClusterSpec, threads: Threads, host: str, port: int, *, timeout_seconds: float
) -> Stream:
    """Connect, and do the TLS handshake if the cluster uses TLS.

    Names are looked up, and certificates read, on `threads`.

    Raises:
        ConnectionFailed: There was no TCP connection within the time.
        AuthenticationFailed: The certificate of either side was not accepted.
    """
    where = f"{host}:{port}"
    try:
        async with asyncio.timeout(timeout_seconds):
            sock = await _connect(threads, host, port)
            if not cluster.security.protocol.tls:
                return PlainStream(sock)
            try:
                return await _handshake(cluster, threads, sock, host)
            except (ConnectionError, ssl.SSLEOFError, ssl.SSLZeroReturnError) as error:
                sock.close()
                raise _handshake_ended(cluster, where, error) from error
            except BaseException:
                sock.close()
                raise
    except ssl.SSLError as error:
        raise AuthenticationFailed(
            f"no TLS connection to {where} of cluster {cluster.alias!r}",
            cluster=cluster.alias,
            why=_tls_reason(error),
            next_step="check ca_file, cert_file and the name in the broker's certificate; "
            f"openssl s_client -connect {where} shows what the broker sends",
        ) from error
    except TimeoutError as error:
        raise ConnectionFailed(
            f"cluster {cluster.alias!r} does not answer at {where}",
            cluster=cluster.alias,
            why=f"no connection within {timeout_seconds:g} s",
            next_step=f"check the address, the firewall, and whether this listener speaks {cluster.security.protocol}",
        ) from error
    except (OSError, OverflowError, UnicodeError) as error:  # the last two: an impossible port, an impossible name
        raise ConnectionFailed(
            f"cluster {cluster.alias!r} cannot be reached at {where}",
            cluster=cluster.alias,
            why=_os_reason(error),
            next_step=f"check clusters.{cluster.alias}.bootstrap and that the broker runs",
        ) from error


def _handshake_ended(cluster: ClusterSpec, where: str, error: OSError) -> ConnectionFailed:
    """Return the error for a peer that closes instead of completing the handshake: it may also just be stopping."""
    security = f"clusters.{cluster.alias}.security"
    return ConnectionFailed(
        f"{where} of cluster {cluster.alias!r} closes the connection during the TLS handshake",
        cluster=cluster.alias,
        why=os.strerror(error.errno) if error.errno and error.errno > 0 else "closed by the peer",
        next_step=f"check that this listener speaks {cluster.security.protocol} ({security}.protocol), and whether it "
        f"asks for a certificate of ours ({security}.cert_file); openssl s_client -connect {where} shows what it says",
    )


def _os_reason(error: Exception) -> str:
    if not isinstance(error, OSError):
        return said(str(error))
    return os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror or said(str(error))


def _tls_reason(error: ssl.SSLError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return error.verify_message
    return error.reason or said(str(error))


async def _connect(threads: Threads, host: str, port: int) -> socket.socket:
    """Connect to whichever address of the name answers first; silent ones hold up nothing."""
    addresses = await _addresses(threads, host, port)
    if not addresses:
        raise OSError(f"{host} has no address")
    return await start_connection(addresses, happy_eyeballs_delay=_NEXT_ADDRESS_SECONDS, socket_factory=_new_socket)


async def _addresses(threads: Threads, host: str, port: int) -> Sequence[AddrInfoType]:
    """Return the addresses of a name; a hanging name server blocks only a thread of this cluster."""
    look_up: Callable[..., Sequence[AddrInfoType]] = partial(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM)
    try:
        return look_up(flags=socket.AI_NUMERICHOST)
    except OSError:  # it is a name
        return await threads.run(look_up)


def _new_socket(address: AddrInfoType) -> socket.socket:
    family, kind, protocol, _, _ = address
    sock = socket.socket(family, kind, protocol)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SOCKET_BUFFER_BYTES)
    return sock


async def _handshake(cluster: ClusterSpec, threads: Threads, sock: socket.socket, host: str) -> TlsStream:
    context = await threads.run(partial(_present_context, cluster))
    tls = context.wrap_socket(sock, server_hostname=host, do_handshake_on_connect=False)
    loop = asyncio.get_running_loop()
    while True:
        try:
            tls.do_handshake()
        except ssl.SSLWantReadError:
            await _ready(loop.add_reader, loop.remove_reader, tls.fileno())
        except ssl.SSLWantWriteError:
            await _ready(loop.add_writer, loop.remove_writer, tls.fileno())
        else:
            return TlsStream(tls)


async def _ready(add: object, remove: object, descriptor: int) -> None:
    waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def wake() -> None:
        if not waiter.done():
            waiter.set_result(None)

    add(descriptor, wake)  # type: ignore[operator]
    try:
        await waiter
    finally:
        remove(descriptor)  # type: ignore[operator]


def _stamp(*paths: Path | None) -> tuple[int, ...]:
    """Return a value that changes when a certificate is renewed, so that the next connection reads the file again."""
    stamps = []
    for path in paths:
        with contextlib.suppress(OSError):
            stamps.append(path.stat().st_mtime_ns if path else 0)
    return tuple(stamps)


def _present_context(cluster: ClusterSpec) -> ssl.SSLContext:
    """Return the context for the files as they are now.

    Raises:
        AuthenticationFailed: A file cannot be used: the broker is neither wrong nor unreachable.
    """
    security = cluster.security
    paths = (security.ca_file, security.cert_file, security.key_file)
    try:
        return _tls_context(security, _stamp(*paths))
    except OSError as error:  # an SSLError, too; neither names the file
        names = ", ".join(str(path) for path in paths if path is not None)
        raise AuthenticationFailed(
            f"the TLS files of cluster {cluster.alias!r} cannot be used",
            cluster=cluster.alias,
            why=f"{_tls_reason(error) if isinstance(error, ssl.SSLError) else _os_reason(error)} ({names})",
            next_step=f"check ca_file, cert_file and key_file of clusters.{cluster.alias}.security: they are PEM files "
            "that this user can read",
        ) from error


@lru_cache(maxsize=64)
def _tls_context(security: Security, _files_stamp: tuple[int, ...]) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=security.ca_file)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.check_hostname = security.check_hostname
    if security.cert_file:
        context.load_cert_chain(security.cert_file, security.key_file)
    return context
