"""Fills offsets that hold no record on the source, with control markers that no reader of the target sees.

One request carries the markers of many partitions, in rounds per target broker.
Markers are not compare-and-append, so each rule here stands for what the broker does not check:

- nothing of the partition is in flight (`core.partition`), and its place was proven under the claim: nobody else may
  append there;
- after each round the log's end is read: it tells whether every marker stands, and whether a stranger's does;
- a lost answer is a doubt: the doubt time is waited out, and the log read again, before the next fill;
- the marker's epoch is the number of the claim: once a newer holder's marker stands, the broker refuses older ones.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from replicator.core.answers import ProduceOutcome
from replicator.engine.slot import Slot, release
from replicator.errors import KafkaError
from replicator.obs.logs import get_logger
from replicator.wire import control
from replicator.wire.cluster import Purpose
from replicator.wire.faults import error_name, refused
from replicator.wire.markers import write_markers

if TYPE_CHECKING:
    from replicator.core.intake import Fill
    from replicator.engine.pump import Pump
    from replicator.wire.connection import Connection

_MARKERS_MAX = 20_000
"""Of one request: a broker appended 10,000 a second on three replicas (KAFKA.md 0b.4)."""
_MARKERS_MAX_PER_PARTITION = 5_000
_EPOCHS = 1 << 15
_CLUSTER_AUTHORIZATION_FAILED = 31

log = get_logger(__name__)

_Round = dict[Slot, tuple["Fill", int]]
"""What one request fills: partition to its offsets and the episode."""


class Filler:
    """The fills on the partitions that one target broker leads."""

    def __init__(self, pump: Pump, node: int) -> None:
        self.node = node
        self._pump = pump
        self._due: dict[Slot, None] = {}
        self._busy = False

    def add(self, slot: Slot) -> None:
        """This partition has to be filled next."""
        self._due[slot] = None
        if not self._busy:
            self._busy = True
            self._pump.start_task(self._run())

    async def _run(self) -> None:
        try:
            while self._due:
                await self._fill_round()
        finally:
            self._busy = False

    async def _fill_round(self) -> None:
        work = self._gather()
        if not work:
            return
        try:
            connection = await self._pump.target.cluster.connection(self.node, Purpose.CONTROL)
        except KafkaError as error:
            self._failed(work, str(error), doubtful=False)
            self._pump.report_target(self.node, error)
            return
        sent_at = self._pump.now()
        try:
            await self._write(connection, work, sent_at)
        except KafkaError as error:
            self._failed(work, str(error), doubtful=True)
            self._pump.report_target(self.node, error)

    def _gather(self) -> _Round:
        """Take what may be filled now, up to a request's size; what may not is let go of."""
        pump = self._pump
        due, self._due = self._due, {}
        work: _Round = {}
        left = _MARKERS_MAX
        for slot in due:
            if slot.copy.fill_due() is None:
                continue
            if not pump.guard.may_fill(slot):
                pump.wait_to_fill(slot)
            elif left:
                fill = slot.copy.begin_fill(min(left, _MARKERS_MAX_PER_PARTITION))
                left -= fill.length
                work[slot] = (fill, slot.copy.episode)
            else:
                self._due[slot] = None
        return work

    async def _write(self, connection: Connection, work: _Round, sent_at: float) -> None:
        pump = self._pump
        epoch = pump.claim.number % _EPOCHS
        lengths = {slot.target: fill.length for slot, (fill, _) in work.items()}
        codes = await write_markers(connection, pump.writer.fill_id, epoch, lengths)
        ends = await control.list_offsets(connection, lengths, control.LATEST, committed=False)
        for slot, (fill, episode) in list(work.items()):
            code = codes.get(slot.target, -1)
            end = ends.get(slot.target)
            if code or end is None or end.error:
                self._refused(slot, episode, code or (end.error if end is not None else -1))
            else:
                self._filled(slot, fill, episode, end.value, sent_at)
            del work[slot]
        pump.writers_kick()
        pump.readers_kick()

    def _filled(self, slot: Slot, fill: Fill, episode: int, end: int, sent_at: float) -> None:
        pump, copy = self._pump, slot.copy
        release(copy.filled(fill, episode, end))
        if episode != copy.episode or not copy.is_copying():
            self._doubt(slot)
            return
        slot.attempts = 0
        slot.verified_at = sent_at
        slot.moved_at = pump.now()
        pump.count_fill(fill.length, slot.moved_at)
        if not slot.active:
            pump.after_answer(slot, ProduceOutcome.ACCEPTED)
        if copy.fill_due() is not None:
            self.add(slot)
        elif not copy.drained:
            pump.ready(slot)

    def _refused(self, slot: Slot, episode: int, code: int) -> None:
        pump = self._pump
        if code == _CLUSTER_AUTHORIZATION_FAILED:
            denied = refused(pump.target.cluster.spec, "WriteTxnMarkers", code, "the cluster")
            why = f"offsets without a record have to be filled with markers: {denied}"
            release(slot.copy.fill_failed(episode, why, doubtful=False))
            pump.after_answer(slot, ProduceOutcome.DENIED)
            return
        # A leader that lost its place after the append answers that it is not the leader: every refusal is a doubt.
        release(slot.copy.fill_failed(episode, f"fill: {error_name(code)}", doubtful=True))
        self._doubt(slot)
        pump.leaders_stale(source=False)

    def _failed(self, work: _Round, why: str, *, doubtful: bool) -> None:
        for slot, (_, episode) in work.items():
            release(slot.copy.fill_failed(episode, why, doubtful=doubtful))
            self._doubt(slot)
        self._pump.leaders_stale(source=False)

    def _doubt(self, slot: Slot) -> None:
        outcome = ProduceOutcome.UNKNOWN if slot.copy.doubtful else ProduceOutcome.MOVED
        self._pump.after_answer(slot, outcome)
