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

from kio.serial import entity_writer

from replicator.core.status.observations import BrokerSeen
from replicator.errors import AnswerTooLarge, ConnectionFailed, CorruptRecords, KafkaError, ProtocolError
from replicator.wire import decode
from replicator.wire.frames import Frame, request_head, request_head_v1
from replicator.wire.limits import limit_of
from replicator.wire.versions import FETCH, ApiVersions

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from kio.static.protocol import Entity

    from replicator.model.security import ClusterSpec
    from replicator.wire.stream import Buffer, Stream

_CLIENT_ID = b"replicator"
_READS_PER_WAKE_MAX = 16
_DEADLINE_CHECK_SECONDS = 1.0
_PULL_BYTES = 1 << 20
"""While a large answer arrives, wake only for this much (where the transport can)."""
THROTTLE_SECONDS_MAX = 60.0
"""The longest pause that a broker may ask for; Kafka's own bound, the window of its quotas, is 11 s by default."""
_PREFIX = struct.Struct(">i")
_PREFIX_BYTES = 4
_STAGE_BYTES = 32 << 10
_FETCH_HEAD_BYTES = 4 + 1 + 4
"""Correlation id, no tags, throttle time."""
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
        opened_at: When it was made, by the loop's clock.
        closed_at: When it was closed.
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
        self.opened_at = self.closed_at = self._loop.time()
        self.closed_by_us = False
        self._correlation = itertools.count(1)
        self._waiting: deque[_Waiting] = deque()
        self._outgoing: deque[tuple[list[Buffer], int]] = deque()
        self._writer_armed = False
        self._logging_in = False
        self._held: list[Callable[[], None]] = []
        self._when_free: dict[Callable[[], None], None] = {}
        self._when_closed: list[Callable[[], None]] = []
        self._throttled_until = 0.0
        self._throttled_seconds = 0.0
        self._throttle_over: asyncio.TimerHandle | None = None
        self._stage = memoryview(bytearray(_STAGE_BYTES))
        self._staged = 0
        self._frame: Frame | None = None
        self._frame_got = 0
        self._no_room_since: float | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._loop.add_reader(stream.fileno(), self._on_readable)

    @property
    def in_flight(self) -> int:
        """Requests without an answer."""
        return len(self._waiting)

    @property
    def holds_back(self) -> bool:
        """Whether requests wait here: while the login is renewed, and for as long as the broker asked (a quota)."""
        return self._logging_in or self._throttle_over is not None

    @property
    def waits_for_room(self) -> bool:
        """Whether an answer is not read on because its frame has to grow, and its pool has no room now."""
        return self._no_room_since is not None

    def when_free(self, then: Callable[[], None]) -> None:
        """Call `then` once, as soon as requests need not wait here any more, or the connection is closed."""
        self._when_free[then] = None

    def when_closed(self, then: Callable[[], None]) -> None:
        """Call `then` when the connection is closed."""
        self._when_closed.append(then)

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
        """Send one request; its answer, or an error, goes to `on_answer` exactly once.

        Args:
            api_key: Kafka's number of the request.
            version: Its version; header v2 is used.
            body: The encoded body as views, sent in order and not copied; leave them alone until the answer.
            body_bytes: Their total size.
            on_answer: Called as ``on_answer(frame, None)`` or ``on_answer(None, error)``.
                The answer starts after the 4 bytes of correlation id, with the header's tag buffer.
            frame: Where to read the answer; without one, a fresh buffer.
            frame_bytes_max: Largest answer accepted; by default what `limits` says of the request.
            urgent: Not held back: part of a login.
        """
        if self.closed is not None:
            on_answer(None, self.closed.again())
            return
        if self.holds_back and not urgent:
            self._held.append(
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
        deadline = self._unthrottled() + self.cluster.request_timeout_seconds
        bytes_max = limit_of(api_key).answer_bytes_max if frame_bytes_max is None else frame_bytes_max
        self._waiting.append(_Waiting(correlation_id, deadline, api_key, frame, bytes_max, on_answer))
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
        frame: Frame | None = None,
        frame_bytes_max: int | None = None,
    ) -> asyncio.Future[Frame]:
        """Send one encoded request at once, as `send` does; the future brings its answer, or the KafkaError."""
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
        """Send a control message and return its decoded answer, of its lists what is to be kept.

        Raises:
            KafkaError: The connection failed, timed out or sent bytes that are no such answer.
        """
        kind = type(request)
        body = io.BytesIO()
        entity_writer(kind)(body, request)
        payload = body.getvalue()
        api_key = int(kind.__api_key__)  # type: ignore[attr-defined] # only requests and answers have one
        frame = await self.ask(api_key, int(kind.__version__), [payload], len(payload), urgent=urgent)
        return await self.decode(frame, answer, keep)

    async def decode(self, frame: Frame, answer: type[R], keep: decode.Keep = decode.KEEP_ALL) -> R:
        """Return the typed answer in a frame that `ask` gave; a large one is read in pieces, others run in between.

        Raises:
            ProtocolError: It holds no such answer.
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
        """Send nothing for as long as an answer asked: its broker reads nothing from here before (KIP-219).

        Neither is what was sent already answered sooner, so its deadline moves.
        """
        now = self._loop.time()
        until = now + min(seconds, THROTTLE_SECONDS_MAX)
        if self.closed is not None or seconds <= 0 or until <= self._throttled_until:
            return
        self._throttled_seconds += until - max(now, self._throttled_until)
        self._throttled_until = until
        self.seen.throttled(now, until)
        if self._throttle_over is not None:
            self._throttle_over.cancel()
        self._throttle_over = self._loop.call_at(until, self._end_throttle)

    def _end_throttle(self) -> None:
        self._throttle_over = None
        self._go_on()

    def log_in_anew(self) -> None:
        """Hold back what is not part of a login, until `logged_in`."""
        self._logging_in = True

    def logged_in(self) -> None:
        """Go on after `log_in_anew`."""
        self._logging_in = False
        self._go_on()

    def _go_on(self) -> None:
        """Send what was held back, unless it has to wait for something else."""
        if self.holds_back and self.closed is None:
            return
        held, self._held = self._held, []
        for send_again in held:
            send_again()
        waiting, self._when_free = self._when_free, {}
        for then in waiting:
            then()

    def _unthrottled(self) -> float:
        """Return the time by a clock that stands while the broker reads nothing, or we have no room to."""
        return self._loop.time() - self._throttled_seconds

    def close(self, error: KafkaError | None = None) -> None:
        """Close, and tell every waiting caller; safe to call twice."""
        if self.closed is not None:
            return
        self.closed_by_us = error is None
        self.closed_at = self._loop.time()
        self.closed = error or ConnectionFailed(
            f"the connection to {self.node} was closed", cluster=self.cluster.alias, why="closed by us"
        )
        if error is not None:
            self.seen.failed(self._loop.time(), error.with_next_step())
        self._loop.remove_reader(self._stream.fileno())
        if self._writer_armed:
            self._loop.remove_writer(self._stream.fileno())
        self._stream.close()
        for timer in (self._timer, self._throttle_over):
            if timer is not None:
                timer.cancel()
        self._timer = self._throttle_over = None
        self._outgoing.clear()
        self._frame = None  # what is cut off may be large, and whoever holds the connection still would keep it
        waiting, self._waiting = self._waiting, deque()
        for entry in waiting:
            entry.on_answer(None, self.closed.again())
        self._go_on()
        when_closed, self._when_closed = self._when_closed, []
        for then in when_closed:
            then()

    def _check_deadline(self) -> None:
        self._timer = None
        if not self._waiting:
            return
        first = self._waiting[0]
        if self._no_room_since is not None or self._unthrottled() < first.deadline:
            self._timer = self._loop.call_later(_DEADLINE_CHECK_SECONDS, self._check_deadline)
            return
        self.close(
            ConnectionFailed(
                f"{self.node} of cluster {self.cluster.alias!r} did not answer in time",
                cluster=self.cluster.alias,
                why=f"{limit_of(first.api_key).api} had no answer within {self.cluster.request_timeout_seconds:g} s",
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
        if self._no_room_since is not None:
            return
        try:
            for _ in range(_READS_PER_WAKE_MAX):
                if self.closed is not None or not self._read_once():
                    return
        except BlockingIOError:
            return
        except OSError as error:
            self._lost(error.strerror or str(error))
            return
        except MemoryError:
            self._lost("no memory is left for an answer")
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
            return self._no_room_since is None and self._stream.may_hold_more()
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
            frame = self._begin_frame(size, start + _PREFIX_BYTES)
            if frame is None:
                break
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

    def _begin_frame(self, size: int, at: int) -> Frame | None:
        """Return where an answer is read to whose bytes begin at a place in the stage; None if it is refused."""
        if not self._waiting:
            self._refuse("an answer came without a request")
            return None
        entry = self._waiting[0]
        if not _PREFIX_BYTES <= size <= entry.frame_bytes_max:
            self._refuse_size(entry, size, self._stage[at : min(at + _PREFIX_BYTES, self._staged)])
            return None
        if entry.frame is None:
            return Frame.of_answer(size)
        if entry.frame.reserve(size, lambda: self._loop.call_soon(self._read_on)):
            return entry.frame
        if self._no_room_since is None:
            self._no_room_since = self._loop.time()
            self._loop.remove_reader(self._stream.fileno())
        return None

    def _read_on(self) -> None:
        """Go on with an answer that waited for room."""
        if self.closed is not None or self._no_room_since is None:
            return
        self._throttled_seconds += self._loop.time() - self._no_room_since
        self._no_room_since = None
        self._loop.add_reader(self._stream.fileno(), self._on_readable)
        try:
            self._unpack_stage()
        except MemoryError:
            self._lost("no memory is left for an answer")
            return
        if self._no_room_since is None:
            self._on_readable()

    def _refuse_size(self, entry: _Waiting, size: int, correlation: memoryview) -> None:
        api, most = limit_of(entry.api_key).api, entry.frame_bytes_max
        why = f"an answer to {api} claims {size} bytes; between {_PREFIX_BYTES} and {most} are accepted"
        # Words of another protocol are no size of anything: a partition would stop over a batch that there is not.
        if size < _PREFIX_BYTES or correlation != _PREFIX.pack(entry.correlation_id):
            self._refuse(why)
            return
        self._waiting.popleft()  # the others only lose their connection
        too_large = AnswerTooLarge(
            f"{self.node} of cluster {self.cluster.alias!r} sent an answer that is too large to be read",
            cluster=self.cluster.alias,
            claimed_bytes=size,
            why=why,
            next_step="check that bootstrap names a Kafka listener and that security.protocol matches it",
        )
        self._refuse(why)
        entry.on_answer(None, too_large)

    def _finish_frame(self, frame: Frame) -> None:
        self._frame = None
        entry = self._waiting.popleft()
        (correlation_id,) = _PREFIX.unpack_from(frame.buffer, 0)
        if correlation_id != entry.correlation_id:
            self._waiting.appendleft(entry)
            self._refuse(f"answer {correlation_id} came where {entry.correlation_id} was due")
            return
        self.seen.answered_at = self._loop.time()
        if entry.api_key == FETCH:
            self._throttle_of_fetch(frame)
        try:
            entry.on_answer(frame, None)
        except Exception as bug:  # noqa: BLE001 - whatever it is: what is read next would be taken for something else
            text = f"an answer of {self.node} to request {entry.api_key} met an error of this software"
            self._loop.call_exception_handler({"message": text, "exception": bug})
            self._lost(f"{text}: {bug!r}")

    def _throttle_of_fetch(self, frame: Frame) -> None:
        """Take how long a fetch answer asks to wait, before its callback sends the next one."""
        if frame.size >= _FETCH_HEAD_BYTES and not frame.buffer[_PREFIX_BYTES]:
            (milliseconds,) = _PREFIX.unpack_from(frame.buffer, _PREFIX_BYTES + 1)
            self.throttle(milliseconds / 1000)


def _drop_sent(views: list[Buffer], sent: int) -> list[Buffer]:
    """Return what is left of `views` after `sent` bytes."""
    for index, view in enumerate(views):
        if sent < len(view):
            return [memoryview(view)[sent:] if sent else view, *views[index + 1 :]]
        sent -= len(view)
    return []
