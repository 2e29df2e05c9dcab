"""The pump of one shard: partitions between two clusters, attached, copied, settled, attached again.

It owns the machines (`core.partition`) and gives them I/O: readers per source broker, a writer per target broker,
and one attach loop. Everything runs on one event loop, so no state here is ever seen half-changed.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from replicator.core.answers import ProduceOutcome
from replicator.core.attach import Decision, Fault, Resume, SeedTo, Wait, Writer, decide
from replicator.core.partition import Batch, PartitionCopy, Phase, TargetLimits
from replicator.engine.attach import Facts, Side, read_facts
from replicator.engine.guard import Claim, Guard, Others, Standing
from replicator.engine.leaders import LeaderWatch
from replicator.engine.reader import SourceReader
from replicator.engine.seed import Seeder
from replicator.engine.slot import Slot, release
from replicator.engine.writer import TargetWriter
from replicator.errors import AuthorizationFailed, ConnectionFailed, CorruptRecords, KafkaError, ReplicatorError
from replicator.model.spec import Isolation
from replicator.model.states import Reason
from replicator.obs.logs import get_logger
from replicator.wire.faults import error_name
from replicator.wire.frames import Frame, FramePool

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterable

    from replicator.model.names import TopicPartition
    from replicator.model.spec import FlowSpec

_FRAME_BYTES_MAX = 6 << 20
_FRAMES_MIN = 3
_FRAMES_AHEAD = 2
"""Frames in use beside the one each reader fills: more would only lie in the way of the caches, and fill memory."""
_QUEUED_BYTES_MAX = 1 << 20
"""A partition with more than this unsent is not read: one that is stuck must not hold all frames."""
_FRAME_BYTES_MIN = 1 << 20
_ATTACH_GROUP_MAX = 200
_ATTACH_PAUSE_SECONDS = (0.02, 5.0)
_ATTEMPTS_MAX = 10
_TICK_SECONDS = 1.0

log = get_logger(__name__)


class Watcher(Protocol):
    """Who is told what happens to partitions (the flow runner)."""

    def changed(self, slot: Slot, before: Phase, text: str) -> None:
        """A partition changed its phase."""

    def activated(self, slot: Slot) -> None:
        """A partition is copied for the first time."""

    async def seeding(self, slot: Slot, offset: int) -> None:
        """A partition is going to be seeded: record it before the first filler."""

    def topics_stale(self) -> None:
        """A topic seems to be gone or another one: look at once."""


@dataclass(slots=True)
class Totals:
    """Counters of one pump."""

    records: int = 0
    bytes: int = 0
    batches: int = 0
    requests: int = 0
    reattached: int = 0
    last_progress: float | None = None


class Pump:
    """The pump.

    Args:
        flow: The flow's policy.
        source: Where to read.
        target: Where to write.
        writer: The flow's identity on the target.
        claim: The claim on this shard.
        others: The other daemons of this flow.
        watcher: Who is told.

    Attributes:
        slots: The partitions, by source name.
        totals: Counters.
        outcomes: Answers by kind.
        trouble: Present trouble by place, for status.
    """

    def __init__(
        self,
        flow: FlowSpec,
        source: Side,
        target: Side,
        writer: Writer,
        claim: Claim,
        others: Others,
        watcher: Watcher,
    ) -> None:
        self.source = source
        self.target = target
        self.writer = writer
        self.slots: dict[TopicPartition, Slot] = {}
        self.totals = Totals()
        self.outcomes: dict[ProduceOutcome, int] = dict.fromkeys(ProduceOutcome, 0)
        self.trouble: dict[str, str] = {}
        self.committed_only = flow.isolation is Isolation.READ_COMMITTED
        frame_bytes = max(_FRAME_BYTES_MIN, min(_FRAME_BYTES_MAX, flow.limits.in_flight_bytes // _FRAMES_MIN))
        self.frames = FramePool(max(_FRAMES_MIN, flow.limits.in_flight_bytes // frame_bytes), frame_bytes)
        self.queued_bytes_max = _QUEUED_BYTES_MAX
        self.claim = claim
        self._watcher = watcher
        self._readers: dict[int, SourceReader] = {}
        self._writers: dict[int, TargetWriter] = {}
        self._reader_of: dict[Slot, SourceReader] = {}
        self._writer_of: dict[Slot, TargetWriter] = {}
        self._apart: set[Slot] = set()  # those that are not copied now: a thousand idle ones are never walked
        self._wake = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._seeder = Seeder(self)
        self._source_leaders = LeaderWatch(source.cluster, self._source_topics, self._leaders_changed)
        self._target_leaders = LeaderWatch(target.cluster, self._target_topics, self._leaders_changed)
        self._loop = asyncio.get_running_loop()
        self.now = self._loop.time
        doubt_seconds = target.cluster.spec.doubt_seconds
        self.guard = Guard(claim, others, doubt_seconds, self.now, self.now_ms, self.writers_kick)
        self._draining = False

    def now_ms(self) -> int:
        """Return the wall clock in ms, to compare with record times."""
        return time.time_ns() // 1_000_000

    # -- partitions ---------------------------------------------------------------------------------------------

    def add(self, source: TopicPartition, target: TopicPartition, limits: TargetLimits) -> Slot:
        """Begin with a partition; it is attached as soon as its leaders are known."""
        slot = Slot(source, target, PartitionCopy(source, limits))
        self.slots[source] = slot
        self._apart.add(slot)
        self._wake.set()
        return slot

    def remove(self, slot: Slot) -> None:
        """End with a partition for good."""
        if slot.copy.phase is not Phase.FAULTED:
            release(slot.copy.pause())
        self._detach(slot)
        self._apart.discard(slot)
        self.slots.pop(slot.source, None)

    def pause(self, slot: Slot) -> None:
        """Stop a partition by wish."""
        before = slot.copy.phase
        slot.begins_again = False
        release(slot.copy.pause())
        self._detach(slot)
        if before is not slot.copy.phase:
            self._watcher.changed(slot, before, "paused")

    def resume(self, slot: Slot) -> None:
        """Let a paused or faulted partition begin again, once no answer of before is outstanding."""
        if slot.copy.phase in {Phase.PAUSED, Phase.FAULTED}:
            slot.begins_again = True
            slot.attempts = 0
            slot.due = 0.0
            self._wake.set()

    def fault(self, slot: Slot, reason: Reason, detail: str) -> None:
        """Stop a partition with a named reason."""
        before = slot.copy.phase
        release(slot.copy.fault(reason, detail))
        self._left_copying(slot, before)

    def settle(self, slot: Slot, detail: str) -> None:
        """End a partition's episode without doubt; it is attached again."""
        before = slot.copy.phase
        release(slot.copy.settle(detail, doubtful=False))
        self._left_copying(slot, before)

    def settle_and_rest(self, slot: Slot, detail: str) -> None:
        """End a partition's episode over a refusal that only an operator can lift; look again at a slow pace."""
        slot.attempts = _ATTEMPTS_MAX
        self.settle(slot, detail)
        slot.copy.say(Reason.WAITING_FOR_ACCESS, detail)
        self._report(str(slot.source), detail)

    def wait_for_claim(self, slot: Slot) -> None:
        """Let go of what must not be sent unguarded: it would keep frames from partitions that may go on."""
        standing = self.guard.standing(slot)
        if standing is Standing.ASKING:
            return
        detail = "older than the target's memory of producers: copied under the claim only, which is not ours now"
        if standing is Standing.CROWDED:
            detail = "old record times follow new ones, and another daemon runs this flow: it must fall behind first"
        slot.attempts = _ATTEMPTS_MAX
        self.settle(slot, detail)
        slot.copy.say(Reason.WAITING_FOR_CLAIM, detail)

    async def remember_seed(self, slot: Slot, offset: int) -> None:
        """Record that fillers may stand below `offset`; raises what the state topic raises."""
        await self._watcher.seeding(slot, offset)
        slot.seeded_to = offset

    def note(self, slot: Slot, before: Phase, text: str) -> None:
        """Tell the watcher of a change made elsewhere."""
        self._watcher.changed(slot, before, text)

    def phase_changed(self, slot: Slot) -> None:
        """The machine left COPYING by itself, because of what was read."""
        self._left_copying(slot, Phase.COPYING)

    def _left_copying(self, slot: Slot, before: Phase) -> None:
        if slot.copy.phase is before:
            return
        self._detach(slot)
        self._watcher.changed(slot, before, slot.copy.detail or "")
        self._schedule(slot)

    def _detach(self, slot: Slot) -> None:
        self._apart.add(slot)
        reader = self._reader_of.pop(slot, None)
        if reader is not None:
            reader.remove(slot)
        writer = self._writer_of.pop(slot, None)
        if writer is not None:
            writer.forget(slot)

    def _schedule(self, slot: Slot) -> None:
        """Attach again after a pause that doubles: two daemons that collide must not spin."""
        low, high = _ATTACH_PAUSE_SECONDS
        slot.due = self.now() + (min(high, low * 2**slot.attempts) if slot.attempts else 0.0)
        slot.attempts = min(slot.attempts + 1, _ATTEMPTS_MAX)
        self._wake.set()

    # -- called by readers and writers ----------------------------------------------------------------------------

    def ready(self, slot: Slot) -> None:
        """Something of this partition can be sent."""
        writer = self._writer_of.get(slot)
        if writer is not None:
            writer.ready(slot)

    def take_frame(self) -> Frame | None:
        """Return a frame to read into, or None while enough is on its way to the target."""
        if self.frames.in_use >= len(self._readers) + _FRAMES_AHEAD:
            return None
        return self.frames.take()

    def readers_kick(self) -> None:
        """Let readers use what became free."""
        for reader in self._readers.values():
            reader.kick()

    def writers_kick(self) -> None:
        """Let writers send what became ready."""
        for writer in self._writers.values():
            writer.kick()

    def count(self, accepted: list[Batch], now: float) -> None:
        """Keep the books of accepted batches."""
        if not accepted:
            return
        totals = self.totals
        totals.records += sum([batch[1] for batch in accepted])
        totals.bytes += sum([batch[3] for batch in accepted])
        totals.batches += len(accepted)
        totals.last_progress = now
        self.outcomes[ProduceOutcome.ACCEPTED] += len(accepted)

    def after_answer(self, slot: Slot, outcome: ProduceOutcome) -> None:
        """An answer changed a partition's phase, or was its last one outstanding."""
        copy = slot.copy
        if outcome is ProduceOutcome.ACCEPTED and not slot.active:
            self._watcher.activated(slot)
        if outcome in {ProduceOutcome.UNKNOWN, ProduceOutcome.DUPLICATE}:
            slot.doubt_until = self.now() + self.target.cluster.spec.doubt_seconds
        if copy.phase is not Phase.COPYING and slot in self._writer_of:
            self._left_copying(slot, Phase.COPYING)
        if outcome is ProduceOutcome.MISSING:
            self._watcher.topics_stale()
        if outcome in {ProduceOutcome.MISSING, ProduceOutcome.MOVED}:
            self._target_leaders.stale()
        if outcome is ProduceOutcome.DENIED and copy.phase is Phase.SETTLING:
            slot.attempts = _ATTEMPTS_MAX
            slot.due = self.now() + _ATTACH_PAUSE_SECONDS[1]
            copy.say(Reason.WAITING_FOR_ACCESS, copy.detail or "the target refuses to be written to")
        if slot.wants_attach:
            self._wake.set()

    def source_works(self, node: int) -> None:
        """A source broker answered."""
        if self.trouble:
            self.trouble.pop(f"{self.source.cluster.spec.alias} broker {node}", None)

    def target_works(self, node: int) -> None:
        """A target broker answered."""
        if self.trouble:
            self.trouble.pop(f"{self.target.cluster.spec.alias} broker {node}", None)

    def source_leaders_stale(self) -> None:
        """The source's leaders may have moved."""
        self._source_leaders.stale()

    def target_leaders_stale(self) -> None:
        """The target's leaders may have moved."""
        self._target_leaders.stale()

    def report_source(self, node: int, error: KafkaError) -> None:
        """A source broker could not be read."""
        self._report(f"{self.source.cluster.spec.alias} broker {node}", str(error))
        self._source_leaders.stale()

    def report_target(self, node: int, error: KafkaError) -> None:
        """A target broker could not be written to."""
        self._report(f"{self.target.cluster.spec.alias} broker {node}", str(error))

    def report_source_code(self, node: int, code: int) -> None:
        """A source broker answered with an error."""
        self._report(f"{self.source.cluster.spec.alias} broker {node}", error_name(code))

    def report_source_damage(self, node: int, damage: CorruptRecords) -> None:
        """A source broker sent something that is no fetch answer."""
        self._report(f"{self.source.cluster.spec.alias} broker {node}", str(damage))

    def report_target_damage(self, node: int, damage: CorruptRecords) -> None:
        """A target broker sent something that is no produce answer."""
        self._report(f"{self.target.cluster.spec.alias} broker {node}", str(damage))

    def _report(self, place: str, text: str) -> None:
        if self._draining:
            return
        if self.trouble.get(place) != text:
            log.warning("trouble", place=place, why=text)
        self.trouble[place] = text

    # -- leaders --------------------------------------------------------------------------------------------------

    def _source_topics(self) -> set[str]:
        return {slot.source.topic for slot in self.slots.values()}

    def _target_topics(self) -> set[str]:
        return {slot.target.topic for slot in self.slots.values()}

    def _leaders_changed(self) -> None:
        for slot, reader in list(self._reader_of.items()):
            leader = self.source.cluster.leader(slot.source)
            if leader is None or leader.node != reader.node:
                self.settle(slot, "the source's leader moved")
        for slot, writer in list(self._writer_of.items()):
            leader = self.target.cluster.leader(slot.target)
            if leader is None or leader.node != writer.node:
                self.settle(slot, "the target's leader moved")
        self._wake.set()

    # -- attaching --------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Attach what needs it, until cancelled."""
        try:
            while True:
                self._wake.clear()
                self._attach_due()
                self._attach_for_claim()
                self.readers_kick()
                self.writers_kick()
                await self._sleep()
        finally:
            self.close()

    def close(self) -> None:
        """Stop everything; safe to call twice."""
        self._draining = True
        self.guard.close()
        for task in list(self._tasks):
            task.cancel()
        self._source_leaders.close()
        self._target_leaders.close()
        for reader in self._readers.values():
            reader.close()
        for writer in self._writers.values():
            writer.close()

    async def drain(self, seconds: float) -> bool:
        """Send nothing new and wait for answers; return whether none is missing."""
        self._draining = True
        for slot in self.slots.values():
            self.pause(slot)
        deadline = self.now() + seconds
        while any(slot.copy.outstanding for slot in self.slots.values()):
            if self.now() >= deadline:
                return False
            await asyncio.sleep(0.005)
        return True

    async def _sleep(self) -> None:
        due = [slot.due for slot in self._apart if slot.wants_attach]
        seconds = max(0.0, min([_TICK_SECONDS, *(moment - self.now() for moment in due)]))
        try:
            async with asyncio.timeout(max(seconds, 0.001)):
                await self._wake.wait()
        except TimeoutError:
            return

    def _attach_for_claim(self) -> None:
        """Partitions that waited for the claim prove their place again once it is ours."""
        since = self.claim.effective_since()
        if since is None:
            return
        for slot in self._apart:
            if slot.copy.reason is Reason.WAITING_FOR_CLAIM:
                slot.due = min(slot.due, max(since, slot.doubt_until, slot.rest_until))

    def _attach_due(self) -> None:
        now = self.now()
        groups: dict[tuple[int, int], list[Slot]] = defaultdict(list)
        for slot in list(self._apart):
            if self._draining or not slot.wants_attach or slot.due > now:
                continue
            if slot.begins_again or slot.copy.phase is Phase.SETTLING:
                slot.begins_again = False
                slot.copy.attach_again()
            there, here = self.source.cluster.leader(slot.source), self.target.cluster.leader(slot.target)
            if there is None or here is None:
                side = self.source if there is None else self.target
                slot.copy.wait(Reason.WAITING_FOR_LEADER, f"{side.cluster.spec.alias} has no leader for it now")
                (self._source_leaders if there is None else self._target_leaders).stale()
                self._schedule(slot)
                continue
            groups[there.node, here.node].append(slot)
        for group in groups.values():
            for first in range(0, len(group), _ATTACH_GROUP_MAX):
                self._spawn(group[first : first + _ATTACH_GROUP_MAX])

    def _spawn(self, group: list[Slot]) -> None:
        for slot in group:
            slot.attaching = True
        self.start_task(self._attach(group))

    def start_task(self, work: Coroutine[None, None, None]) -> None:
        """Run a coroutine beside the loop; an unexpected error is logged as the bug it is."""
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._task_done)

    def _task_done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.error("bug", exc_info=task.exception())

    async def _attach(self, group: list[Slot]) -> None:
        began = self.now()
        try:
            facts = await read_facts(self.source, self.target, self.writer, group)
        except ReplicatorError as error:
            await self._attach_failed(group, error)
            return
        finally:
            for slot in group:
                slot.attaching = False
        for slot in group:
            if slot.copy.phase is Phase.ATTACHING and slot in facts:
                slot.attached(facts[slot].target.end, began, self.now())
                self._take_facts(slot, facts[slot])
            elif slot.copy.phase is Phase.ATTACHING:
                self._schedule(slot)
        self.readers_kick()

    async def _attach_failed(self, group: list[Slot], error: ReplicatorError) -> None:
        """One refused topic must not hold up the others: halve the group until the culprit stands alone."""
        if len(group) > 1 and not isinstance(error, ConnectionFailed):
            middle = len(group) // 2
            for half in (group[:middle], group[middle:]):
                self._spawn(half)
            return
        for slot in group:
            if slot.copy.phase is not Phase.ATTACHING:
                continue
            if isinstance(error, CorruptRecords):
                self.fault(slot, Reason.CORRUPT_BATCH, str(error))
                continue
            denied = isinstance(error, AuthorizationFailed)
            slot.copy.wait(Reason.WAITING_FOR_ACCESS if denied else Reason.WAITING_FOR_LEADER, str(error))
            self._schedule(slot)
        self._source_leaders.stale()
        self._target_leaders.stale()
        self._watcher.topics_stale()

    def _take_facts(self, slot: Slot, facts: Facts) -> None:
        slot.source_start, slot.target_start = facts.source.start, facts.target.start
        visible_end = facts.source.end if self.committed_only else facts.source.high_watermark
        slot.lag.observe(visible_end, self.now())
        begin_at = visible_end if slot.begin_at_end else facts.source.start
        decision = decide(
            self.writer, facts.target, facts.source, ours=slot.active, begin_at=begin_at, seeded_to=slot.seeded_to
        )
        self._carry_out(slot, decision, facts.source.epoch)

    def _carry_out(self, slot: Slot, decision: Decision, source_epoch: int) -> None:
        copy = slot.copy
        if isinstance(decision, Resume):
            self._resume(slot, decision, source_epoch)
        elif isinstance(decision, Wait):
            copy.wait(decision.reason, decision.detail)
            self._schedule(slot)
        elif isinstance(decision, Fault):
            self.fault(slot, decision.reason, decision.detail)
        elif isinstance(decision, SeedTo):
            self._seeder.begin(slot, decision.offset)

    def _resume(self, slot: Slot, decision: Resume, source_epoch: int) -> None:
        copy = slot.copy
        guarded = decision.state_time_ms is not None and decision.state_time_ms > self.now_ms() - copy.limits.guard_ms
        if copy.doubtful and not guarded and self.now() < slot.doubt_until:
            copy.wait(
                Reason.WAITING_FOR_DOUBT, "a write without an answer may still arrive, and nothing guards against it"
            )
            slot.due = slot.doubt_until
            return
        there, here = self.source.cluster.leader(slot.source), self.target.cluster.leader(slot.target)
        if there is None or here is None:
            self._schedule(slot)
            return
        copy.resume(decision, source_epoch)
        self.trouble.pop(str(slot.source), None)
        self.totals.reattached += 1
        slot.lag.reach(decision.offset)
        reader = self._readers.get(there.node)
        if reader is None:
            reader = self._readers[there.node] = SourceReader(self, there.node)
        writer = self._writers.get(here.node)
        if writer is None:
            writer = self._writers[here.node] = TargetWriter(self, here.node)
        self._apart.discard(slot)
        reader.add(slot)
        self._reader_of[slot] = reader
        self._writer_of[slot] = writer
        if not slot.active:
            self._watcher.activated(slot)
        self._watcher.changed(slot, Phase.ATTACHING, f"copying from offset {decision.offset}")

    def seeded(self, slots: Iterable[Slot]) -> None:
        """The target's log start is in place: read the facts again."""
        for slot in slots:
            slot.copy.attach_again()
            slot.due = 0.0
        self._wake.set()

    def lag_records(self) -> int:
        """Return how many records the partitions that are copied are behind, all together."""
        return sum(
            max(0, slot.lag.observed_end - slot.copy.acked_offset)
            for slot in self.slots.values()
            if slot.lag.observed_end is not None and slot.copy.is_copying()
        )

    def seen_at(self, slot: Slot) -> float | None:
        """Return when the source's end of this partition was last known, including by silent long polls."""
        reader = self._reader_of.get(slot)
        observed = slot.lag.observed_at
        if reader is None or reader.answered_at is None or not reader.sees(slot):
            return observed
        return max(reader.answered_at, observed or 0.0)
