"""One connection to one broker: pipelined requests, answers in order, bounded frames, deadlines.

Two ways to ask.
`call` sends a typed control message and awaits its typed answer.
`send` is for the data path: the caller brings the encoded body as buffer views and a callback that gets the frame,
so a fetch or produce costs no task, no future and no copy.
"""

from __future__ import annotations

import asyncio
import io
import itertools
import struct
from collections import deque
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from kio.schema.api_versions.v3.response import ApiVersionsResponse
from kio.serial import entity_reader, entity_writer

from replicator.core.observations import BrokerSeen
from replicator.errors import AnswerTooLarge, ConnectionFailed, KafkaError, ProtocolError
from replicator.wire.auth import authenticate
from replicator.wire.frames import Frame, request_head, request_head_v1
from replicator.wire.stream import open_stream
from replicator.wire.versions import ApiVersions, negotiate

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from kio.static.protocol import Entity

    from replicator.model.security import ClusterSpec
    from replicator.wire.stream import Buffer, Stream

_CLIENT_ID = b"replicator"
_CONTROL_FRAME_BYTES_MAX = 64 << 20
_READS_PER_WAKE_MAX = 16
_DEADLINE_CHECK_SECONDS = 1.0
_PULL_BYTES = 1 << 20
"""While a large answer arrives, wake only for this much (where the transport can)."""
_OPEN_SECONDS_MAX = 10.0
_PREFIX = struct.Struct(">i")
_PREFIX_BYTES = 4
_STAGE_BYTES = 32 << 10
_HEAD_V1_APIS = frozenset({17})
"""SaslHandshake never became flexible."""

R = TypeVar("R", bound="Entity")


class _Waiting(NamedTuple):
    correlation_id: int
    deadline: float
    api_key: int
    frame: Frame | None
    frame_bytes_max: int
    on_answer: Callable[[Frame | None, KafkaError | None], None]


class Connection:
    """A connection that is open from `open_connection` until `close` or the first fault.

    After a fault every waiting callback has been called with the error, and `closed` holds it.
    A frame passed to `send` stays the caller's when the callback gets an error.

    Attributes:
        seen: Told of each answer and of the fault; whoever opened the connection puts the broker's own here.
    """

    def __init__(self, cluster: ClusterSpec, stream: Stream, node: str) -> None:
        self.cluster = cluster
        self.node = node
        self.closed: KafkaError | None = None
        self.versions = ApiVersions({})
        self.seen = BrokerSeen()
        self._stream = stream
        self._loop = asyncio.get_running_loop()
        self._correlation = itertools.count(1)
        self._waiting: deque[_Waiting] = deque()
        self._outgoing: deque[tuple[list[Buffer], int]] = deque()
        self._writer_armed = False
        self._held_back: list[Callable[[], None]] | None = None
        self._stage = memoryview(bytearray(_STAGE_BYTES))
        self._staged = 0
        self._frame: Frame | None = None
        self._frame_got = 0
        self._timer: asyncio.TimerHandle | None = None
        self._loop.add_reader(stream.fileno(), self._on_readable)

    @property
    def in_flight(self) -> int:
        """Requests without an answer."""
        return len(self._waiting)

    def send(
        self,
        api_key: int,
        version: int,
        body: Sequence[Buffer],
        body_bytes: int,
        on_answer: Callable[[Frame | None, KafkaError | None], None],
        *,
        frame: Frame | None = None,
        frame_bytes_max: int = _CONTROL_FRAME_BYTES_MAX,
        urgent: bool = False,
    ) -> None:
        """Send one request; its answer, or an error, goes to `on_answer` exactly once.

        Args:
            api_key: Kafka's number of the request.
            version: Its version; header v2 is used.
            body: The encoded body as views, sent in order and not copied; leave them alone until the answer.
            body_bytes: Their total size.
            on_answer: Called as ``on_answer(frame, None)`` or ``on_answer(None, error)``.
                The answer starts after the 4 bytes of correlation id, with the header's tag buffer.
            frame: Where to read the answer; without one, a fresh buffer.
            frame_bytes_max: Largest answer accepted.
            urgent: Not held back while the connection logs in again.
        """
        if self.closed is not None:
            on_answer(None, self.closed)
            return
        if self._held_back is not None and not urgent:
            self._held_back.append(
                lambda: self.send(
                    api_key,
                    version,
                    body,
                    body_bytes,
                    on_answer,
                    frame=frame,
                    frame_bytes_max=frame_bytes_max,
                )
            )
            return
        correlation_id = next(self._correlation) & 0x7FFFFFFF
        make_head = request_head_v1 if api_key in _HEAD_V1_APIS else request_head
        head = make_head(api_key, version, correlation_id, _CLIENT_ID, body_bytes)
        deadline = self._loop.time() + self.cluster.request_timeout_seconds
        self._waiting.append(_Waiting(correlation_id, deadline, api_key, frame, frame_bytes_max, on_answer))
        if self._timer is None:
            self._timer = self._loop.call_later(_DEADLINE_CHECK_SECONDS, self._check_deadline)
        self._outgoing.append(([head, *body], len(head) + body_bytes))
        if not self._writer_armed:
            self._on_writable()

    def ask(
        self,
        api_key: int,
        version: int,
        body: Sequence[Buffer],
        body_bytes: int,
        *,
        urgent: bool = False,
        frame_bytes_max: int = _CONTROL_FRAME_BYTES_MAX,
    ) -> asyncio.Future[Frame]:
        """Send one encoded request at once, as `send` does; the future brings its answer, or the KafkaError."""
        done: asyncio.Future[Frame] = self._loop.create_future()

        def on_answer(frame: Frame | None, error: KafkaError | None) -> None:
            if done.done():
                return
            if frame is not None:
                done.set_result(frame)
            else:
                done.set_exception(error or ConnectionFailed("no answer", cluster=self.cluster.alias))

        self.send(api_key, version, body, body_bytes, on_answer, urgent=urgent, frame_bytes_max=frame_bytes_max)
        return done

    async def call(self, request: Entity, answer: type[R], *, urgent: bool = False) -> R:
        """Send a control message and return its decoded answer.

        Raises:
            KafkaError: The connection failed, timed out or sent bytes that are no such answer.
        """
        kind = type(request)
        body = io.BytesIO()
        entity_writer(kind)(body, request)
        payload = body.getvalue()
        api_key = int(kind.__api_key__)  # type: ignore[attr-defined] # only requests and answers have one
        frame = await self.ask(api_key, int(kind.__version__), [payload], len(payload), urgent=urgent)
        return self.decode(frame, answer)

    def decode(self, frame: Frame, answer: type[R]) -> R:
        """Return the typed answer in a frame that `ask` gave.

        Raises:
            ProtocolError: It holds no such answer.
        """
        # ApiVersions answers always carry header v0, whatever their body's version (KIP-511).
        flexible_head = answer.__flexible__ and answer is not ApiVersionsResponse
        start = 5 if flexible_head else 4
        try:
            entity, _ = entity_reader(answer)(bytes(frame.view[: frame.size]), start)
        except Exception as error:  # the decoder raises a dozen kinds; all mean the same here
            raise ProtocolError(
                f"{self.node} sent an answer that is not {answer.__name__}",
                cluster=self.cluster.alias,
                why=f"{type(error).__name__}: {error}",
                next_step="check that the address is a Kafka listener of a supported version (2.8 or newer)",
            ) from error
        return entity

    def close(self, error: KafkaError | None = None) -> None:
        """Close, and tell every waiting caller; safe to call twice."""
        if self.closed is not None:
            return
        self.closed = error or ConnectionFailed(
            f"the connection to {self.node} was closed", cluster=self.cluster.alias, why="closed by us"
        )
        if error is not None:
            self.seen.failed(self._loop.time(), error.with_next_step())
        self._loop.remove_reader(self._stream.fileno())
        if self._writer_armed:
            self._loop.remove_writer(self._stream.fileno())
        self._stream.close()
        if self._timer is not None:
            self._timer.cancel()
        self._outgoing.clear()
        held, self._held_back = self._held_back or [], None
        waiting, self._waiting = self._waiting, deque()
        for entry in waiting:
            entry.on_answer(None, self.closed)
        for send_again in held:
            send_again()

    def _check_deadline(self) -> None:
        self._timer = None
        if not self._waiting:
            return
        first = self._waiting[0]
        if self._loop.time() < first.deadline:
            self._timer = self._loop.call_later(_DEADLINE_CHECK_SECONDS, self._check_deadline)
            return
        self.close(
            ConnectionFailed(
                f"{self.node} of cluster {self.cluster.alias!r} did not answer in time",
                cluster=self.cluster.alias,
                why=f"request {first.api_key} had no answer within {self.cluster.request_timeout_seconds:g} s",
                next_step=f"raise clusters.{self.cluster.alias}.client.request_timeout if the link is slow",
            )
        )

    def _lost(self, why: str) -> None:
        self.close(
            ConnectionFailed(
                f"the connection to {self.node} of cluster {self.cluster.alias!r} was lost",
                cluster=self.cluster.alias,
                why=why,
            )
        )

    def _refuse(self, why: str) -> None:
        self.close(
            ProtocolError(
                f"{self.node} of cluster {self.cluster.alias!r} does not speak Kafka as expected",
                cluster=self.cluster.alias,
                why=why,
                next_step="check that bootstrap names a Kafka listener and that security.protocol matches it",
            )
        )

    def _on_writable(self) -> None:
        outgoing = self._outgoing
        try:
            while outgoing:
                views, size = outgoing[0]
                sent = self._stream.send(views)
                if sent == size:
                    outgoing.popleft()
                else:
                    outgoing[0] = (_drop_sent(views, sent), size - sent)
        except BlockingIOError:
            pass
        except OSError as error:
            self._lost(error.strerror or str(error))
            return
        if bool(outgoing) is not self._writer_armed:
            self._writer_armed = bool(outgoing)
            if outgoing:
                self._loop.add_writer(self._stream.fileno(), self._on_writable)
            else:
                self._loop.remove_writer(self._stream.fileno())

    def _on_readable(self) -> None:
        try:
            for _ in range(_READS_PER_WAKE_MAX):
                if self.closed is not None or not self._read_once():
                    return
        except BlockingIOError:
            return
        except OSError as error:
            self._lost(error.strerror or str(error))
            return
        if self._stream.may_hold_more():
            self._loop.call_soon(self._on_readable)

    def _read_once(self) -> bool:
        """Read once; return whether another read may succeed at once."""
        frame = self._frame
        if frame is None:
            got = self._stream.recv_into(self._stage[self._staged :])
            if not got:
                self._lost("closed by the broker")
                return False
            self._staged += got
            self._unpack_stage()
            return self._stream.may_hold_more()
        wanted = frame.size - self._frame_got
        got = self._stream.recv_into(frame.view[self._frame_got : frame.size])
        if not got:
            self._lost("closed by the broker in the middle of an answer")
            return False
        self._frame_got += got
        if got < wanted:
            self._stream.expect(min(wanted - got, _PULL_BYTES))
        else:
            self._stream.expect(1)
            self._finish_frame(frame)
        return self._stream.may_hold_more()

    def _unpack_stage(self) -> None:
        """Hand out the answers that are whole in the stage, and begin the one that is cut.

        Small answers (every acknowledgement) thus cost one read; of a large one only its beginning is copied.
        """
        stage, start = self._stage, 0
        while self.closed is None and self._staged - start >= _PREFIX_BYTES:
            (size,) = _PREFIX.unpack_from(stage, start)
            frame = self._begin_frame(size)
            if frame is None:
                return
            start += _PREFIX_BYTES
            have = min(size, self._staged - start)
            frame.view[:have] = stage[start : start + have]
            start += have
            if have < size:
                self._frame, self._frame_got = frame, have
                self._stream.expect(min(size - have, _PULL_BYTES))
            else:
                self._finish_frame(frame)
        rest = self._staged - start
        if rest > 0 and start:
            stage[:rest] = bytes(stage[start : self._staged])
        self._staged = rest

    def _begin_frame(self, size: int) -> Frame | None:
        if not self._waiting:
            self._refuse("an answer came without a request")
            return None
        entry = self._waiting[0]
        if size > entry.frame_bytes_max:
            self._waiting.popleft()  # the others only lose their connection
            too_large = AnswerTooLarge(
                f"{self.node} of cluster {self.cluster.alias!r} sent an answer that is too large to be read",
                cluster=self.cluster.alias,
                claimed_bytes=size,
                why=f"an answer claims {size} bytes; between 4 and {entry.frame_bytes_max} are accepted",
                next_step="check that bootstrap names a Kafka listener and that security.protocol matches it",
            )
            self._refuse(too_large.why)
            entry.on_answer(None, too_large)
            return None
        if not _PREFIX_BYTES <= size <= entry.frame_bytes_max:
            self._refuse(f"an answer claims {size} bytes; between 4 and {entry.frame_bytes_max} are accepted")
            return None
        frame = entry.frame or Frame(size)
        frame.reserve(size)
        return frame

    def _finish_frame(self, frame: Frame) -> None:
        self._frame = None
        entry = self._waiting.popleft()
        (correlation_id,) = _PREFIX.unpack_from(frame.buffer, 0)
        if correlation_id != entry.correlation_id:
            self._waiting.appendleft(entry)
            self._refuse(f"answer {correlation_id} came where {entry.correlation_id} was due")
            return
        self.seen.answered_at = self._loop.time()
        try:
            entry.on_answer(frame, None)
        except Exception as bug:  # noqa: BLE001 - whatever it is: what is read next would be taken for something else
            text = f"an answer of {self.node} to request {entry.api_key} met an error of this software"
            self._loop.call_exception_handler({"message": text, "exception": bug})
            self._lost(f"{text}: {bug!r}")

    async def prepare(self) -> None:
        """Agree on versions and log in; called once, before anything else.

        Raises:
            KafkaError: As `negotiate` and `authenticate`.
        """
        self.versions = await negotiate(self)
        if self.cluster.security.protocol.sasl:
            self._arm_reauthentication(await authenticate(self, self.cluster))

    def _arm_reauthentication(self, lifetime_seconds: float | None) -> None:
        if lifetime_seconds:
            share_of_lifetime = 0.8
            self._loop.call_later(lifetime_seconds * share_of_lifetime, self._start_reauthentication)

    def _start_reauthentication(self) -> None:
        if self.closed is None:
            task = self._loop.create_task(self._reauthenticate())
            task.add_done_callback(lambda done: done.cancelled() or done.exception())

    async def _reauthenticate(self) -> None:
        """Log in again on the live connection (KIP-368).

        Other requests wait meanwhile: a broker that is re-authenticating refuses them.
        """
        held: list[Callable[[], None]] = []
        self._held_back = held
        try:
            lifetime_seconds = await authenticate(self, self.cluster)
        except KafkaError as error:
            self.close(error)
            return
        self._held_back = None
        for send_again in held:
            send_again()
        self._arm_reauthentication(lifetime_seconds)


async def open_connection(cluster: ClusterSpec, host: str, port: int, *, node: str) -> Connection:
    """Connect, agree on versions, log in.

    Args:
        cluster: How to reach it.
        host: Address of the broker.
        port: Its port.
        node: What to call it in messages.

    Raises:
        KafkaError: ConnectionFailed, AuthenticationFailed or ProtocolError, with the reason.
    """
    seconds = min(cluster.request_timeout_seconds, _OPEN_SECONDS_MAX)
    stream = await open_stream(cluster, host, port, timeout_seconds=seconds)
    connection = Connection(cluster, stream, node)
    try:
        async with asyncio.timeout(seconds):
            await connection.prepare()
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
        # A TLS listener that hears plain bytes, and the other way round, ends the connection without a word.
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


def _drop_sent(views: list[Buffer], sent: int) -> list[Buffer]:
    """Return what is left of `views` after `sent` bytes."""
    for index, view in enumerate(views):
        if sent < len(view):
            return [memoryview(view)[sent:] if sent else view, *views[index + 1 :]]
        sent -= len(view)
    return []
