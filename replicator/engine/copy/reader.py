"""Reads one source broker: fetch sessions, long polls, one answer in work while the next is on its way."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, NamedTuple

from replicator.core.copy.answers import FetchOutcome, classify_fetch
from replicator.core.copy.doubt import Edges
from replicator.engine.copy.partition import Slot
from replicator.engine.copy.rewriting import Carrier, opened_at_once
from replicator.engine.copy.waiting import waits_for
from replicator.engine.logs.link import Link
from replicator.engine.logs.refusals import told
from replicator.errors import AnswerTooLarge, BugError, CorruptRecords, KafkaError, ReplicatorError, TooLargeToOpen
from replicator.model.batch import LENGTH_PREFIX_BYTES, MAGIC_V2
from replicator.model.states import Reason
from replicator.wire.batch import prove, scan
from replicator.wire.cluster import Purpose
from replicator.wire.faults import error_name
from replicator.wire.fetch import ANSWER_BYTES_MAX, Fetched, FetchSession, Wanted
from replicator.wire.versions import FETCH

if TYPE_CHECKING:
    from replicator.core.copy.pieces import Piece
    from replicator.engine.copy.context import CopyContext
    from replicator.engine.copy.ports import ReadSupervisor
    from replicator.engine.state.ownership.origins import Origins
    from replicator.model.batch import BatchHeader
    from replicator.model.names import TopicPartition
    from replicator.wire.connection import Connection
    from replicator.wire.frames import Frame
    from replicator.wire.recode import RawRecord

_PARTITION_BYTES_MAX = 2 << 20
_PARTITION_BYTES_MIN = 128 << 10
_OVERSIZED_LOOKS = 2
"""Answers too large to be read, each to a request for one partition alone, before that partition stops."""
_SESSION_ERRORS = frozenset({70, 71})

_PREFIX = struct.Struct(">qi")

Accepted = list[tuple["Slot", list["Piece"]]]


class Asked(NamedTuple):
    """What the session was told to read of a partition: for which object, in which of its episodes, of which leader.

    An answer belongs to that object. A successor of the same name may be in an episode of the same number.
    """

    slot: Slot
    episode: int
    leader_epoch: int

    @property
    def is_present(self) -> bool:
        """Whether the partition is still in that episode."""
        return self.slot.copy.episode == self.episode


class _Offered(NamedTuple):
    """What an answer holds of one partition."""

    asked: Asked
    headers: list[BatchHeader]
    fetched: Fetched
    frame: Frame


class SourceReader:
    """The reading side for the partitions that one source broker leads.

    A fetch session tells of a partition only when something of it changes. So each answer also says of all others
    that were listed in the session when it was asked for: they ended then where they were last told to end.

    Attributes:
        is_crowded: Whether the last answer was too full to hold something of every partition.
    """

    def __init__(self, context: CopyContext, supervisor: ReadSupervisor, node: int) -> None:
        self.node = node
        self._context = context
        self._supervisor = supervisor
        self._slots: dict[TopicPartition, Slot] = {}
        self._link = Link(self._connect, self._opened, self._refused, self._rested, self.kick)
        self._session: FetchSession | None = None
        self._asked = False
        self._requests = 0
        self._asked_at = 0.0
        self._answered = (0, 0.0)
        self.is_crowded = False
        self._listed: dict[TopicPartition, int] = {}
        self._wanted: dict[TopicPartition, Wanted] = {}
        self._look_at: dict[TopicPartition, None] = {}
        self._asked_of: dict[TopicPartition, Asked] = {}
        self._asking_whose: set[Slot] = set()
        self._bytes_needed: dict[Slot, int] = {}
        self._alone: dict[Slot, None] = {}
        self._oversized: dict[Slot, int] = {}
        self._opening: set[Slot] = set()
        self._wait_to_open: set[Slot] = set()
        self._carrier = Carrier(context, supervisor)
        self._asked_on: Connection | None = None

    def add(self, slot: Slot) -> None:
        """Read this partition from now on."""
        self._slots[slot.source] = slot
        self._listed.pop(slot.source, None)
        self._look_at[slot.source] = None

    def remove(self, slot: Slot) -> None:
        """Stop reading it; an answer on its way is ignored."""
        self._slots.pop(slot.source, None)
        self._listed.pop(slot.source, None)
        self._asked_of.pop(slot.source, None)
        self._bytes_needed.pop(slot, None)
        self._alone.pop(slot, None)
        self._oversized.pop(slot, None)
        self._wait_to_open.discard(slot)
        self._look_at[slot.source] = None

    def look_at(self, slot: Slot) -> None:
        """See with the next request whether this partition is still to be read."""
        self._look_at[slot.source] = None

    @property
    def slots(self) -> list[Slot]:
        """The partitions read here."""
        return list(self._slots.values())

    def unchanged_at(self, slot: Slot) -> float | None:
        """Return when the source surely ended where it was last told to end, as the session said nothing since.

        That is when the last answered request was sent, if the partition was listed by then: an answer may be heard
        late. None where the session proves nothing.
        """
        number, asked_at = self._answered
        listed = self._listed.get(slot.source)
        return asked_at if listed is not None and listed <= number and slot.source in self._wanted else None

    def close(self) -> None:
        """Stop."""
        self._link.close()

    # -- asking -------------------------------------------------------------------------------------------------

    def kick(self) -> None:
        """Send the next fetch if there is something to read, a frame to read into, and none on its way."""
        connection = None if self._asked or not self._slots else self._link.get()
        if connection is None:
            self._context.line.leave(self)
            return
        frame = self._context.line.take(self)
        if frame is None:
            return
        try:
            asked = self._ask_for_something(connection, frame)
        except Exception as bug:  # noqa: BLE001 - a callback of the loop: nobody else would hear of it
            self._context.problems.bug_at_source(self.node, bug)
            asked = False
        if not asked:
            frame.release()

    def _ask_for_something(self, connection: Connection, frame: Frame) -> bool:
        """Send the next request; return whether there was one to send."""
        while self._alone:
            slot = next(iter(self._alone))
            del self._alone[slot]
            if self._supervisor.wants_more(slot) and self._may_be_read(slot):
                return self._ask_alone(connection, slot, frame)
        changed, gone = self._changes()
        if self._wanted:
            self._ask(connection, changed, gone, frame)
            return True
        # Nothing to read: no poll for nothing. What has to be forgotten is remembered until the next request.
        self._look_at.update(dict.fromkeys(gone))
        return False

    def _changes(self) -> tuple[dict[TopicPartition, Wanted], list[TopicPartition]]:
        """Bring `_wanted` up to date; return what changed and what went since the last request.

        Only partitions that something happened to are looked at: a thousand idle ones cost nothing here.
        """
        leader = self._context.source.cluster.leader
        share = frame_payload_bytes(self._context.line.frames.frame_bytes) // len(self._slots)
        bytes_max = max(_PARTITION_BYTES_MIN, min(_PARTITION_BYTES_MAX, share))
        changed: dict[TopicPartition, Wanted] = {}
        gone: list[TopicPartition] = []
        blocked: dict[TopicPartition, None] = {}
        for where in self._look_at:
            slot = self._slots.get(where)
            wants = slot is not None and self._supervisor.wants_more(slot) and self._may_be_read(slot)
            known = leader(where) if wants else None
            if slot is None or known is None:
                if self._wanted.pop(where, None) is not None or slot is None:
                    gone.append(where)
                if slot is not None:
                    blocked[where] = None  # looked at again with every request, until it wants more
                continue
            reading = slot.copy.reading
            share_bytes = max(bytes_max, self._bytes_needed.get(slot, 0))
            changed[where] = self._wanted[where] = Wanted(
                reading.next_offset, known.epoch, reading.last_epoch, share_bytes
            )
        self._look_at = blocked
        return changed, gone

    def _may_be_read(self, slot: Slot) -> bool:
        """Return whether nothing has to be found out, or done, about what was read last."""
        if slot in self._asking_whose or slot in self._opening:
            return False
        return slot not in self._wait_to_open or not self._context.opener.is_busy

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
                connection.versions.fetch, int(self._context.committed_only), self._context.source.topic_ids
            )
        if not session.is_new and session.is_outdated(where.topic for where in changed):
            session.reset()
        if session.is_new:
            self._asked_of.clear()
        everything = self._wanted if session.is_new else changed
        bytes_max = frame_payload_bytes(self._context.line.frames.frame_bytes)
        try:
            body = session.request_changes(
                everything, gone, wait_ms=self._context.line.poll_ms, bytes_min=1, bytes_max=bytes_max
            )
        except Exception:
            self._stop_who_cannot_be_asked_for(session, everything)
            # None of it was told: a session goes on with what it knows, so the next request has to say it.
            self._look_at.update(dict.fromkeys([*changed, *gone]))
            raise
        for where in gone:
            self._asked_of.pop(where, None)
        for where, wanted in everything.items():
            slot = self._slots[where]
            self._asked_of[where] = Asked(slot, slot.copy.episode, wanted.leader_epoch)
        self._asked = True
        self._requests += 1
        self._asked_at = self._context.now()
        self._listed.update(dict.fromkeys(everything, self._requests))
        self._send(connection, body, session, self._asked_of, frame)

    def _stop_who_cannot_be_asked_for(self, session: FetchSession, wanted: dict[TopicPartition, Wanted]) -> None:
        """Stop the partitions that no request can be made for; the others are asked for with the next one."""
        for where, want in wanted.items():
            try:
                session.request_changes({where: want}, (), wait_ms=0, bytes_min=1, bytes_max=1)
            except Exception as bug:  # noqa: BLE001 - of whatever kind: the request cannot be made
                self._supervisor.stop_over_bug(self._slots[where], bug)

    def _ask_alone(self, connection: Connection, slot: Slot, frame: Frame) -> bool:
        """Ask for one partition without a session: the broker then gives at least its first batch, however large."""
        known = self._context.source.cluster.leader(slot.source)
        if known is None:
            return False
        bytes_max = frame_payload_bytes(self._context.line.frames.frame_bytes)
        session = FetchSession(
            connection.versions.fetch, int(self._context.committed_only), self._context.source.topic_ids, ask_anew=True
        )
        wanted = Wanted(slot.copy.reading.next_offset, known.epoch, slot.copy.reading.last_epoch, bytes_max)
        # Without a wait: where many are asked one after the other, most have nothing new.
        body = session.request({slot.source: wanted}, wait_ms=0, bytes_min=1, bytes_max=bytes_max)
        self._asked = True
        asked = {slot.source: Asked(slot, slot.copy.episode, known.epoch)}
        self._send(connection, body, session, asked, frame)
        return True

    def _send(
        self,
        connection: Connection,
        body: bytes,
        session: FetchSession,
        asked_of: dict[TopicPartition, Asked],
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
        """Let go of an answer that waits for room which only a target broker could give that owes its own answers.

        Others share this connection: what is asked for next leaves out what is written to that broker.
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

    # -- answers ------------------------------------------------------------------------------------------------

    def _on_answer(
        self,
        frame: Frame,
        answer: Frame | None,
        error: KafkaError | None,
        session: FetchSession,
        asked_of: dict[TopicPartition, Asked],
    ) -> None:
        self._asked = False
        self._carrier.begin_answer()
        if answer is None:
            frame.release()
            if error is not None and not (self._asked_on is not None and self._asked_on.closed_by_us):
                self._report(error)
            if isinstance(error, AnswerTooLarge):
                self._look_for_oversized(error, session, asked_of)
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
            self._refuse_frame(CorruptRecords("a fetch answer could not be taken", why=repr(bug)))
            frame.release()
            return
        # The next fetch leaves before this answer is rewritten: the broker prepares it meanwhile (RELIABILITY D2).
        self.kick()
        for slot, pieces in accepted:
            try:
                self._carrier.carry_out(slot, pieces, frame)
            except Exception as bug:  # noqa: BLE001 - one partition stops, the others of the answer go on
                self._supervisor.stop_over_bug(slot, bug)
        frame.release()
        if not self._asked:
            self.kick()
        self._context.line.kick()
        self._supervisor.wake_writers()

    def _look_for_oversized(
        self, error: AnswerTooLarge, session: FetchSession, asked_of: dict[TopicPartition, Asked]
    ) -> None:
        """Find the partition whose next batch is larger than any answer that is read: it stops alone.

        A broker gives one whole batch at least, however large (KIP-74), and the connection has to be given up over it.
        Of all that was asked for, each partition is asked for by itself.
        """
        self._link.drop()  # a pause before the next one, longer each time
        slots = [asked.slot for asked in asked_of.values() if self._slots.get(asked.slot.source) is asked.slot]
        if session is self._session:
            self._alone.update(dict.fromkeys(slots))
            return
        for slot in slots:
            looks = self._oversized[slot] = self._oversized.get(slot, 0) + 1
            if looks < _OVERSIZED_LOOKS:
                self._alone[slot] = None
                continue
            slot.refused.too_large = None  # where it ends was not read
            self._supervisor.ended(
                slot,
                slot.copy.fault(
                    Reason.BATCH_TOO_LARGE,
                    f"the source's batch at offset {slot.copy.reading.next_offset}, or right after it, comes in an "
                    f"answer of {error.claimed_bytes} bytes; at most {ANSWER_BYTES_MAX} are read. Have its records "
                    "written again in smaller batches; the copy goes on once the log begins after it (retention, "
                    "DeleteRecords)",
                ),
            )

    def _take(self, frame: Frame, session: FetchSession, asked_of: dict[TopicPartition, Asked]) -> Accepted:
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
            # By identity: a successor of the same name may be in an episode of the same number.
            if asked is None or asked.slot is not self._slots.get(where) or not asked.is_present:
                continue
            slot = asked.slot
            if alone:
                self._oversized.pop(slot, None)
            try:
                pieces = self._take_partition(asked, fetched, frame, alone=alone)
            except Exception as bug:  # noqa: BLE001 - one partition stops, the others of the answer go on
                self._supervisor.stop_over_bug(slot, bug)
                continue
            if pieces:
                accepted.append((slot, pieces))
            if fetched.start != fetched.end:
                self._look_at[where] = None
        # Only now: of one that stopped with this answer it did not say that nothing changed. Nor did one that is empty
        # because of a quota, whatever happened (KIP-219).
        if not alone and not session.throttled:
            self._answered = (self._requests, self._asked_at)
        return accepted

    def _drop_connection(self) -> None:
        """Begin with a new connection, after a pause."""
        self._session = None
        self._link.drop()

    def _take_partition(self, asked: Asked, fetched: Fetched, frame: Frame, *, alone: bool = False) -> list[Piece]:
        slot = asked.slot
        if fetched.error:
            self._on_partition_error(slot, fetched)
            return []
        copy = slot.copy
        slot.seen.source_start = fetched.log_start
        end, now = fetched.high_watermark, self._context.now()
        if self._context.committed_only:
            slot.seen.observe_stable(fetched.last_stable_offset, end, now)
            end = fetched.last_stable_offset
        slot.lag.reach(copy.acked_offset)
        slot.lag.observe(end, self._asked_at)
        if fetched.diverging is not None:
            epoch, offset = fetched.diverging
            self._supervisor.ended(
                slot,
                slot.copy.fault(
                    Reason.SOURCE_TRUNCATED,
                    f"the source's history now ends at {offset} in leader epoch {epoch}; "
                    f"{copy.reading.next_offset} was read in epoch {copy.reading.last_epoch}",
                ),
            )
            return []
        if copy.is_copying() and fetched.start != fetched.end:
            return self._offer(asked, fetched, frame, alone=alone)
        if copy.is_copying() and end > copy.reading.next_offset and not frame.has_grown:
            self._supervisor.answered_empty(slot)
        return []

    def _offer(self, asked: Asked, fetched: Fetched, frame: Frame, *, alone: bool) -> list[Piece]:
        slot, copy = asked.slot, asked.slot.copy
        if fetched.log_start > copy.reading.next_offset:
            # Offsets that retention took are no holes: the attach reads both logs and names what happened.
            self._supervisor.ended(slot, slot.copy.settle(f"the source's log now starts at {fetched.log_start}"))
            return []
        try:
            headers = scan(frame.buffer, fetched.start, fetched.end)
            if not headers:
                self._first_batch_cut(slot, fetched, frame, alone=alone)
                return []
            if self._context.origins is not None:
                headers = self._up_to_unknown(slot, headers, self._context.origins)
            offered = _Offered(asked, headers, fetched, frame)
            pieces = self._offer_headers(offered)
        except CorruptRecords as damage:
            self._supervisor.ended(slot, slot.copy.fault(Reason.CORRUPT_BATCH, str(damage)))
            return []
        self._wait_to_open.discard(slot)
        if copy.is_copying() and copy.reading.unopened is not None:
            if self._context.opener.take_turn():
                self._opening.add(slot)
                frame.hold()
                self._supervisor.start(self._open_beside(offered, copy.reading.unopened), slot)
            else:
                # It is read again once it may be opened: an answer that waits would keep its frame from others.
                self._wait_to_open.add(slot)
        return pieces

    def _offer_headers(
        self, offered: _Offered, known: tuple[BatchHeader, list[RawRecord]] | None = None
    ) -> list[Piece]:
        """Let the machine take what is left of an answer; `known` is a batch that was opened for it.

        Raises:
            CorruptRecords: A batch that had to be opened, or compared, is damaged; nothing was taken.
        """
        asked, headers, fetched, frame = offered
        slot = asked.slot

        def unpack(header: BatchHeader) -> list[RawRecord] | None:
            return known[1] if known is not None and header is known[0] else opened_at_once(frame, header)

        pieces, ending = slot.copy.offer(
            headers,
            fetched.aborted or (),
            Edges(fetched.high_watermark, asked.leader_epoch, slot.recorded.epochs_unproven),
            unpack,
            lambda header: prove(frame.view, header),
        )
        self._supervisor.ended(slot, ending)
        return pieces

    async def _open_beside(self, offered: _Offered, header: BatchHeader) -> None:
        """Take the rest of an answer, whose next batch takes too long to be opened on the event loop."""
        asked, frame = offered.asked, offered.frame
        slot, carrier = asked.slot, self._carrier

        async def take(records: list[RawRecord]) -> None:
            if self._goes_on(asked):
                pieces = self._offer_headers(offered, (header, records))
                await carrier.carry_out_beside(slot, pieces, frame, lambda: self._goes_on(asked))

        try:
            while self._goes_on(asked):
                await self._context.opener.use(frame, header, take)
                following = slot.copy.reading.unopened
                if following is None or following is header:
                    return
                header = following
        except (TooLargeToOpen, CorruptRecords) as error:
            if self._goes_on(asked):
                self._cannot_be_opened(slot, header, error)
        finally:
            self._context.opener.end_turn()
            self._opening.discard(slot)
            self._look_at[slot.source] = None
            frame.release()
            self._supervisor.wake_writers()
            self._supervisor.wake_readers()

    def _cannot_be_opened(self, slot: Slot, header: BatchHeader, error: TooLargeToOpen | CorruptRecords) -> None:
        """Stop a partition at a batch that is damaged, or takes more memory than it may; it cannot pass as it is."""
        if isinstance(error, CorruptRecords):
            self._supervisor.ended(slot, slot.copy.fault(Reason.CORRUPT_BATCH, str(error)))
            return
        slot.refused.too_large = (header.base_offset, header.next_offset) if header.magic == MAGIC_V2 else None
        self._supervisor.ended(
            slot,
            slot.copy.fault(
                Reason.BATCH_TOO_LARGE,
                f"{error}; it cannot be copied as it is, and limits.in_flight_bytes allows "
                f"{self._context.opener.bytes_max} bytes (half of it) for the records of one batch",
            ),
        )

    def _goes_on(self, asked: Asked) -> bool:
        slot = asked.slot
        return asked.is_present and slot.copy.is_copying() and self._slots.get(slot.source) is slot

    def _first_batch_cut(self, slot: Slot, fetched: Fetched, frame: Frame, *, alone: bool) -> None:
        """Take an answer that ends inside its first batch.

        Brokers do that where other partitions filled the answer first: more is asked for, then this partition alone.
        A batch that is cut even then claims a length that it does not have.
        """
        claimed_bytes = 0
        if fetched.end - fetched.start >= LENGTH_PREFIX_BYTES:
            claimed_bytes = _PREFIX.unpack_from(frame.buffer, fetched.start)[1] + LENGTH_PREFIX_BYTES
        if alone:
            self._supervisor.ended(
                slot,
                slot.copy.fault(
                    Reason.CORRUPT_BATCH,
                    f"the source's batch at offset {slot.copy.reading.next_offset} claims {claimed_bytes} bytes, "
                    f"and even an answer of its own holds only {fetched.end - fetched.start} of them",
                ),
            )
            return
        known_bytes = self._bytes_needed.get(slot, 0)
        if known_bytes < claimed_bytes <= frame_payload_bytes(self._context.line.frames.frame_bytes):
            self._bytes_needed[slot] = claimed_bytes
        else:
            self._alone[slot] = None

    def _up_to_unknown(self, slot: Slot, headers: list[BatchHeader], origins: Origins) -> list[BatchHeader]:
        """Return the batches up to the first of which it has to be found out who wrote it; the rest is read again."""
        unknown = origins.unknown(header.producer_id for header in headers if header.magic == MAGIC_V2)
        if not unknown:
            return headers
        self._asking_whose.add(slot)
        self._supervisor.start(self._learn_whose(slot, unknown, origins), slot)
        first = next(at for at, header in enumerate(headers) if header.producer_id in unknown)
        return headers[:first]

    async def _learn_whose(self, slot: Slot, producer_ids: frozenset[int], origins: Origins) -> None:
        try:
            await origins.learn(producer_ids)
        except BugError:
            raise  # it stops the partition by that name
        except ReplicatorError as error:
            if slot.copy.is_copying():
                why = f"whose records follow cannot be told: {error.with_next_step()}"
                self._rest(slot, why, waits_for(error))
        finally:
            self._asking_whose.discard(slot)
            self._look_at[slot.source] = None
            self.kick()

    def _rest(self, slot: Slot, why: str, reason: Reason) -> None:
        self._supervisor.rest(slot, why, reason)
        self._context.problems.report(str(slot.source), why)

    def _on_partition_error(self, slot: Slot, fetched: Fetched) -> None:
        outcome = classify_fetch(fetched.error)
        name = error_name(fetched.error)
        if outcome is FetchOutcome.OUT_OF_RANGE:
            # The log start and end tell which side was left: the attach reads both and names the fault.
            self._supervisor.ended(slot, slot.copy.settle(f"{name} at {slot.copy.reading.next_offset}"))
        elif outcome is FetchOutcome.REJECTED:
            why = told(self._context.source.cluster.spec, "Fetch", fetched.error, slot.source.topic)
            self._rest(slot, f"the source refuses to be read: {why}", Reason.WAITING_FOR_ACCESS)
        else:
            self._supervisor.ended(slot, slot.copy.settle(f"the source answers {name}"))
            self._supervisor.leaders_stale(target=False)

    def _refuse_frame(self, damage: CorruptRecords) -> None:
        self._drop_connection()
        self._context.problems.source(self.node, str(damage))
        for slot in self.slots:
            self._supervisor.ended(slot, slot.copy.settle(str(damage)))


def frame_payload_bytes(frame_bytes: int) -> int:
    """Return how many bytes of records to ask for, so that the answer around them fits a frame too."""
    return frame_bytes - (frame_bytes >> 4)
