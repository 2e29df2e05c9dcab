"""The network between daemons and brokers: what is asked waits on its way, and so does what is answered.

A connection of a daemon is the real one, above a stream that only keeps bytes. Control messages skip their encoding:
what goes over the stream in their place is a number, and the message is looked up by it at the other end.
"""

from __future__ import annotations

import asyncio
import itertools
import struct
from collections import deque
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar, cast

from replicator.errors import ConnectionFailed
from replicator.wire.protocol.decode import KEEP_ALL, Keep
from replicator.wire.protocol.versions import ApiVersions
from replicator.wire.transport.connection import Connection
from replicator.wire.transport.connections import Connections

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Hashable, Sequence

    from kio.static.protocol import Entity

    from replicator.core.status.observations import BrokerSeen
    from replicator.model.security import ClusterSpec
    from replicator.wire.transport.stream import Buffer

_HEAD = struct.Struct(">ihhih")
_TYPED = struct.Struct(">4sq")
_TYPED_MARK = b"\xff\xfe\xfd\xfc"
_CORRELATION = struct.Struct(">ii")
_VERSIONS = ApiVersions(
    {0: (0, 13), 1: (4, 17), 2: (1, 10), 3: (0, 13), 10: (0, 6), 22: (0, 5), 23: (2, 4), 27: (0, 1), 61: (0, 0)}
)

R = TypeVar("R", bound="Entity")

_entities: dict[int, Any] = {}
_numbers = itertools.count(1)


def _put(entity: Any) -> bytes:
    number = next(_numbers)
    _entities[number] = entity
    return _TYPED.pack(_TYPED_MARK, number)


def _take(raw: bytes | memoryview) -> Any:
    return _entities.pop(_TYPED.unpack(raw)[1])


class ModelConnection(Connection):
    """The real connection; only control messages are neither encoded nor decoded."""

    async def call(self, request: Entity, answer: type[R], *, urgent: bool = False, keep: Keep = KEEP_ALL) -> R:
        """See `Connection.call`."""
        kind = type(request)
        body = _put(request)
        frame = await self.ask(
            int(kind.__api_key__),  # type: ignore[attr-defined] # only requests and answers have one
            int(kind.__version__),
            [body],
            len(body),
            urgent=urgent,
        )
        del keep
        if frame.view[4:8] != _TYPED_MARK:
            return await self.decode(frame, answer)
        return cast("R", _take(frame.view[4 : 4 + _TYPED.size]))


class Request(NamedTuple):
    """One request as its broker gets it; `typed` is the control message, else `body` holds it."""

    api_key: int
    version: int
    correlation_id: int
    sent_ms: int
    body: bytes
    typed: Any


@dataclass(eq=False, slots=True)
class Answering:
    """A request that its broker has taken; `answer` holds the bytes behind the correlation id once there are any."""

    request: Request
    answer: bytes | None = None

    def give(self, body: bytes) -> None:
        """Answer, with bytes from the tags of the header on."""
        self.answer = body

    def give_typed(self, entity: Any) -> None:
        """Answer with a control message."""
        self.answer = _put(entity)


@dataclass(eq=False)
class Pipe:
    """One connection on the network, and the stream at the daemon's end of it.

    Requests arrive in their order, answers leave in that order. Once the daemon has closed it, what is still on its way
    to the broker may arrive all the same.

    Attributes:
        name: Whose it is.
        cluster: The one that it leads to.
        node: The broker.
        purpose: What it is for.
        is_open: Whether the daemon still has it.
        undelivered: What the broker has not taken yet.
        taken: What it has not answered, or whose answer is on its way.
        parked: A fetch that waits for data, and until when (ms).
        connection: The daemon's end of it.
        kind: Its cluster and purpose in words.
    """

    name: str
    cluster: Any
    node: int
    purpose: str
    now_ms: Callable[[], int]
    is_open: bool = True
    undelivered: deque[Request] = field(default_factory=deque)
    taken: deque[Answering] = field(default_factory=deque)
    parked: tuple[Answering, int] | None = None
    connection: Connection | None = None
    kind: str = ""
    _unread: bytearray = field(default_factory=bytearray)

    def __post_init__(self) -> None:
        self.kind = f"{self.cluster.alias} {self.purpose}"

    # -- the stream ---------------------------------------------------------------------------------------------------

    def fileno(self) -> int:
        """Nothing is watched."""
        return -1

    def send(self, views: Sequence[Buffer]) -> int:
        """Take a whole request."""
        raw = b"".join(views)
        size, api_key, version, correlation_id, name_bytes = _HEAD.unpack_from(raw)
        assert size == len(raw) - 4, "a request by half"
        body = raw[_HEAD.size + name_bytes + 1 :]
        typed = _take(body) if body[:4] == _TYPED_MARK else None
        self.undelivered.append(Request(api_key, version, correlation_id, self.now_ms(), body, typed))
        return len(raw)

    def recv_into(self, view: memoryview) -> int:
        """Give what has arrived."""
        size = min(len(view), len(self._unread))
        if not size:
            raise BlockingIOError
        view[:size] = self._unread[:size]
        del self._unread[:size]
        return size

    def may_hold_more(self) -> bool:
        """Whether another read gives more."""
        return bool(self._unread)

    def expect(self, size: int) -> None:
        """Nothing waits."""

    def close(self) -> None:
        """The daemon's end is closed."""
        self.is_open = False
        self.taken.clear()
        self.parked = None
        self.cluster.world.closed(self)

    # -- the world ----------------------------------------------------------------------------------------------------

    @property
    def has_answer(self) -> bool:
        """Whether the next answer is on its way."""
        return bool(self.taken) and self.taken[0].answer is not None

    @property
    def is_working(self) -> bool:
        """Whether the broker is at work on a request of this connection."""
        return bool(self.taken) and self.taken[-1].answer is None

    @property
    def unanswered(self) -> int:
        """Requests without an answer that has arrived."""
        return len(self.undelivered) + len(self.taken)

    def hear(self) -> bool:
        """Let the next answer arrive; return whether there was one."""
        if not self.has_answer or self.connection is None:
            return False
        answering = self.taken.popleft()
        answer = cast("bytes", answering.answer)
        self._unread += _CORRELATION.pack(len(answer) + 4, answering.request.correlation_id) + answer
        self.connection._on_readable()
        return True

    def lose(self, why: str = "lost on the way") -> None:
        """Let the daemon find it closed."""
        if self.connection is not None:
            self.connection.close(
                ConnectionFailed(f"the connection to {self.node} was lost", cluster=self.cluster.alias, why=why)
            )


class ModelConnections(Connections):
    """The real pool; what it opens is a pipe of the world."""

    def __init__(
        self,
        spec: ClusterSpec,
        prove: Callable[[Connection], Awaitable[None]],
        opened: Callable[[int, str], Pipe],
    ) -> None:
        super().__init__(spec, prove)
        self._opened = opened

    async def get(
        self, key: tuple[Hashable, Hashable], address: tuple[str, int], name: str, seen: BrokerSeen
    ) -> Connection:
        """See `Connections.get`."""
        token = _opening.set((self._opened, key))
        try:
            return await super().get(key, address, name, seen)
        finally:
            _opening.reset(token)


_opening: ContextVar[tuple[Callable[[int, str], Pipe], tuple[Hashable, Hashable]]] = ContextVar("_opening")


async def open_connection(cluster: ClusterSpec, _threads: object, _host: str, port: int, *, node: str) -> Connection:
    """Take the place of `wire.transport.opening.open_connection`."""
    opened, (_, purpose) = _opening.get()
    pipe = opened(port, str(purpose))
    await asyncio.sleep(pipe.cluster.opens_seconds(pipe))
    connection = ModelConnection(cluster, pipe, node)
    connection.versions = _VERSIONS
    pipe.connection = connection
    return connection
