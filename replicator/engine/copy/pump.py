"""The pump of one flow in one daemon: partitions between two clusters, attached, copied, settled, attached again.

It owns the state machines (`core.copy.machine`) and gives them I/O: a reader per source broker, a writer per target
broker, and one attach loop. Everything runs on one event loop, so no state here is ever seen half-changed.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from replicator.core.copy.attaching.facts import Resume, Writers
from replicator.core.copy.machine import PartitionCopy
from replicator.core.copy.values import Ending, Phase, TargetLimits
from replicator.core.copy.writing.answers import ProduceOutcome
from replicator.engine.copy.attaching.attacher import AttachLoop
from replicator.engine.copy.context import CopyContext, wall_ms
from replicator.engine.copy.frame_line import FrameLine
from replicator.engine.copy.overview import Overview
from replicator.engine.copy.partition_tasks import PartitionTasks
from replicator.engine.copy.partitions.partition import Slot, release
from replicator.engine.copy.partitions.producer_state import ShardProducer
from replicator.engine.copy.partitions.recorded import Recorded
from replicator.engine.copy.problems import Problems
from replicator.engine.copy.reading.end_checks import EndChecks
from replicator.engine.copy.routes import Routes
from replicator.engine.copy.sightings import Sightings
from replicator.engine.copy.writing.seeder import Seeder
from replicator.engine.logs.leaders import LeaderWatch
from replicator.engine.logs.opening import Opener
from replicator.engine.logs.side import Side
from replicator.model.status.states import Reason
from replicator.obs import bugs
from replicator.obs.logs import get_logger

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Coroutine, Iterable, Mapping

    from replicator.engine.copy.partitions.live_maps import OffsetMaps
    from replicator.engine.copy.partitions.recorded import Cleaning
    from replicator.engine.copy.partitions.view import PartitionView
    from replicator.engine.copy.ports import Watcher
    from replicator.engine.state.ownership.origins import Origins
    from replicator.engine.work.shards import Shard, Shards
    from replicator.model.names import TopicPartition
    from replicator.model.spec import FlowSpec

log = get_logger(__name__)


class Pump:
    """Copies the partitions of one flow (`Copier`) and supervises the parts that do it.

    Args:
        flow: The flow's policy.
        source: The side to read from.
        target: The side to write to.
        writers: The flow's producer identity on the target, for each of its mirrors.
        shards: The flow's shards, with the rights this daemon has on each.
        producers: How to write to the partitions of each shard.
        watcher: Learns what happens to partitions.
        maps: The offset maps of partitions whose offsets are not the source's own.
        origins: Finds out who wrote a source record; None unless records of other flows are left out.
        now_ms: The wall clock in ms, to compare with record times.

    Attributes:
        context: What its parts share.
        shards: The flow's shards.
        end_checks: Checks for holes at the ends of the source's logs.
        routes: The reader and the writer that each partition is routed through.
        sightings: Accepts what other rooms have seen.
        overview: All partitions at a glance.
    """

    def __init__(
        self,
        flow: FlowSpec,
        source: Side,
        target: Side,
        writers: Writers,
        shards: Shards,
        *,
        producers: Mapping[Shard, ShardProducer],
        watcher: Watcher,
        maps: OffsetMaps,
        origins: Origins | None = None,
        now_ms: Callable[[], int] = wall_ms,
    ) -> None:
        line = FrameLine(flow.limits.in_flight_bytes)
        self.context = CopyContext(
            source=source,
            target=target,
            writers=writers,
            isolation=flow.isolation,
            offsets=flow.offsets,
            producers=producers,
            maps=maps,
            origins=origins,
            line=line,
            opener=Opener(line.frames),
            problems=Problems(source.cluster.spec.alias, target.cluster.spec.alias),
            now=asyncio.get_running_loop().time,
            now_ms=now_ms,
        )
        self.shards = shards
        self.routes = Routes(self.context, self)
        self._watcher = watcher
        self._attach_loop = AttachLoop(self.context, self)
        self.end_checks = EndChecks(self.context, self)
        self._tasks = PartitionTasks(self.context, self.stop_over_bug)
        self._seeder = Seeder(self.context, self)
        self.sightings = Sightings(self.context, self.routes)
        self.overview = Overview(self.context, self.routes, self._attach_loop)
        self._source_leaders = LeaderWatch(source.cluster, self.context.source_topics, self._leaders_changed)
        self._target_leaders = LeaderWatch(target.cluster, self.context.target_topics, self._leaders_changed)

    @property
    def slots(self) -> dict[TopicPartition, Slot]:
        """The partitions, by source name, as this room sees them."""
        return self.context.slots

    @property
    def partitions(self) -> Mapping[TopicPartition, PartitionView]:
        """The partitions, by source name."""
        return self.context.slots

    @property
    def source(self) -> Side:
        """The side it reads from."""
        return self.context.source

    @property
    def target(self) -> Side:
        """The side it writes to."""
        return self.context.target

    # -- partitions ---------------------------------------------------------------------------------------------

    def add(
        self,
        source: TopicPartition,
        target: TopicPartition,
        limits: TargetLimits,
        recorded: Recorded | None = None,
        *,
        doubt_until: float | None = None,
    ) -> Slot:
        """Add a partition; it is attached as soon as its leaders are known (`Copier`)."""
        copy = PartitionCopy(source, limits)
        slot = Slot(source, target, copy, self.shards.of(source), recorded or Recorded())
        self.slots[source] = slot
        if doubt_until is not None:
            copy.doubtful, slot.attach.doubt_until = True, doubt_until
        if self.context.origins is not None:
            slot.copy.reading.missing.left_out = self.context.origins.flows
        self._attach_loop.add(slot)
        self._attach_loop.wake()
        return slot

    def renew(self, view: PartitionView, limits: TargetLimits, cleaning: Cleaning) -> None:
        """Apply what the settings of both topics say now."""
        if (slot := self.context.own(view)) is not None:
            slot.copy.sending.limits, slot.recorded.cleaning = limits, cleaning

    def remove(self, view: PartitionView) -> None:
        """Remove a partition for good."""
        slot = self.context.own(view)
        if slot is None:
            return
        self._leave(slot, slot.copy.pause())
        self._attach_loop.discard(slot)
        self.context.maps.forget(slot)
        self.context.problems.is_over(str(slot.source))
        self.slots.pop(slot.source, None)

    def pause(self, view: PartitionView, text: str = "paused") -> None:
        """Stop a partition on request; `text` says who asked."""
        slot = self.context.own(view)
        if slot is None:
            return
        slot.attach.begins_again = False
        ending = slot.copy.pause()
        self._leave(slot, ending)
        if ending is not None:
            self._watcher.changed(slot, ending.before, text)

    def resume(self, view: PartitionView) -> None:
        """Let a paused or faulted partition start again, once no response to an earlier request is outstanding."""
        slot = self.context.own(view)
        if slot is not None and slot.copy.phase in {Phase.PAUSED, Phase.FAULTED}:
            slot.attach.begins_again = True
            slot.attach.attempts = 0
            slot.attach.due = 0.0
            self._attach_loop.wake()

    def fault(self, view: PartitionView, reason: Reason, detail: str) -> None:
        """Stop a partition with a named reason."""
        if (slot := self.context.own(view)) is not None:
            self.ended(slot, slot.copy.fault(reason, detail))

    def write_as(self, writers: Writers) -> None:
        """Write under these identities from now on; partitions whose own changed have to be removed, or stopped."""
        self.context.writers = writers

    async def persist_maps(self, shards: Collection[Shard]) -> None:
        """Write the offset maps as far as they are known; raises what the state topic raises."""
        await self.context.maps.persist([slot for slot in self.slots.values() if slot.shard in shards])

    def stop_over_bug(self, slot: Slot, bug: Exception) -> None:
        """Stop one partition over a bug in this software; the others continue."""
        bugs.note(bug, partition=str(slot.source))
        slot.attach.is_under_way = False
        slot.copy.displaced = None
        self.ended(slot, slot.copy.fault(Reason.INTERNAL_ERROR, f"{type(bug).__name__}: {bug}"))

    def settle(self, slot: Slot, detail: str) -> None:
        """End a partition's episode; it is attached again."""
        self.ended(slot, slot.copy.settle(detail))

    def _note_active(self, slot: Slot) -> None:
        """Note that a partition is copied; the first time, that has to be recorded."""
        if not slot.recorded.active:
            slot.recorded.active = True
            slot.recorded.was_level_at(self.context.now_ms())
            self._watcher.activated(slot)

    def rest(self, slot: Slot, detail: str, reason: Reason) -> None:
        """End a partition's episode over something that will not pass soon, such as a refusal; retry at a slow pace."""
        self.settle(slot, detail)
        self._attach_loop.rest(slot)
        slot.copy.say(reason, detail)

    async def remember_seed(self, slot: Slot, offset: int) -> None:
        """Record that there may be fillers below `offset`; raises what the state topic raises."""
        await self._watcher.seeding(slot, offset)
        slot.recorded.seeded_to = offset

    def ended(self, slot: Slot, ending: Ending | None) -> None:
        """Act on what a state machine returned: if a phase has ended, the partition is dealt with; None is ignored."""
        if ending is None:
            return
        if self.context.own(slot) is None:  # it was removed; what it had sent is answered only now
            release(ending.dropped)
            return
        self._leave(slot, ending)
        self._watcher.changed(slot, ending.before, slot.copy.detail or "")
        self._attach_loop.schedule(slot)

    def _leave(self, slot: Slot, ending: Ending | None) -> None:
        if ending is not None:
            release(ending.dropped)
        # The stored epoch may be older than the target's tail by now; it would then prove nothing at the next attach.
        slot.recorded.stored_epoch = max(slot.recorded.stored_epoch, slot.copy.reading.last_epoch)
        self._attach_loop.add(slot)
        self.routes.take_silence(slot)
        self.routes.end(slot)

    # -- called by readers and writers ----------------------------------------------------------------------------

    def has_work(self, slot: Slot) -> None:
        """Note that this partition has something to send."""
        self.routes.ready(slot)

    def wants_more(self, slot: Slot) -> bool:
        """Return whether to read more of a partition now."""
        return self.routes.wants_more(slot)

    def wake_readers(self) -> None:
        """Let readers use what has become free, the waiting ones first."""
        self.routes.readers_kick()

    def wake_writers(self) -> None:
        """Let writers send what has become ready."""
        self.routes.writers_kick()

    def tick(self, now: float) -> None:
        """Do what is due about once a second, at monotonic time `now`."""
        self.end_checks.check()
        self.routes.note_who_owes(now)
        self.context.line.frames.give_up_spare(now)

    def waits_for_its_turn(self, slot: Slot) -> bool:
        """Return whether other partitions fill their broker's responses, so that this one has no room in them."""
        return self.routes.waits_for_its_turn(slot)

    def answered_empty(self, slot: Slot) -> None:
        """Note that a response held nothing of a partition that should have more."""
        self.end_checks.answered_empty(slot)

    def answered(self, slot: Slot, outcome: ProduceOutcome, ending: Ending | None = None) -> None:
        """Act on a response of the target, beyond what the state machine made of it."""
        copy = slot.copy
        if outcome is ProduceOutcome.ACCEPTED:
            self._note_active(slot)
        if outcome in {ProduceOutcome.UNKNOWN, ProduceOutcome.DUPLICATE}:
            slot.attach.doubt_until = self.context.now() + self.target.cluster.spec.doubt_seconds
        self.ended(slot, ending)
        if outcome is ProduceOutcome.MISSING:
            self._watcher.topics_stale()
        if outcome in {ProduceOutcome.MISSING, ProduceOutcome.MOVED}:
            self._target_leaders.stale()
        if outcome is ProduceOutcome.DENIED and copy.phase is Phase.SETTLING:
            self._attach_loop.rest(slot)
            copy.say(Reason.WAITING_FOR_ACCESS, copy.detail or "the target refuses to let us write")
        if slot.wants_attach:
            self._attach_loop.wake()

    def leaders_stale(self, *, source: bool = True, target: bool = True) -> None:
        """Note that leaders of a side may have moved."""
        if source:
            self._source_leaders.stale()
        if target:
            self._target_leaders.stale()

    def topics_stale(self) -> None:
        """Note that a topic may have been deleted, or become inaccessible."""
        self._watcher.topics_stale()

    # -- leaders --------------------------------------------------------------------------------------------------

    def _leaders_changed(self) -> None:
        for slot, side in self.routes.led_elsewhere():
            self.settle(slot, f"the {side}'s leader moved")
        self._attach_loop.wake()

    # -- life -------------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Copy until cancelled."""
        try:
            await self._attach_loop.run()
        finally:
            self.close()

    def close(self) -> None:
        """Stop everything; safe to call twice."""
        self.context.problems.muted = self._attach_loop.draining = True
        for producer in self.context.producers.values():
            producer.guard.close()
        for part in (self._tasks, self._source_leaders, self._target_leaders, self.routes):
            part.close()

    async def drain(self, views: Collection[PartitionView], seconds: float, text: str) -> bool:
        """Send nothing new for some partitions; return whether every response came, and no lost request is in doubt."""
        for view in views:
            self.pause(view, text)
        deadline = self.context.now() + seconds
        while any(view.copy.sending.outstanding for view in views):
            if self.context.now() >= deadline:
                return False
            await asyncio.sleep(0.005)
        return not any(view.attach.doubt_until > self.context.now() for view in views)

    def start(self, work: Coroutine[None, None, None], *slots: Slot) -> asyncio.Task[None]:
        """Run a coroutine as a task; an unexpected error stops the partitions it works for, with a named reason."""
        return self._tasks.start(work, slots)

    # -- what the attach loop decides -------------------------------------------------------------------------------

    def begin_copying(self, slot: Slot, decision: Resume, source_epoch: int) -> bool:
        """Start copying at the place the attach found; return False if a leader was lost in the meantime."""
        there, here = self.context.leaders_of(slot)
        if there is None or here is None:
            return False
        end = slot.lag.observed_end
        missing = slot.copy.reading.missing
        missing.compacted = slot.recorded.cleaning.certain
        missing.intact_below = self._watcher.intact_below(slot, end) if slot.recorded.active and end is not None else 0
        if (ending := slot.copy.resume(decision, source_epoch)) is not None:
            self.ended(slot, ending)
            return True
        self.context.problems.is_over(str(slot.source))
        self.context.counters.totals.reattached += 1
        slot.lag.reach(decision.offset)
        self._attach_loop.discard(slot)
        self.routes.begin(slot, there.node, here.node)
        if not slot.copy.sending.drained:
            # A given-up gap is filled from here. Sending that must not depend on the next batch that is read, because
            # that batch may have to wait until everything before it is acknowledged.
            self.routes.ready(slot)
            self.routes.writers_kick()
        self._note_active(slot)
        to = f" to offset {decision.place.target} of the target" if decision.shift else ""
        self._watcher.changed(slot, Phase.ATTACHING, f"copying from offset {decision.offset}{to}")
        return True

    def seed(self, slot: Slot, offset: int) -> None:
        """Make a partition's log on the target start at `offset`."""
        before = slot.copy.phase
        slot.copy.seed()
        self._watcher.changed(slot, before, f"seeding to offset {offset}")
        self._seeder.begin(slot, offset)

    def seeded(self, slots: Iterable[Slot]) -> None:
        """Read the facts of partitions again, now that the target's log start is in place."""
        for slot in slots:
            slot.copy.attach_again()
            slot.attach.due = 0.0
        self._attach_loop.wake()
