"""Writes to one target broker: one batch per partition per request, several requests in flight, ordered responses."""

from __future__ import annotations

import asyncio
from collections import defaultdict, deque
from typing import TYPE_CHECKING

from replicator.core.copy.values import IN_FLIGHT_BATCHES_MAX, Batch
from replicator.core.copy.writing.answers import ProduceOutcome, classify_produce
from replicator.core.copy.writing.request_limit import RequestLimit
from replicator.engine.copy.partitions.partition import Slot
from replicator.engine.copy.partitions.producer_state import Withheld
from replicator.engine.copy.writing.filler import Filler
from replicator.engine.logs.link import Link
from replicator.engine.logs.refusals import describe_refusal
from replicator.errors import ConnectionFailed, CorruptRecords, KafkaError
from replicator.model.status.states import Reason
from replicator.wire.cluster import Purpose
from replicator.wire.messages.broker_limits import SOCKET_REQUEST_MAX_BYTES, request_bytes_max
from replicator.wire.messages.data.produce import Accepted, ProduceCodec
from replicator.wire.protocol.versions import PRODUCE

if TYPE_CHECKING:
    from replicator.engine.copy.context import CopyContext
    from replicator.engine.copy.ports import Supervisor
    from replicator.engine.work.shards import Shard
    from replicator.wire.frames import Frame
    from replicator.wire.transport.connection import Connection
    from replicator.wire.transport.stream import Buffer

_REQUEST_BYTES = 1 << 20
"""A request is closed once it carries this much; one batch may exceed it."""
_ASK_SECONDS = 5.0
"""How long a broker may take to report its request limit before batches are sent anyway."""


_OWES_SECONDS = 3.0
"""If a broker has not responded for longer, whatever is read for it only keeps frames from the others."""
_Sent = tuple["Buffer", int, Slot, Batch, int]
"""A batch in flight: its bytes and their number (what the codec reads), its partition, the batch, and the episode in
which it was sent."""
_Request = dict[str, dict[int, _Sent]]
"""What one request carries, by topic and partition of the target."""


class TargetWriter:
    """The writing side for the partitions that one target broker leads.

    A partition is sent over this one connection only. With at most one batch of it per request, and at most
    `IN_FLIGHT_BATCHES_MAX` requests in flight, it stays within the five batches whose repeats a broker recognizes.
    """

    def __init__(self, context: CopyContext, supervisor: Supervisor, node: int) -> None:
        self.node = node
        self._context = context
        self._supervisor = supervisor
        self._link = Link(self._connect, self._opened, self._refused, self._rested, self.kick)
        self._filler = Filler(context, supervisor, node)
        self._codec: ProduceCodec | None = None
        self._ready: dict[Slot, None] = {}
        self._requests = 0
        self._limit = RequestLimit(context.target.cluster.spec.doubt_seconds)
        self._asking = False
        self._unanswered: deque[float] = deque()
        self._connecting_since: float | None = None

    def owes(self, now: float) -> bool:
        """Return whether this broker has owed a response for so long that nothing more should be read for it.

        A broker that we cannot even connect to counts as well, while there is something to send.
        """
        since = self._unanswered[0] if self._unanswered else self._connecting_since if self._ready else None
        return since is not None and now - since >= _OWES_SECONDS

    def close(self) -> None:
        """Stop; unanswered batches are reported as lost."""
        self._link.close()

    def ready(self, slot: Slot) -> None:
        """Note that this partition has something to send; the next `kick` examines it."""
        self._ready[slot] = None

    def forget(self, slot: Slot) -> None:
        """Forget a partition that has nothing to send here any more."""
        self._ready.pop(slot, None)
        self._filler.discard(slot)

    def kick(self) -> None:
        """Send what may be sent."""
        if not self._ready:
            return
        connection = self._link.get()
        if connection is None:
            if self._connecting_since is None:
                self._connecting_since = self._context.now()
            return
        self._connecting_since = None
        if self._asking:
            return
        while self._requests < (1 if self._limit.is_careful(self._context.now()) else IN_FLIGHT_BATCHES_MAX):
            sent = self._gather()
            if not sent:
                return
            self._send(connection, sent)

    def _gather(self) -> _Request:  # noqa: C901 - one branch for each way in which a partition has nothing to send now
        """Take one batch of each ready partition, up to a request's size."""
        now_ms = self._context.now_ms()
        sent: _Request = defaultdict(dict)
        size = 0
        cut = False
        spent: list[Slot] = []
        unclaimed: list[Slot] = []
        stale: list[Slot] = []
        limit = self._limit
        if limit.bytes_max is not None:
            self._stop_what_is_too_large()
        closed_at = 1 if limit.is_careful(self._context.now()) else _REQUEST_BYTES
        proven_since: dict[Shard, float] = {}
        for slot in self._ready:
            copy, sending = slot.copy, slot.copy.sending
            shard = slot.shard
            if shard not in proven_since:
                proven_since[shard] = self._context.producers[shard].guard.proven_since()
            if slot.proof.verified_at < proven_since[shard]:
                stale.append(slot)
                continue
            if limit.bytes_max is not None and not limit.takes(sending.head_bytes, size, sum(map(len, sent.values()))):
                cut = True
                break
            batch = sending.next_to_send(now_ms, claimed=False)
            if sending.waits_for_claim and self._context.producers[shard].guard.may_work_unguarded(slot):
                batch = sending.next_to_send(now_ms, claimed=True)
            if batch is None:
                (unclaimed if sending.waits_for_claim else spent).append(slot)
                continue
            topic, partition = slot.target
            batch_bytes = batch[3]
            sent[topic][partition] = (batch[4], batch_bytes, slot, batch, copy.episode)  # type: ignore[assignment] # a view
            size += batch_bytes
            if size >= closed_at:
                cut = True
                break
        for slot in spent:
            self._after_batches(slot)
        if cut:
            self._put_last([entry[2] for entries in sent.values() for entry in entries.values()])
        self._let_go(unclaimed, stale)
        return sent

    def _stop_what_is_too_large(self) -> None:
        for slot in list(self._ready):
            if not self._limit.takes(slot.copy.sending.head_bytes):
                self._stop_too_large(slot, slot.copy.sending.head_bytes)

    def _stop_too_large(self, slot: Slot, size: int) -> None:
        """Stop a partition whose next batch fits no request to this broker; others on the connection continue."""
        slot.blocking_batch.request_bytes = size
        setting = self._limit.bytes_max
        if setting is not None:
            why = f"takes requests of {setting} bytes at most ({SOCKET_REQUEST_MAX_BYTES})"
        else:
            why = f"closes the connection over it; it does not report its {SOCKET_REQUEST_MAX_BYTES}"
        self._supervisor.ended(
            slot,
            slot.copy.fault(
                Reason.RECORD_TOO_LARGE,
                f"a batch of {size} bytes comes next, and broker {self.node} of the target {why}: raise it there and "
                "restart the broker, then `replicator mirror resolve` with `--how accept`",
            ),
        )

    def _after_batches(self, slot: Slot) -> None:
        """Take a partition without a batch to send off the list, unless a batch only waits for its turn."""
        copy = slot.copy
        if copy.sending.drained:
            del self._ready[slot]
        elif copy.fill_due() is not None:
            del self._ready[slot]
            self._filler.add(slot)

    def _put_last(self, slots: list[Slot]) -> None:
        """Put partitions that had their turn after those that had none, so that none starves."""
        for slot in slots:
            if slot in self._ready:
                del self._ready[slot]
                self._ready[slot] = None

    def _let_go(self, unclaimed: list[Slot], stale: list[Slot]) -> None:
        for slot in unclaimed:
            self._wait_for_claim(slot)
        for slot in stale:
            self._supervisor.ended(
                slot, slot.copy.settle("without the claim, its place was proven too long ago to continue from it")
            )

    def _wait_for_claim(self, slot: Slot) -> None:
        """Drop what must not be sent unguarded: it would keep frames from partitions that may continue."""
        withheld = self._context.producers[slot.shard].guard.why_withheld(slot)
        if withheld is Withheld.ASKING:
            return
        detail = "older than the target's memory of producers: copied only under the claim, which is not ours now"
        if withheld is Withheld.CROWDED:
            detail = "old record times follow new ones, and another daemon runs this flow: its places must expire first"
        self._supervisor.rest(slot, detail, Reason.WAITING_FOR_CLAIM)

    def _send(self, connection: Connection, sent: _Request) -> None:
        codec = self._codec
        if codec is None:
            codec = self._codec = ProduceCodec(
                connection.versions.produce,
                self._context.target.topic_ids,
                int(self._context.target.cluster.spec.request_timeout_seconds * 1000),
            )
        body, size = codec.request(sent)
        self._requests += 1
        self._context.counters.totals.requests += 1
        sent_at = self._context.now()
        self._unanswered.append(sent_at)
        connection.send(
            PRODUCE,
            connection.versions.produce,
            body,
            size,
            lambda answer, error: self._on_answer(sent, sent_at, answer, error),
        )

    async def _connect(self) -> Connection:
        return await self._context.target.cluster.connection(self.node, Purpose.PRODUCE)

    def _opened(self) -> None:
        self._codec = None
        if self._limit.wants_asking and not self._asking:
            self._asking = True
            self._supervisor.start(self._ask_limit())
        self.kick()

    async def _ask_limit(self) -> None:
        """Ask the broker how large a request it accepts, as it closed the connection with requests in flight."""
        limit: int | None = None
        try:
            async with asyncio.timeout(_ASK_SECONDS):
                connection = await self._context.target.cluster.connection(self.node, Purpose.CONTROL)
                limit = await request_bytes_max(connection, self.node)
        except (KafkaError, TimeoutError):
            pass  # not reported: sending batches one at a time will show it
        finally:
            self._asking = False
            self._limit.reported(limit)
        self.kick()

    def _refused(self, error: KafkaError) -> None:
        self._limit.unreachable()
        self._context.problems.target(self.node, error.with_next_step())

    def _rested(self) -> None:
        self._supervisor.leaders_stale(source=False)
        for slot in list(self._ready):
            self._supervisor.ended(slot, slot.copy.settle(f"broker {self.node} of the target could not be reached"))
        self.kick()

    # -- responses ----------------------------------------------------------------------------------------------

    def _on_answer(self, sent: _Request, sent_at: float, answer: Frame | None, error: KafkaError | None) -> None:
        self._requests -= 1
        self._unanswered.popleft()  # responses come in the order of the requests, and so do losses
        codec = self._codec
        if answer is None or codec is None:
            too_large = None
            if isinstance(error, ConnectionFailed):
                carried = [(one[2], one[3].base_offset, one[1]) for rows in sent.values() for one in rows.values()]
                if self._limit.lost(carried, sent_at, self._context.now()):
                    too_large = carried[0]
            self._lost(sent, error)
            if too_large is not None:
                self._stop_too_large(too_large[0], too_large[2])
            return
        if self._limit.is_careful(sent_at):
            for one in [one for rows in sent.values() for one in rows.values()]:
                self._limit.passed(one[2], one[1])
        accepted = codec.accepted(answer)
        if accepted is None:
            self._read_closely(codec, answer, sent)
        else:
            self._context.problems.target_works(self.node)
            self._take(sent, accepted, sent_at)
        self._link.throttle(codec.throttle_seconds)
        if any(sent.values()):  # the broker left a partition out of its response: the same as no response
            self._lost(sent, None)
        self.kick()
        self._supervisor.wake_readers()

    def _take(self, sent: _Request, answered: dict[str, list[Accepted]], sent_at: float) -> None:
        """Take the usual response: every batch accepted."""
        now = self._context.now()
        records = size = batches = held = 0
        frame: Frame | None = None
        for topic, rows in answered.items():
            take = sent.get(topic, {}).pop
            for partition, _, base_offset, _, _, _ in rows:
                entry = take(partition, None)
                if entry is None:
                    continue
                _, batch_bytes, slot, batch, episode = entry
                if slot.copy.accepted(batch, episode, base_offset):
                    slot.attach.attempts = 0
                    slot.proof.verified_at = sent_at
                    slot.proof.moved_at = now
                    records += batch[1]
                    size += batch_bytes
                    batches += 1
                    if not slot.recorded.active:
                        self._supervisor.answered(slot, ProduceOutcome.ACCEPTED)
                else:
                    self._take_unexpected(entry, 0, base_offset, "")
                if batch[5] is not frame:
                    if frame is not None:
                        frame.release(held)
                    frame, held = batch[5], 0  # type: ignore[assignment] # a wire Frame; opaque in core
                held += 1
        if frame is not None:
            frame.release(held)
        self._link.works()
        self._context.counters.accepted(records, size, batches, now)

    def _read_closely(self, codec: ProduceCodec, answer: Frame, sent: _Request) -> None:
        try:
            produced = codec.answer(answer.buffer, answer.size)
        except CorruptRecords as damage:
            self._link.drop()
            self._context.problems.target(self.node, str(damage))
            return
        self._context.problems.target_works(self.node)
        self._link.works()
        for where, code, base_offset, _, message in produced:
            entry = sent.get(where.topic, {}).pop(where.partition, None)
            if entry is None:
                continue
            self._take_unexpected(entry, code, base_offset, message)
            entry[3].owner.release()  # type: ignore[attr-defined] # a wire Frame; opaque in core

    def _take_unexpected(self, entry: _Sent, code: int, base_offset: int, message: str) -> None:
        """Take a response that is not simply "accepted, where it was expected"."""
        _, _, slot, batch, episode = entry
        outcome = classify_produce(code)
        detail = (
            describe_refusal(self._context.target.cluster.spec, "Produce", code, slot.target.topic, message)
            if code
            else ""
        )
        before = slot.copy.acked_offset
        ending = slot.copy.answered(batch, episode, outcome, base_offset, detail)
        if slot.copy.acked_offset > before:
            self._context.counters.accepted(batch.record_count, batch.size, 1, self._context.now())
        elif outcome is not ProduceOutcome.ACCEPTED:
            self._context.counters.outcomes[outcome] += 1
        self._supervisor.answered(slot, outcome, ending)

    def _lost(self, sent: _Request, error: KafkaError | None) -> None:
        for _, _, slot, batch, episode in [entry for entries in sent.values() for entry in entries.values()]:
            ending = slot.copy.lost(batch, episode, str(error or "the broker's response did not mention it"))
            batch.owner.release()  # type: ignore[attr-defined] # as above
            self._context.counters.outcomes[ProduceOutcome.UNKNOWN] += 1
            self._supervisor.answered(slot, ProduceOutcome.UNKNOWN, ending)
        sent.clear()
        if error is not None:
            self._context.problems.target(self.node, error.with_next_step())
        self._supervisor.leaders_stale(source=False)
