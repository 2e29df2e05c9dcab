"""Reads from one source broker: fetch sessions and long polls, one response processed while the next is in flight."""

from __future__ import annotations

from typing import TYPE_CHECKING

from replicator.engine.copy.partitions.partition import Slot
from replicator.engine.copy.reading.read_plan import ReadPlan, frame_payload_bytes
from replicator.engine.copy.reading.rewriting import BatchRewriter
from replicator.engine.copy.reading.taking import RequestedPartition, ResponseHandler
from replicator.engine.logs.link import Link
from replicator.errors import AnswerTooLarge, CorruptRecords, KafkaError
from replicator.model.status.states import Reason
from replicator.wire.cluster import Purpose
from replicator.wire.messages.data.fetch import ANSWER_BYTES_MAX, FetchSession, Wanted
from replicator.wire.protocol.faults import error_name
from replicator.wire.protocol.versions import FETCH

if TYPE_CHECKING:
    from replicator.core.copy.reading.pieces import Piece
    from replicator.engine.copy.context import CopyContext
    from replicator.engine.copy.ports import ReadSupervisor
    from replicator.model.names import TopicPartition
    from replicator.wire.frames import Frame
    from replicator.wire.transport.connection import Connection

_OVERSIZED_READS = 2
"""A partition stops after this many responses that are too large to be read, each to a request for it alone."""
_SESSION_ERRORS = frozenset({70, 71})

Accepted = list[tuple["Slot", list["Piece"]]]


class SourceReader:
    """The reading side for the partitions that one source broker leads.

    A fetch session reports a partition only when something about it changes. So each response also says about every
    other partition that the session listed when the request was sent: its end was then still the one last reported.

    It has more attributes than most classes: the state of one long poll (what was requested, when, on which connection,
    what the session lists) changes together, with each request and each response.

    Attributes:
        is_crowded: Whether the last response was too full to hold something of every partition.
    """

    def __init__(self, context: CopyContext, supervisor: ReadSupervisor, node: int) -> None:
        self.node = node
        self._context = context
        self._supervisor = supervisor
        self._link = Link(self._connect, self._opened, self._refused, self._rested, self.kick)
        self._session: FetchSession | None = None
        self._asked = False
        self._requests = 0
        self._asked_at = 0.0
        self._answered = (0, 0.0)
        self.is_crowded = False
        self._listed: dict[TopicPartition, int] = {}
        self._asked_of: dict[TopicPartition, RequestedPartition] = {}
        self._oversized: dict[Slot, int] = {}
        self._rewriter = BatchRewriter(context, supervisor)
        self._plan = ReadPlan(context, supervisor)
        self._handler = ResponseHandler(context, supervisor, self._plan, self._rewriter, self.kick)
        self._asked_on: Connection | None = None

    def add(self, slot: Slot) -> None:
        """Read this partition from now on."""
        self._plan.add(slot)
        self._listed.pop(slot.source, None)

    def remove(self, slot: Slot) -> None:
        """Stop reading it; a response that is still in flight is ignored."""
        self._plan.remove(slot)
        self._listed.pop(slot.source, None)
        self._asked_of.pop(slot.source, None)
        self._oversized.pop(slot, None)

    def recheck(self, slot: Slot) -> None:
        """Check with the next request whether to read this partition."""
        self._plan.recheck(slot.source)

    @property
    def slots(self) -> list[Slot]:
        """The partitions read here."""
        return list(self._plan.slots.values())

    def unchanged_at(self, slot: Slot) -> float | None:
        """Return when the source's end was certainly still the one last reported, as the session has been silent since.

        That is the time at which the last answered request was sent, provided that the partition was listed by then;
        the response may have arrived much later. None if the session proves nothing.
        """
        number, asked_at = self._answered
        listed = self._listed.get(slot.source)
        return asked_at if listed is not None and listed <= number and slot.source in self._plan.wanted else None

    def close(self) -> None:
        """Stop reading and drop the connection."""
        self._link.close()

    # -- asking -------------------------------------------------------------------------------------------------

    def kick(self) -> None:
        """Send the next fetch if there is something to read, a frame to read into, and no fetch in flight."""
        connection = None if self._asked or not self._plan.slots else self._link.get()
        if connection is None:
            self._context.line.leave(self)
            return
        frame = self._context.line.take(self)
        if frame is None:
            return
        try:
            asked = self._ask_for_something(connection, frame)
        except Exception as bug:  # noqa: BLE001 - a callback of the loop: nobody else would learn about it
            self._context.problems.bug_at_source(self.node, bug)
            asked = False
        if not asked:
            frame.release()

    def _ask_for_something(self, connection: Connection, frame: Frame) -> bool:
        """Send the next request; return whether there was one to send."""
        while (slot := self._plan.next_alone()) is not None:
            if self._ask_alone(connection, slot, frame):
                return True
        changed, gone = self._plan.changes()
        if self._plan.wanted:
            self._ask(connection, changed, gone, frame)
            return True
        # Nothing to read, so no poll. What the session has to forget is kept for the next request.
        self._plan.forget_later(*gone)
        return False

    def _ask(
        self,
        connection: Connection,
        changed: dict[TopicPartition, Wanted],
        gone: list[TopicPartition],
        frame: Frame,
    ) -> None:
        session = self._session
        if session is None:
            session = self._session = FetchSession(
                connection.versions.fetch, self._context.isolation, self._context.source.topic_ids
            )
        if not session.is_new and session.is_outdated(where.topic for where in changed):
            session.reset()
        if session.is_new:
            self._asked_of.clear()
        everything = self._plan.wanted if session.is_new else changed
        bytes_max = frame_payload_bytes(self._context.line.frames.frame_bytes)
        try:
            body = session.request_changes(
                everything, gone, wait_ms=self._context.line.poll_ms, bytes_min=1, bytes_max=bytes_max
            )
        except Exception:
            self._stop_who_cannot_be_asked_for(session, everything)
            # None of it was sent. The session continues with what it knows, so the next request has to carry it.
            self._plan.recheck(*changed)
            self._plan.forget_later(*gone)
            raise
        for where in gone:
            self._asked_of.pop(where, None)
        for where, wanted in everything.items():
            slot = self._plan.slots[where]
            self._asked_of[where] = RequestedPartition(slot, slot.copy.episode, wanted.leader_epoch)
        self._asked = True
        self._requests += 1
        self._asked_at = self._context.now()
        self._listed.update(dict.fromkeys(everything, self._requests))
        self._send(connection, body, session, self._asked_of, frame)

    def _stop_who_cannot_be_asked_for(self, session: FetchSession, wanted: dict[TopicPartition, Wanted]) -> None:
        """Stop the partitions for which no request can be built; the others go out with the next request."""
        for where, want in wanted.items():
            try:
                session.request_changes({where: want}, (), wait_ms=0, bytes_min=1, bytes_max=1)
            except Exception as bug:  # noqa: BLE001 - whatever its type: the request cannot be built
                self._supervisor.stop_over_bug(self._plan.slots[where], bug)

    def _ask_alone(self, connection: Connection, slot: Slot, frame: Frame) -> bool:
        """Fetch one partition without a session: the broker then returns at least one batch, however large."""
        known = self._context.source.cluster.leader(slot.source)
        if known is None:
            return False
        bytes_max = frame_payload_bytes(self._context.line.frames.frame_bytes)
        session = FetchSession(
            connection.versions.fetch,
            self._context.isolation,
            self._context.source.topic_ids,
            sessionless=True,
        )
        wanted = Wanted(slot.copy.reading.next_offset, known.epoch, slot.copy.reading.last_epoch, bytes_max)
        # Without a long poll: when many are fetched one after the other, most have nothing new.
        body = session.request({slot.source: wanted}, wait_ms=0, bytes_min=1, bytes_max=bytes_max)
        self._asked = True
        asked = {slot.source: RequestedPartition(slot, slot.copy.episode, known.epoch)}
        self._send(connection, body, session, asked, frame)
        return True

    def _send(
        self,
        connection: Connection,
        body: bytes,
        session: FetchSession,
        asked_of: dict[TopicPartition, RequestedPartition],
        frame: Frame,
    ) -> None:
        self._asked_on = connection
        connection.send(
            FETCH,
            connection.versions.fetch,
            [body],
            len(body),
            lambda answer, error: self._on_answer(frame, answer, error, session, asked_of),
            frame=frame,
            frame_bytes_max=ANSWER_BYTES_MAX,
        )

    def give_up_what_waits(self) -> None:
        """Drop a response that waits for a frame, when only a target broker that owes us responses could free one.

        Other partitions share this connection: the next request leaves out those that are written to that broker.
        """
        if self._asked_on is not None and self._asked_on.waits_for_room:
            self._drop_connection()

    async def _connect(self) -> Connection:
        return await self._context.source.cluster.connection(self.node, Purpose.FETCH)

    def _opened(self) -> None:
        self._session = None
        self.kick()

    def _refused(self, error: KafkaError) -> None:
        self._report(error)

    def _report(self, error: KafkaError) -> None:
        self._context.problems.source(self.node, error.with_next_step())
        self._supervisor.leaders_stale(target=False)

    def _rested(self) -> None:
        self._supervisor.leaders_stale(target=False)
        self.kick()

    # -- responses ----------------------------------------------------------------------------------------------

    def _on_answer(
        self,
        frame: Frame,
        answer: Frame | None,
        error: KafkaError | None,
        session: FetchSession,
        asked_of: dict[TopicPartition, RequestedPartition],
    ) -> None:
        self._asked = False
        self._rewriter.begin_answer()
        if answer is None:
            frame.release()
            if error is not None and not (self._asked_on is not None and self._asked_on.closed_by_us):
                self._report(error)
            if isinstance(error, AnswerTooLarge):
                self._find_oversized(error, session, asked_of)
            self._session = None
            self.kick()
            return
        try:
            accepted = self._take(frame, session, asked_of)
        except CorruptRecords as damage:
            self._refuse_frame(damage)
            frame.release()
            return
        except Exception as bug:  # noqa: BLE001 - a callback of the loop: nothing would be read any more
            self._context.problems.bug_at_source(self.node, bug)
            self._refuse_frame(CorruptRecords("a fetch response could not be processed", why=repr(bug)))
            frame.release()
            return
        # The next fetch leaves before this response is rewritten: the broker prepares its own meanwhile.
        self.kick()
        for slot, pieces in accepted:
            try:
                self._rewriter.carry_out(slot, pieces, frame)
            except Exception as bug:  # noqa: BLE001 - one partition stops, the others of the response continue
                self._supervisor.stop_over_bug(slot, bug)
        frame.release()
        if not self._asked:
            self.kick()
        self._context.line.kick()
        self._supervisor.wake_writers()

    def _find_oversized(
        self, error: AnswerTooLarge, session: FetchSession, asked_of: dict[TopicPartition, RequestedPartition]
    ) -> None:
        """Find the partition whose next batch makes any response too large to be read: only that partition stops.

        A broker returns at least one whole batch, however large (KIP-74), and the connection has to be dropped over it.
        So each partition of the request is now fetched alone.
        """
        self._link.drop()  # with a pause before the next connection, longer each time
        slots = [asked.slot for asked in asked_of.values() if self._plan.reads(asked.slot)]
        if session is self._session:
            self._plan.ask_alone(*slots)
            return
        for slot in slots:
            reads = self._oversized[slot] = self._oversized.get(slot, 0) + 1
            if reads < _OVERSIZED_READS:
                self._plan.ask_alone(slot)
                continue
            slot.blocking_batch.too_large = None  # its end offset was not read
            self._supervisor.ended(
                slot,
                slot.copy.fault(
                    Reason.BATCH_TOO_LARGE,
                    f"the source's batch at offset {slot.copy.reading.next_offset}, or right after it, comes in a "
                    f"response of {error.claimed_bytes} bytes; at most {ANSWER_BYTES_MAX} are read. Have its records "
                    "written again in smaller batches; the copy continues once the log starts after it (retention, "
                    "DeleteRecords)",
                ),
            )

    def _take(
        self, frame: Frame, session: FetchSession, asked_of: dict[TopicPartition, RequestedPartition]
    ) -> Accepted:
        code, partitions = session.answer(frame.buffer, frame.size)
        self.is_crowded = frame.size > self._context.line.frames.frame_bytes // 2
        if code:
            session.reset()
            if code not in _SESSION_ERRORS:
                self._context.problems.source(self.node, error_name(code))
                self._drop_connection()
            return []
        self._context.problems.source_works(self.node)
        self._link.works()
        accepted: Accepted = []
        alone = session is not self._session
        for fetched in partitions:
            where = fetched.where
            asked = asked_of.get(where)
            # Compared by identity: a successor of the same name may be in an episode of the same number.
            if asked is None or not self._plan.reads(asked.slot) or not asked.is_present:
                continue
            slot = asked.slot
            if alone:
                self._oversized.pop(slot, None)
            try:
                pieces = self._handler.take(asked, fetched, frame, self._asked_at, alone=alone)
            except Exception as bug:  # noqa: BLE001 - one partition stops, the others of the response continue
                self._supervisor.stop_over_bug(slot, bug)
                continue
            if pieces:
                accepted.append((slot, pieces))
            if fetched.start != fetched.end:
                self._plan.recheck(where)
        # Only now, because for a partition that stopped with this response, the response is no proof that nothing has
        # changed. Neither is a response that is empty because of a quota (KIP-219).
        if not alone and not session.throttled:
            self._answered = (self._requests, self._asked_at)
        return accepted

    def _drop_connection(self) -> None:
        """Start over with a new connection, after a pause."""
        self._session = None
        self._link.drop()

    def _refuse_frame(self, damage: CorruptRecords) -> None:
        self._drop_connection()
        self._context.problems.source(self.node, str(damage))
        for slot in self.slots:
            self._supervisor.ended(slot, slot.copy.settle(str(damage)))
