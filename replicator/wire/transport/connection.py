"""One connection to one broker: pipelined requests, responses in order, bounded frames, deadlines.

There are two ways to send a request.
`call` sends a typed control message and awaits its typed response.
`send` is for the data path: the caller brings the encoded body as buffer views and a callback that gets the frame,
so a fetch or produce costs no task, no future and no copy.
"""

from __future__ import annotations

import asyncio
import io
import struct
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from kio.serial import entity_writer

from replicator.core.status.observations import BrokerSeen
from replicator.errors import AnswerTooLarge, ConnectionFailed, CorruptRecords, KafkaError, ProtocolError
from replicator.wire.frames import Frame, request_head, request_head_v1
from replicator.wire.protocol import decode
from replicator.wire.protocol.limits import limit_of
from replicator.wire.protocol.versions import FETCH, ApiVersions
from replicator.wire.transport.gate import Gate
from replicator.wire.transport.incoming import Incoming, TooLarge, Unexpected
from replicator.wire.transport.outgoing import Outgoing
from replicator.wire.transport.unanswered import Unanswered

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from kio.static.protocol import Entity

    from replicator.model.security import ClusterSpec
    from replicator.wire.transport.stream import Buffer, Stream
    from replicator.wire.transport.unanswered import Waiting

_CLIENT_ID = b"replicator"
_DEADLINE_CHECK_SECONDS = 1.0
THROTTLE_SECONDS_MAX = 60.0
"""The longest pause that a broker may ask for; Kafka's own bound, the window of its quotas, is 11 s by default."""
_THROTTLE_OF_FETCH = struct.Struct(">xxxx?i")
"""Correlation id, whether there are tags, throttle time."""
_HEAD_V1_APIS = frozenset({17})
"""SaslHandshake never became flexible."""
_NEXT_STEP = "check that bootstrap names a Kafka listener and that security.protocol matches it"

R = TypeVar("R", bound="Entity")


class Connection:
    """A connection, open from `open_connection` until `close` or the first fault.

    After a fault, every waiting callback has been called with the error, and `closed` holds it.
    A frame passed to `send` still belongs to the caller if the callback gets an error.

    Attributes:
        seen: Notes each response and the fault; whoever opens the connection replaces it by the broker's own.
        opened_at: When the connection was made, by the loop's clock in seconds.
        closed_by_us: Whether it was closed without a fault.
    """

    def __init__(self, cluster: ClusterSpec, stream: Stream, node: str) -> None:
        self.cluster = cluster
        self.node = node
        self.closed: KafkaError | None = None
        self.versions = ApiVersions({})
        self.seen = BrokerSeen()
        self._stream = stream
        self._loop = asyncio.get_running_loop()
        self.opened_at = self._loop.time()
        self.closed_by_us = False
        self._gate = Gate(self._loop)
        self._unanswered = Unanswered()
        self._outgoing = Outgoing(self._loop, stream)
        self._incoming = Incoming(stream, self._unanswered.waiting)
        self._timer: asyncio.TimerHandle | None = None
        self._when_closed: list[Callable[[], None]] = []
        self._loop.add_reader(stream.fileno(), self._on_readable)

    @property
    def in_flight(self) -> int:
        """Requests without a response."""
        return len(self._unanswered.waiting)

    @property
    def holds_back(self) -> bool:
        """Whether requests wait here: while the login is renewed, and for as long as the broker asked (a quota)."""
        return self._gate.is_shut

    @property
    def waits_for_room(self) -> bool:
        """Whether reading of a response stopped because its frame has to grow and its pool has no room now."""
        return self._incoming.waits_for_room

    def when_free(self, then: Callable[[], None]) -> None:
        """Call `then` once, as soon as requests no longer have to wait here, or the connection is closed."""
        self._gate.when_free(then)

    def when_closed(self, then: Callable[[], None]) -> None:
        """Call `then` once the connection is closed; at once if it already is."""
        if self.closed is None:
            self._when_closed.append(then)
        else:
            then()

    def send(
        self,
        api_key: int,
        version: int,
        body: Sequence[Buffer],
        body_bytes: int,
        on_answer: Callable[[Frame | None, KafkaError | None], None],
        *,
        frame: Frame | None = None,
        frame_bytes_max: int | None = None,
        urgent: bool = False,
    ) -> None:
        """Send one request; its response, or an error, goes to `on_answer` exactly once.

        Args:
            api_key: The request's API key.
            version: Its version; header v2 is used.
            body: The encoded body as views, sent in order and not copied; do not touch them until the response.
            body_bytes: Their total size.
            on_answer: Called as ``on_answer(frame, None)`` or ``on_answer(None, error)``.
                The response starts after the 4 bytes of the correlation id, with the header's tag buffer.
            frame: Where to read the response; without one, a fresh buffer.
            frame_bytes_max: Largest response accepted; by default the limit of the request in `limits`.
            urgent: Not held back: part of a login.
        """
        if self.closed is not None:
            on_answer(None, self.closed.again())
            return
        if self._gate.is_shut and not urgent:
            again = partial(self.send, api_key, version, body, body_bytes, on_answer)
            self._gate.hold(partial(again, frame=frame, frame_bytes_max=frame_bytes_max))
            return
        due = self._loop.time() + self.cluster.request_timeout_seconds
        bytes_max = limit_of(api_key).answer_bytes_max if frame_bytes_max is None else frame_bytes_max
        correlation_id = self._unanswered.add(api_key, frame, bytes_max, on_answer, due)
        make_head = request_head_v1 if api_key in _HEAD_V1_APIS else request_head
        head = make_head(api_key, version, correlation_id, _CLIENT_ID, body_bytes)
        if self._timer is None:
            self._timer = self._loop.call_later(_DEADLINE_CHECK_SECONDS, self._check_deadline)
        try:
            self._outgoing.send([head, *body], len(head) + body_bytes, self._flush)
        except OSError as error:
            self._lost(error.strerror or str(error))

    def ask(
        self,
        api_key: int,
        version: int,
        body: Sequence[Buffer],
        body_bytes: int,
        *,
        urgent: bool = False,
        frame: Frame | None = None,
        frame_bytes_max: int | None = None,
    ) -> asyncio.Future[Frame]:
        """Send one encoded request at once, as `send` does; the future gets the response, or the KafkaError."""
        done: asyncio.Future[Frame] = self._loop.create_future()

        def on_answer(answer: Frame | None, error: KafkaError | None) -> None:
            if done.done():
                return
            if answer is not None:
                done.set_result(answer)
            else:
                done.set_exception(error or ConnectionFailed("no answer", cluster=self.cluster.alias))

        self.send(
            api_key, version, body, body_bytes, on_answer, urgent=urgent, frame=frame, frame_bytes_max=frame_bytes_max
        )
        return done

    async def call(
        self, request: Entity, answer: type[R], *, urgent: bool = False, keep: decode.Keep = decode.KEEP_ALL
    ) -> R:
        """Send a control message and return its decoded response, whose lists have only the elements to `keep`.

        Raises:
            KafkaError: The connection failed, timed out or sent bytes that are not such a response.
        """
        kind = type(request)
        body = io.BytesIO()
        entity_writer(kind)(body, request)
        payload = body.getvalue()
        api_key = int(kind.__api_key__)  # type: ignore[attr-defined] # only requests and answers have one
        frame = await self.ask(api_key, int(kind.__version__), [payload], len(payload), urgent=urgent)
        return await self.decode(frame, answer, keep)

    async def decode(self, frame: Frame, answer: type[R], keep: decode.Keep = decode.KEEP_ALL) -> R:
        """Return the typed response in a frame from `ask`; a large one is read in pieces, so other tasks get a turn.

        Raises:
            ProtocolError: It holds no such response.
        """
        reading = decode.pieces(frame.view[: frame.size], answer, keep)
        while True:
            try:
                next(reading)
            except StopIteration as done:
                entity: R = done.value
                break
            except CorruptRecords as error:
                raise ProtocolError(
                    f"{self.node} of cluster {self.cluster.alias!r} sent an answer that is not {answer.__name__}",
                    cluster=self.cluster.alias,
                    why=str(error),
                    next_step="check that the address is a Kafka listener of a supported version (2.8 or newer)",
                ) from error
            await asyncio.sleep(0)
        throttle_time = getattr(entity, "throttle_time", None)
        if throttle_time is not None:
            self.throttle(throttle_time.total_seconds())
        return entity

    def throttle(self, seconds: float) -> None:
        """Send nothing for as long as a response asked: until then its broker reads nothing from here (KIP-219).

        Nor does it respond sooner to what was already sent, so those deadlines move as well.
        """
        now = self._loop.time()
        until = now + min(seconds, THROTTLE_SECONDS_MAX)
        shut_until = max(now, self._gate.shut_until)
        if self.closed is not None or until <= shut_until:
            return
        self._unanswered.extend(until - shut_until)
        self._gate.pause_until(until)
        self.seen.throttled(now, until)

    def begin_login(self) -> None:
        """Hold back every request that is not part of a login, until `logged_in`."""
        self._gate.begin_login()

    def logged_in(self) -> None:
        """Continue after `begin_login`."""
        self._gate.end_login()

    def close(self, error: KafkaError | None = None) -> None:
        """Close, and notify every waiting caller; safe to call twice."""
        if self.closed is not None:
            return
        self.closed_by_us = error is None
        self.closed = error or ConnectionFailed(
            f"the connection to {self.node} was closed", cluster=self.cluster.alias, why="closed by us"
        )
        if error is not None:
            self.seen.failed(self._loop.time(), error.with_next_step())
        self._loop.remove_reader(self._stream.fileno())
        self._outgoing.close()
        self._incoming.close()
        self._stream.close()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for entry in self._unanswered.take_all():
            entry.on_answer(None, self.closed.again())
        self._gate.open_for_good()
        when_closed, self._when_closed = self._when_closed, []
        for then in when_closed:
            then()

    def _check_deadline(self) -> None:
        self._timer = None
        if not self._unanswered.waiting:
            return
        if not self._unanswered.is_late(self._loop.time()):
            self._timer = self._loop.call_later(_DEADLINE_CHECK_SECONDS, self._check_deadline)
            return
        api, seconds = limit_of(self._unanswered.waiting[0].api_key).api, self.cluster.request_timeout_seconds
        self.close(
            ConnectionFailed(
                f"{self.node} of cluster {self.cluster.alias!r} did not answer in time",
                cluster=self.cluster.alias,
                why=f"{api} had no answer within {seconds:g} s",
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
                next_step=_NEXT_STEP,
            )
        )

    def _refuse_large(self, found: TooLarge) -> None:
        entry = self._unanswered.waiting.popleft()  # the others only lose their connection
        self._refuse(found.why)
        error = AnswerTooLarge(
            f"{self.node} of cluster {self.cluster.alias!r} sent an answer that is too large to read",
            cluster=self.cluster.alias,
            claimed_bytes=found.claimed_bytes,
            why=found.why,
            next_step=_NEXT_STEP,
        )
        entry.on_answer(None, error)

    def _flush(self) -> None:
        try:
            self._outgoing.flush()
        except OSError as error:
            self._lost(error.strerror or str(error))

    def _on_readable(self) -> None:
        try:
            may_hold_more = self._incoming.read(self._take, self._when_room)
        except BlockingIOError:
            return
        except OSError as error:
            self._lost(error.strerror or str(error))
        except MemoryError:
            self._lost("there is no memory for an answer")
        except TooLarge as found:
            self._refuse_large(found)
        except Unexpected as found:
            self._refuse(found.why)
        else:
            if self._incoming.waits_for_room:
                self._loop.remove_reader(self._stream.fileno())
                self._unanswered.stop_clock(self._loop.time())
            elif may_hold_more:
                self._loop.call_soon(self._on_readable)

    def _when_room(self) -> None:
        """Continue soon; called for a frame that waits to grow, by whoever returned room."""
        self._loop.call_soon(self._read_on)

    def _read_on(self) -> None:
        """Continue with a response that waited for room."""
        if self.closed is not None or not self._incoming.waits_for_room:
            return
        self._incoming.waits_for_room = False
        self._unanswered.start_clock(self._loop.time())
        self._loop.add_reader(self._stream.fileno(), self._on_readable)
        self._on_readable()

    def _take(self, entry: Waiting, frame: Frame) -> None:
        """Hand out a response."""
        self.seen.answered_at = self._loop.time()
        if entry.api_key == FETCH:
            self._throttle_of_fetch(frame)
        try:
            entry.on_answer(frame, None)
        except Exception as bug:  # noqa: BLE001 - any kind: what is read next would be taken for something else
            text = f"the handling of an answer of {self.node} to request {entry.api_key} failed: a bug in this software"
            self._loop.call_exception_handler({"message": text, "exception": bug})
            self._lost(f"{text}: {bug!r}")

    def _throttle_of_fetch(self, frame: Frame) -> None:
        """Apply the pause that a fetch response asks for, before its callback sends the next fetch."""
        if frame.size >= _THROTTLE_OF_FETCH.size:
            has_tags, milliseconds = _THROTTLE_OF_FETCH.unpack_from(frame.buffer)
            if not has_tags:
                self.throttle(milliseconds / 1000)
