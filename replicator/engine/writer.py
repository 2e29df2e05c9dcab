"""Writes to one target broker: one batch per partition per request, several requests in flight, answers in order."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from replicator.core.answers import ProduceOutcome, classify_produce
from replicator.core.partition import IN_FLIGHT_BATCHES_MAX, Batch
from replicator.engine.slot import Slot, release
from replicator.errors import CorruptRecords, KafkaError
from replicator.wire.cluster import Purpose
from replicator.wire.faults import error_name
from replicator.wire.produce import ProduceCodec
from replicator.wire.versions import PRODUCE

if TYPE_CHECKING:
    from replicator.engine.pump import Pump
    from replicator.model.names import TopicPartition
    from replicator.wire.connection import Connection
    from replicator.wire.frames import Frame
    from replicator.wire.stream import Buffer

_REQUEST_BYTES = 1 << 20
"""A request is closed once it carries this much; one batch may exceed it."""
_RECONNECT_SECONDS = (0.05, 5.0)


_ByTopic = dict[str, list[tuple[int, "Buffer", int]]]


_Sent = tuple[Slot, Batch, int]
"""A batch on its way: its partition, itself, and the episode it was sent in."""


class TargetWriter:
    """The writing side for the partitions that one target broker leads.

    A partition is sent over this one connection only, so at most one batch of it per request and at most
    `IN_FLIGHT_BATCHES_MAX` requests keep it within the five batches a broker can tell repeats of.
    """

    def __init__(self, pump: Pump, node: int) -> None:
        self.node = node
        self._pump = pump
        self._connection: Connection | None = None
        self._codec: ProduceCodec | None = None
        self._opening: asyncio.Task[None] | None = None
        self._ready: dict[Slot, None] = {}
        self._pause_seconds = _RECONNECT_SECONDS[0]
        self._requests = 0

    def close(self) -> None:
        """Stop; unanswered batches are reported lost."""
        if self._opening is not None:
            self._opening.cancel()
        if self._connection is not None:
            self._connection.close()

    def ready(self, slot: Slot) -> None:
        """This partition has something to send; `kick` looks at it."""
        self._ready[slot] = None

    def forget(self, slot: Slot) -> None:
        """This partition has nothing to send here any more."""
        self._ready.pop(slot, None)

    def kick(self) -> None:
        """Send what may be sent."""
        if not self._ready:
            return
        connection = self._connection
        if connection is None or connection.closed is not None:
            if self._opening is None:
                self._opening = asyncio.get_running_loop().create_task(self._open())
            return
        while self._requests < IN_FLIGHT_BATCHES_MAX:
            by_topic: _ByTopic = {}
            sent = self._gather(by_topic)
            if not sent:
                return
            self._send(connection, sent, by_topic)

    def _gather(self, by_topic: _ByTopic) -> dict[TopicPartition, _Sent]:
        """Take one batch of each ready partition, up to a request's size, also in the codec's order."""
        pump = self._pump
        now_ms = pump.now_ms()
        sent: dict[TopicPartition, _Sent] = {}
        size = 0
        cut = False
        spent: list[Slot] = []
        unclaimed: list[Slot] = []
        stale: list[Slot] = []
        proven_since = pump.guard.proven_since()
        for slot in self._ready:
            copy = slot.copy
            if slot.verified_at < proven_since:
                stale.append(slot)
                continue
            batch = copy.next_to_send(now_ms, claimed=False)
            if copy.waits_for_claim and pump.guard.may_work_unguarded(slot):
                batch = copy.next_to_send(now_ms, claimed=True)
            if batch is not None:
                topic, partition = target = slot.target
                sent[target] = (slot, batch, copy.episode)
                by_topic.setdefault(topic, []).append((partition, batch[4], batch[3]))  # type: ignore[arg-type] # a view
                size += batch[3]
                if size >= _REQUEST_BYTES:
                    cut = True
                    break
            elif copy.waits_for_claim:
                unclaimed.append(slot)
            elif not copy.queued_bytes:
                spent.append(slot)
        for slot in spent:
            del self._ready[slot]
        if cut:
            self._put_behind([entry[0] for entry in sent.values()])
        self._let_go(unclaimed, stale)
        return sent

    def _put_behind(self, slots: list[Slot]) -> None:
        """Partitions that had their turn go behind those that had none: none starves."""
        for slot in slots:
            if slot in self._ready:
                del self._ready[slot]
                self._ready[slot] = None

    def _let_go(self, unclaimed: list[Slot], stale: list[Slot]) -> None:
        for slot in unclaimed:
            self._pump.wait_for_claim(slot)
        for slot in stale:
            self._pump.settle(slot, "its place was proven too long ago to go on from without the claim")

    def _send(self, connection: Connection, sent: dict[TopicPartition, _Sent], by_topic: _ByTopic) -> None:
        codec = self._codec
        if codec is None:
            codec = self._codec = ProduceCodec(
                connection.versions.produce,
                self._pump.target.topic_ids,
                int(self._pump.target.cluster.spec.request_timeout_seconds * 1000),
            )
        body, size = codec.request(by_topic)
        self._requests += 1
        self._pump.totals.requests += 1
        sent_at = self._pump.now()
        connection.send(
            PRODUCE,
            connection.versions.produce,
            body,
            size,
            lambda answer, error: self._on_answer(sent, sent_at, answer, error),
        )

    async def _open(self) -> None:
        try:
            connection = await self._pump.target.cluster.connection(self.node, Purpose.PRODUCE)
        except KafkaError as error:
            self._pump.report_target(self.node, error)
            await asyncio.sleep(self._pause_seconds)
            self._pause_seconds = min(self._pause_seconds * 2, _RECONNECT_SECONDS[1])
            self._pump.target_leaders_stale()
            for slot in list(self._ready):
                self._pump.settle(slot, str(error))
        else:
            self._pause_seconds = _RECONNECT_SECONDS[0]
            self._connection = connection
            self._codec = None
        finally:
            self._opening = None
        self.kick()

    # -- answers ------------------------------------------------------------------------------------------------

    def _on_answer(
        self, sent: dict[TopicPartition, _Sent], sent_at: float, answer: Frame | None, error: KafkaError | None
    ) -> None:
        self._requests -= 1
        codec = self._codec
        if answer is None or codec is None:
            self._lost(sent, error)
            return
        pump = self._pump
        offsets = codec.accepted(answer.buffer, answer.size)
        if offsets is None:
            self._read_closely(codec, answer, sent)
        else:
            pump.target_works(self.node)
            self._take(sent, offsets, sent_at)
        if sent:  # the broker left a partition out of its answer: as good as no answer
            self._lost(sent, None)
        self.kick()
        pump.readers_kick()

    def _take(self, sent: dict[TopicPartition, _Sent], offsets: dict[TopicPartition, int], sent_at: float) -> None:
        """Take the usual answer: every batch accepted."""
        pump = self._pump
        now = pump.now()
        accepted: list[Batch] = []
        frame: Frame | None = None
        held = 0
        for where, base_offset in offsets.items():
            entry = sent.pop(where, None)
            if entry is None:
                continue
            slot, batch, episode = entry
            if slot.copy.accepted(batch, episode, base_offset):
                slot.attempts = 0
                slot.verified_at = sent_at
                slot.moved_at = now
                accepted.append(batch)
                if not slot.active or slot.wants_attach:
                    pump.after_answer(slot, ProduceOutcome.ACCEPTED)
            else:
                self._closer_look(entry, 0, base_offset, "")
            if batch[5] is not frame:
                if frame is not None:
                    frame.release(held)
                frame, held = batch[5], 0  # type: ignore[assignment] # a wire Frame; opaque in core
            held += 1
        if frame is not None:
            frame.release(held)
        pump.count(accepted, now)

    def _read_closely(self, codec: ProduceCodec, answer: Frame, sent: dict[TopicPartition, _Sent]) -> None:
        try:
            produced = codec.answer(answer.buffer, answer.size)
        except CorruptRecords as damage:
            if self._connection is not None:
                self._connection.close()
            self._pump.report_target_damage(self.node, damage)
            return
        self._pump.target_works(self.node)
        for where, code, base_offset, _, message in produced:
            entry = sent.pop(where, None)
            if entry is None:
                continue
            self._closer_look(entry, code, base_offset, message)
            entry[1].owner.release()  # type: ignore[attr-defined] # a wire Frame; opaque in core

    def _closer_look(self, entry: _Sent, code: int, base_offset: int, message: str) -> None:
        """Take an answer that is not simply "accepted, where it was expected"."""
        slot, batch, episode = entry
        outcome = classify_produce(code)
        detail = "" if not code else f"{error_name(code)}{': ' + message if message else ''}"
        before = slot.copy.acked_offset
        release(slot.copy.answered(batch, episode, outcome, base_offset, detail))
        if slot.copy.acked_offset > before:
            self._pump.count([batch], self._pump.now())
        elif outcome is not ProduceOutcome.ACCEPTED:
            self._pump.outcomes[outcome] += 1
        self._pump.after_answer(slot, outcome)

    def _lost(self, sent: dict[TopicPartition, _Sent], error: KafkaError | None) -> None:
        for slot, batch, episode in sent.values():
            dropped = slot.copy.lost(batch, episode, str(error or "the broker did not answer for it"))
            release(dropped)
            batch.owner.release()  # type: ignore[attr-defined] # as above
            self._pump.outcomes[ProduceOutcome.UNKNOWN] += 1
            self._pump.after_answer(slot, ProduceOutcome.UNKNOWN)
        sent.clear()
        if error is not None:
            self._pump.report_target(self.node, error)
        self._pump.target_leaders_stale()
