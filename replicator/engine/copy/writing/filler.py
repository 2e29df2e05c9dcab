"""Fills offsets that hold no record on the source with control markers, which readers skip (docs/CLIENTS.md).

There is one round after the other per target broker, and one request carries the markers of many partitions.
Markers are not compare-and-append, so each rule here replaces a check that the broker does not make:

- nothing of the partition is in flight (`core.copy.machine`), and its place was proven under the claim: nobody else may
  append there;
- the log end is read after each round: it shows whether every marker is in the log, and whether a foreign one is;
- a lost response is a doubt: before the next fill, the doubt time is waited out and the log is read again;
- the epoch of a bulk marker is the claim's number: once a newer holder's marker is in the log, older ones are refused.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from replicator.core.copy.writing.answers import ProduceOutcome
from replicator.engine.copy.partitions.partition import Slot
from replicator.errors import AuthorizationFailed, Conflict, KafkaError, MarkersNotShown, TimedOut
from replicator.model.spec import Isolation
from replicator.model.status.states import Reason
from replicator.obs import bugs
from replicator.obs.logs import get_logger
from replicator.wire.cluster import Purpose
from replicator.wire.messages import control
from replicator.wire.protocol.faults import error_name

if TYPE_CHECKING:
    from replicator.core.copy.reading.pieces import Fill
    from replicator.core.copy.values import Ending
    from replicator.engine.copy.context import CopyContext
    from replicator.engine.copy.ports import Supervisor
    from replicator.engine.work.shards import Shard
    from replicator.wire.transport.connection import Connection

_MARKERS_MAX = 20_000
"""Per request: a broker appended 10,000 a second on three replicas (KAFKA_FACTS K9)."""
_CLUSTER_AUTHORIZATION_FAILED = 31
_PASSING = (KafkaError, TimedOut, Conflict)
"""Errors that may pass; how much of a fill was appended is then unknown."""

log = get_logger(__name__)

_Round = dict[Slot, tuple["Fill", int]]
"""What one request fills: for each partition the offsets, and its episode."""


class Filler:
    """Fills the partitions that one target broker leads."""

    def __init__(self, context: CopyContext, supervisor: Supervisor, node: int) -> None:
        self.node = node
        self._context = context
        self._supervisor = supervisor
        self._due: dict[Slot, None] = {}
        self._suspects: set[Slot] = set()
        self._busy = False

    def add(self, slot: Slot) -> None:
        """Fill this partition next."""
        self._due[slot] = None
        if not self._busy:
            self._busy = True
            self._supervisor.start(self._run())

    def discard(self, slot: Slot) -> None:
        """Fill this partition no more."""
        self._due.pop(slot, None)

    async def _run(self) -> None:
        try:
            while self._due:
                await self._fill_round()
        finally:
            self._busy = False

    async def _fill_round(self) -> None:
        shard = next(iter(self._due)).shard
        number, route = shard.claim.number, self._context.producers[shard].fill_route
        work: _Round = {}
        gathered: list[Slot] = []
        try:
            if _is_ours(shard, number):
                await route.prepare(number)
            connection = await self._context.target.cluster.connection(self.node, Purpose.CONTROL)
            slow = route.is_slow(number)
            async with route.turn(slow=slow):
                work = self._gather(shard, number, route.length_max(slow=slow))  # last: any wait may cost the claim
                gathered = list(work)
                if work:
                    await self._write(connection, shard, number, work, slow=slow)
        except (AuthorizationFailed, MarkersNotShown) as error:
            self._denied(work, error)
        except _PASSING as error:
            self._failed(work, str(error))
            self._context.problems.target(self.node, error.with_next_step())
        except Exception as error:  # noqa: BLE001 - one partition's, whatever its type
            self._met_bug(gathered, shard, error)
            self._failed(work, repr(error))  # otherwise their responses would be waited for for ever
        else:
            self._suspects.difference_update(gathered)

    def _gather(self, shard: Shard, number: int, length_max: int) -> _Round:
        """Take what may be filled now under that claim, up to a request's size; drop what may not be filled."""
        due, self._due = self._due, {}
        work: _Round = {}
        left = _MARKERS_MAX
        for slot in due:
            try:
                left -= self._gather_one(slot, shard, number, min(left, length_max), work)
            except Exception as bug:  # noqa: BLE001 - this partition's, whatever its type
                self._supervisor.stop_over_bug(slot, bug)
        return work

    def _gather_one(self, slot: Slot, shard: Shard, number: int, length_max: int, work: _Round) -> int:
        """Take what may be filled in one partition; return how many offsets that is."""
        if slot.copy.fill_due() is None:
            return 0
        alone = slot in self._suspects or not self._suspects.isdisjoint(work)
        if slot.shard is not shard:  # its markers carry another claim's number: next round
            self._due[slot] = None
        elif not _is_ours(shard, number) or not self._context.producers[shard].guard.may_fill(slot):
            self._supervisor.rest(
                slot,
                "offsets without a record come next, and they are filled only under the claim",
                Reason.WAITING_FOR_CLAIM,
            )
        elif slot.proof.read_at < self._context.producers[shard].fill_route.prepared_at:
            self._supervisor.ended(
                slot, slot.copy.settle("a fill of an earlier holder of the claim may just have ended here")
            )
        elif length_max and not (work and alone):
            fill = slot.copy.begin_fill(length_max)
            work[slot] = (fill, slot.copy.episode)
            return fill.length
        else:
            self._due[slot] = None
        return 0

    async def _write(self, connection: Connection, shard: Shard, number: int, work: _Round, *, slow: bool) -> None:
        sent_at = self._context.now()
        lengths = {slot.target: fill.length for slot, (fill, _) in work.items()}
        route = self._context.producers[shard].fill_route
        if slow:
            codes = await route.by_transaction(connection, lengths, lambda: _is_ours(shard, number))
        else:
            codes = await route.in_bulk(connection, lengths, number)
        ends = await control.list_offsets(connection, lengths, control.LATEST, isolation=Isolation.READ_UNCOMMITTED)
        for slot, (fill, episode) in list(work.items()):
            code = codes.get(slot.target, -1)
            end = ends.get(slot.target)
            del work[slot]
            if code or end is None or end.error:
                self._refused(slot, episode, code or (end.error if end is not None else -1))
            else:
                self._filled(slot, fill, episode, end.value, sent_at)
        self._supervisor.wake_writers()
        self._supervisor.wake_readers()

    def _filled(self, slot: Slot, fill: Fill, episode: int, end: int, sent_at: float) -> None:
        copy = slot.copy
        ending = copy.filled(fill, episode, end)
        if episode != copy.episode or not copy.is_copying():
            self._settled(slot, ending)
            return
        slot.attach.attempts = 0
        slot.proof.read_at = slot.proof.verified_at = sent_at
        slot.proof.moved_at = self._context.now()
        slot.fill_pace.accepted(fill, episode, sent_at, slot.proof.moved_at)
        self._context.counters.filled(fill.length, slot.proof.moved_at)
        if not slot.recorded.active:
            self._supervisor.answered(slot, ProduceOutcome.ACCEPTED)
        if copy.fill_due() is not None:
            self.add(slot)
        elif not copy.sending.drained:
            self._supervisor.has_work(slot)

    def _refused(self, slot: Slot, episode: int, code: int) -> None:
        # A leader that lost its leadership after the append responds that it is not the leader. So every refusal is a
        # doubt, except the one that is decided before anything else is examined.
        doubtful = code != _CLUSTER_AUTHORIZATION_FAILED
        self._settled(slot, slot.copy.fill_failed(episode, f"fill: {error_name(code)}", doubtful=doubtful))
        if doubtful:
            self._supervisor.leaders_stale(source=False)

    def _denied(self, work: _Round, error: KafkaError) -> None:
        """Handle a round in which nothing was appended: neither route is allowed, or the target shows no markers."""
        due, self._due = self._due, {}
        text = f"offsets without a record have to be filled with markers: {error}"
        for slot in due:
            if slot.copy.limits.may_be_mapped:
                self._supervisor.ended(slot, slot.copy.leave_out(text))
            else:
                self._supervisor.rest(slot, text, Reason.WAITING_FOR_ACCESS)
                self._context.problems.report(str(slot.source), text)
        for slot, (_, episode) in work.items():
            ending = slot.copy.fill_failed(episode, str(error), doubtful=False)
            if slot.copy.limits.may_be_mapped:
                slot.copy.wants_mapping = True
                self._supervisor.answered(slot, ProduceOutcome.MOVED, ending)
            else:
                self._supervisor.answered(slot, ProduceOutcome.DENIED, ending)

    def _met_bug(self, gathered: list[Slot], shard: Shard, bug: Exception) -> None:
        """Stop the partition that a bug belongs to; after a round of several, each of them is tried alone first."""
        if len(gathered) > 1:
            bugs.note(bug, partitions=len(gathered))
            self._suspects.update(gathered)
            return
        for slot in gathered or [one for one in self._due if one.shard is shard]:
            self._due.pop(slot, None)
            self._suspects.discard(slot)
            self._supervisor.stop_over_bug(slot, bug)

    def _failed(self, work: _Round, why: str) -> None:
        due, self._due = self._due, {}
        for slot in due:
            self._supervisor.ended(slot, slot.copy.settle(why))
        for slot, (_, episode) in work.items():
            self._settled(slot, slot.copy.fill_failed(episode, why, doubtful=True))
        self._supervisor.leaders_stale(source=False)

    def _settled(self, slot: Slot, ending: Ending | None) -> None:
        outcome = ProduceOutcome.UNKNOWN if slot.copy.doubtful else ProduceOutcome.MOVED
        self._supervisor.answered(slot, outcome, ending)


def _is_ours(shard: Shard, number: int) -> bool:
    """Return whether that claim is ours and nobody else may append markers now."""
    return number > 0 and shard.claim.number == number and shard.claim.effective_since() is not None
