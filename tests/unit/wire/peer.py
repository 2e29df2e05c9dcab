"""The other end of a connection, for tests."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Awaitable, Callable

from replicator.aio.threads import Threads
from replicator.errors import KafkaError
from replicator.model.security import ClusterSpec
from replicator.wire.frames import Frame
from replicator.wire.transport.connection import Connection
from replicator.wire.transport.stream import open_stream

FETCH = 1
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
Answer = tuple[bytes | None, KafkaError | None]


class Asked:
    """A request as the server saw it."""

    def __init__(self, raw: bytes) -> None:
        self.api_key, self.version, self.correlation_id = struct.unpack_from(">hhi", raw)
        self.body = raw[8 + 2 + len("replicator") + 1 :]


async def next_request(reader: asyncio.StreamReader) -> Asked:
    """Read one request."""
    (size,) = struct.unpack(">i", await reader.readexactly(4))
    return Asked(await reader.readexactly(size))


def frame_of(correlation_id: int, body: bytes) -> bytes:
    """Return an answer."""
    return struct.pack(">ii", 4 + len(body), correlation_id) + body


class Peer:
    """A client connection to a server that does what it was told."""

    def __init__(self) -> None:
        self._servers: list[asyncio.Server] = []
        self._connections: list[Connection] = []

    async def connect(self, serve: Serve, seconds: float = 30.0) -> Connection:
        """Start a server and connect to it, without the handshake."""

        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                await serve(reader, writer)
            except (asyncio.IncompleteReadError, ConnectionError):
                pass
            finally:
                writer.close()

        server = await asyncio.start_server(handle, "127.0.0.1", 0)
        self._servers.append(server)
        port = server.sockets[0].getsockname()[1]
        cluster = ClusterSpec("east", (("127.0.0.1", port),), request_timeout_seconds=seconds)
        stream = await open_stream(cluster, Threads("east"), "127.0.0.1", port, timeout_seconds=5.0)
        connection = Connection(cluster, stream, "broker 1")
        self._connections.append(connection)
        return connection

    async def close(self) -> None:
        """Close everything."""
        for connection in self._connections:
            connection.close()
        for server in self._servers:
            server.close()


class Calls:
    """Callbacks that note how often they were called, and with what."""

    def __init__(self, expected: int) -> None:
        self.answers: list[list[Answer]] = [[] for _ in range(expected)]
        self.order: list[int] = []
        self._left = expected
        self.done = asyncio.Event()

    def of(self, index: int) -> Callable[[Frame | None, KafkaError | None], None]:
        """Return the callback of one request."""

        def on_answer(frame: Frame | None, error: KafkaError | None) -> None:
            self.answers[index].append((bytes(frame.buffer[4 : frame.size]) if frame else None, error))
            self.order.append(index)
            self._left -= 1
            if not self._left:
                self.done.set()

        return on_answer

    def errors(self) -> list[KafkaError | None]:
        """Return each request's error; each was answered exactly once."""
        assert [len(answers) for answers in self.answers] == [1] * len(self.answers)
        return [answers[0][1] for answers in self.answers]


def send(connection: Connection, calls: Calls, index: int, body: bytes = b"", bytes_max: int = 1 << 20) -> None:
    """Send one request."""
    connection.send(FETCH, 12, [body], len(body), calls.of(index), frame_bytes_max=bytes_max)


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer each request with its own body."""
    while True:
        request = await next_request(reader)
        writer.write(frame_of(request.correlation_id, request.body))
