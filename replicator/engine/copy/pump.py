"""The pump of one flow in one daemon: partitions between two clusters, attached, copied, settled, attached again.

It owns the machines (`core.copy.machine`) and gives them I/O: readers per source broker, a writer per target broker,
and one attach loop. Everything runs on one event loop, so no state here is ever seen half-changed.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Protocol, cast

from replicator.core.copy.answers import ProduceOutcome
from replicator.core.copy.attach_facts import Resume, Writers
from replicator.core.copy.machine import PartitionCopy
from replicator.core.copy.values import Phase, TargetLimits
from replicator.engine.copy.attacher import AttachLoop
from replicator.engine.copy.context import CopyContext
from replicator.engine.copy.end_looks import EndLooks
from replicator.engine.copy.frame_line import FrameLine
from replicator.engine.copy.partition import Slot, release
from replicator.engine.copy.problems import Problems
from replicator.engine.copy.producer_state import ShardProducer
from replicator.engine.copy.reader import SourceReader
from replicator.engine.copy.seeder import Seeder
from replicator.engine.copy.writer import TargetWriter
from replicator.engine.logs.leaders import LeaderWatch
from replicator.engine.logs.opening import Opener
from replicator.engine.logs.side import Side
from replicator.model.spec import Isolation
from replicator.model.states import Reason
from replicator.obs import bugs
from replicator.obs.logs import get_logger
from replicator.wire.frames import Frame

if TYPE_CHECKING:
    from collections.abc import Collection, Coroutine, Iterable, Mapping, Sequence

    from replicator.engine.copy.live_maps import OffsetMaps
    from replicator.engine.state.origins import Origins
    from replicator.engine.work.shards import Shard, Shards
    from replicator.model.names import TopicPartition
    from replicator.model.spec import FlowSpec

_QUEUED_BYTES_MAX = 1 << 20
"""A partition with more than this unsent is not read: one that is stuck must not hold all frames."""
log = get_logger(__name__)


class Watcher(Protocol):
    """Who is told what happens to partitions (the flow runner)."""

    def changed(self, slot: Slot, before: Phase, text: str) -> None:
        """A partition changed its phase."""

    def activated(self, slot: Slot) -> None:
        """A partition is copied for the first time."""

    def intact_below(self, slot: Slot, source_end: int) -> int:
        """Below which source offset may nothing have been cleaned away, as tombstones might be lost; 0 for none."""

    async def seeding(self, slot: Slot, offset: int) -> None:
        """A partition is going to be seeded: record it before the first filler."""

    def topics_stale(self) -> None:
        """A topic seems to be gone or another one: look at once."""


class Pump:
    """The pump.

    Args:
        flow: The flow's policy.
        source: Where to read.
        target: Where to write.
        writers: Who the flow is on the target, for each of its mirrors.
        shards: The flow's shards, with this daemon's rights on each.
        producers: How it writes to the partitions of each.
        watcher: Who is told.
        maps: Where offsets stand that are not the source's own.
        origins: Whose records the source holds, where those of other flows are not copied.

    Attributes:
        context: What its parts share.
        shards: As given.
        end_looks: Looks where the source's logs may end in holes.
        queued_bytes_max: A partition with more than this unsent is not read.
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
    ) -> None:
        line = FrameLine(flow.limits.in_flight_bytes)
        self.context = CopyContext(
            source=source,
            target=target,
            writers=writers,
            committed_only=flow.isolation is Isolation.READ_COMMITTED,
            offsets=flow.offsets,
            producers=producers,
            maps=maps,
            origins=origins,
            line=line,
            opener=Opener(line.frames),
            problems=Problems(source.cluster.spec.alias, target.cluster.spec.alias),
            now=asyncio.get_running_loop().time,
            now_ms=_now_ms,
        )
        self.shards = shards
        self.queued_bytes_max = _QUEUED_BYTES_MAX
        self._watcher = watcher
        self._owing: set[TargetWriter] = set()
        self._readers: dict[int, SourceReader] = {}
        self._writers: dict[int, TargetWriter] = {}
        self._reader_of: dict[Slot, SourceReader] = {}
        self._writer_of: dict[Slot, TargetWriter] = {}
        self._attach_loop = AttachLoop(self.context, self)
        self.end_looks = EndLooks(self.context, self)
        self._tasks: set[asyncio.Task[None]] = set()
        self._seeder = Seeder(self.context, self)
        self._source_leaders = LeaderWatch(source.cluster, self._source_topics, self._leaders_changed)
        self._target_leaders = LeaderWatch(target.cluster, self._target_topics, self._leaders_changed)

    @property
    def slots(self) -> dict[TopicPartition, Slot]:
        """The partitions, by source name."""
        return self.context.slots

    @property
    def source(self) -> Side:
        """Where it reads."""
        return self.context.source

    @property
    def target(self) -> Side:
        """Where it writes."""
        return self.context.target

    # -- partitions ---------------------------------------------------------------------------------------------

    def add(self, source: TopicPartition, target: TopicPartition, limits: TargetLimits) -> Slot:
        """Begin with a partition; it is attached as soon as its leaders are known."""
        slot = Slot(source, target, PartitionCopy(source, limits), self.shards.of(source))
        self.slots[source] = slot
        if self.context.origins is not None:
            slot.copy.left_out = self.context.origins.flows
        self._attach_loop.add(slot)
        self._attach_loop.wake()
        return slot

    def remove(self, slot: Slot) -> None:
        """End with a partition for good."""
        if slot.copy.phase is not Phase.FAULTED:
            release(slot.copy.pause())
        self._detach(slot)
        self._attach_loop.discard(slot)
        self.context.maps.forget(slot)
        self.context.problems.is_over(str(slot.source))
        self.slots.pop(slot.source, None)

    def pause(self, slot: Slot, text: str = "paused") -> None:
        """Stop a partition by wish; `text` says whose."""
        before = slot.copy.phase
        slot.begins_again = False
        release(slot.copy.pause())
        self._detach(slot)
        if before is not slot.copy.phase:
            self._watcher.changed(slot, before, text)

    def resume(self, slot: Slot) -> None:
        """Let a paused or faulted partition begin again, once no answer of before is outstanding."""
        if slot.copy.phase in {Phase.PAUSED, Phase.FAULTED}:
            slot.begins_again = True
            slot.attempts = 0
            slot.due = 0.0
            self._attach_loop.wake()

    def fault(self, slot: Slot, reason: Reason, detail: str) -> None:
        """Stop a partition with a named reason."""
        before = slot.copy.phase
        release(slot.copy.fault(reason, detail))
        self._left_copying(slot, before)

    def stop_over_bug(self, slot: Slot, bug: Exception) -> None:
        """Stop one partition over an error of this software; the others go on."""
        bugs.note(bug, partition=str(slot.source))
        slot.attaching = False
        slot.copy.displaced = None
        self.fault(slot, Reason.INTERNAL_ERROR, f"{type(bug).__name__}: {bug}")

    def settle(self, slot: Slot, detail: str) -> None:
        """End a partition's episode without doubt; it is attached again."""
        before = slot.copy.phase
        release(slot.copy.settle(detail, doubtful=False))
        self._left_copying(slot, before)

    def rest(self, slot: Slot, detail: str, reason: Reason) -> None:
        """End a partition's episode over what will not pass soon, such as a refusal; look again at a slow pace."""
        self.settle(slot, detail)
        self._attach_loop.rest(slot)
        slot.copy.say(reason, detail)

    def map_instead(self, slot: Slot, detail: str) -> None:
        """End a partition's episode to go over to mapped offsets: what holds no record cannot be filled."""
        before = slot.copy.phase
        release(slot.copy.leave_out(detail))
        self._left_copying(slot, before)

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
        self._attach_loop.schedule(slot)

    def _detach(self, slot: Slot) -> None:
        # What is stored may be older than the tail by now, and would then prove nothing at the next attach.
        slot.stored_epoch = max(slot.stored_epoch, slot.copy.last_epoch)
        self._attach_loop.add(slot)
        self.take_silence(slot)
        reader = self._reader_of.pop(slot, None)
        if reader is not None:
            reader.remove(slot)
        writer = self._writer_of.pop(slot, None)
        if writer is not None:
            writer.forget(slot)

    # -- called by readers and writers ----------------------------------------------------------------------------

    def ready(self, slot: Slot) -> None:
        """Something of this partition can be sent."""
        writer = self._writer_of.get(slot)
        if writer is not None:
            writer.ready(slot)

    def wants_more(self, slot: Slot) -> bool:
        """Return whether more of a partition is to be read now."""
        return self._writer_of.get(slot) not in self._owing and slot.copy.wants_more(self.queued_bytes_max)

    def look_around(self, now: float) -> None:
        """Do what is due about once a second, at monotonic time `now`."""
        self.end_looks.look()
        self._note_who_owes(now)
        self.context.line.frames.give_up_spare(now)

    def answered_empty(self, slot: Slot) -> None:
        """An answer held nothing of a partition that should have more."""
        self.end_looks.answered_empty(slot)

    def _note_who_owes(self, now: float) -> None:
        """Read nothing more for target brokers that owe their answers, until they give them.

        Else a single one that hangs would hold every frame with what waits for it, and nothing would be read for the
        others until its requests had timed out.
        """
        before, line = self._owing, self.context.line
        self._owing = {writer for writer in self._writers.values() if writer.owes(now)}
        line.is_owed, line.owed_bytes = bool(self._owing), self._held_for(self._owing)
        if line.frames.is_stuck(line.owed_bytes):
            for reader in self._readers.values():
                reader.give_up_what_waits()
        changed = self._owing ^ before
        for slot, writer in self._writer_of.items() if changed else ():
            if writer in changed and slot in self._reader_of:
                self._reader_of[slot].look_at(slot)

    def _held_for(self, writers: Collection[TargetWriter]) -> int:
        """Return how many bytes of frames are held by what is to be sent by some writers."""
        if not writers:
            return 0
        slots = [slot for slot, writer in self._writer_of.items() if writer in writers]
        frames = {cast("Frame", batch.owner) for slot in slots for batch in slot.copy.held()}
        return sum(frame.made_bytes for frame in frames)

    def readers_kick(self) -> None:
        """Let readers use what became free: those that wait for it first."""
        self.context.line.kick_all(self._readers.values())

    def writers_kick(self) -> None:
        """Let writers send what became ready."""
        for writer in self._writers.values():
            writer.kick()

    def after_answer(self, slot: Slot, outcome: ProduceOutcome) -> None:
        """An answer changed a partition's phase, or was its last one outstanding."""
        copy = slot.copy
        if outcome is ProduceOutcome.ACCEPTED and not slot.active:
            self._watcher.activated(slot)
        if outcome in {ProduceOutcome.UNKNOWN, ProduceOutcome.DUPLICATE}:
            slot.doubt_until = self.context.now() + self.target.cluster.spec.doubt_seconds
        if copy.phase is not Phase.COPYING and slot in self._writer_of:
            self._left_copying(slot, Phase.COPYING)
        if outcome is ProduceOutcome.MISSING:
            self._watcher.topics_stale()
        if outcome in {ProduceOutcome.MISSING, ProduceOutcome.MOVED}:
            self._target_leaders.stale()
        if outcome is ProduceOutcome.DENIED and copy.phase is Phase.SETTLING:
            self._attach_loop.rest(slot)
            copy.say(Reason.WAITING_FOR_ACCESS, copy.detail or "the target refuses to be written to")
        if slot.wants_attach:
            self._attach_loop.wake()

    def leaders_stale(self, *, source: bool = True, target: bool = True) -> None:
        """The leaders of a side may have moved."""
        if source:
            self._source_leaders.stale()
        if target:
            self._target_leaders.stale()

    def topics_stale(self) -> None:
        """A topic may be gone, or out of our reach."""
        self._watcher.topics_stale()

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
        for task in list(self._tasks):
            task.cancel()
        self._source_leaders.close()
        self._target_leaders.close()
        for reader in self._readers.values():
            reader.close()
        for writer in self._writers.values():
            writer.close()

    async def drain(self, slots: Collection[Slot], seconds: float, text: str) -> bool:
        """Send nothing new of some partitions and wait for answers; return whether none is missing."""
        for slot in slots:
            self.pause(slot, text)
        deadline = self.context.now() + seconds
        while any(slot.copy.outstanding for slot in slots):
            if self.context.now() >= deadline:
                return False
            await asyncio.sleep(0.005)
        return True

    def start_task(self, work: Coroutine[None, None, None], *slots: Slot) -> asyncio.Task[None]:
        """Run a coroutine beside the loop; an unexpected error stops the partitions that it works for, by name."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(lambda done: self._task_done(done, slots))
        return task

    def _task_done(self, task: asyncio.Task[None], slots: Sequence[Slot]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is None:
            return
        if not isinstance(error, Exception) or not slots:
            raise error  # to the loop's exception handler: it belongs to the flow
        for slot in slots:
            if self.slots.get(slot.source) is slot:
                self.stop_over_bug(slot, error)

    # -- what the attach loop decides -------------------------------------------------------------------------------

    def begin_copying(self, slot: Slot, decision: Resume, source_epoch: int) -> bool:
        """Open an episode at the place the attach found; False where a leader was lost meanwhile."""
        there, here = self.context.leaders_of(slot)
        if there is None or here is None:
            return False
        end = slot.lag.observed_end
        slot.copy.compacted = slot.surely_compacted
        slot.copy.intact_below = self._watcher.intact_below(slot, end) if slot.active and end is not None else 0
        slot.copy.resume(decision, source_epoch)
        if not slot.copy.is_copying():  # a gap that was given up is too long to be filled
            self._left_copying(slot, Phase.ATTACHING)
            return True
        self.context.problems.is_over(str(slot.source))
        self.context.books.totals.reattached += 1
        slot.lag.reach(decision.offset)
        reader = self._readers.get(there.node)
        if reader is None:
            reader = self._readers[there.node] = SourceReader(self.context, self, there.node)
            self.context.line.serve(len(self._readers))
        writer = self._writers.get(here.node)
        if writer is None:
            writer = self._writers[here.node] = TargetWriter(self.context, self, here.node)
        self._attach_loop.discard(slot)
        reader.add(slot)
        self._reader_of[slot] = reader
        self._writer_of[slot] = writer
        if not slot.active:
            self._watcher.activated(slot)
        text = f"copying from offset {decision.offset}"
        if decision.shift:
            text += f" to offset {decision.place.target} of the target"
        self._watcher.changed(slot, Phase.ATTACHING, text)
        return True

    def seed(self, slot: Slot, offset: int) -> None:
        """Let a partition's log on the target start at `offset`."""
        self._seeder.begin(slot, offset)

    def seeded(self, slots: Iterable[Slot]) -> None:
        """The target's log start is in place: read the facts again."""
        for slot in slots:
            slot.copy.attach_again()
            slot.due = 0.0
        self._attach_loop.wake()

    def all_copying(self) -> bool:
        """Return whether no partition is being attached, waits or stands still."""
        return self._attach_loop.is_empty()

    def lag_records(self) -> int:
        """Return how many records the partitions that are copied are behind, all together."""
        return sum(
            max(0, slot.lag.observed_end - slot.copy.acked_offset)
            for slot in self.slots.values()
            if slot.lag.observed_end is not None and slot.copy.is_copying()
        )

    def take_silence(self, slot: Slot) -> None:
        """Bring a partition's lag meter up to date: with what was acknowledged, and what a silent session proves."""
        slot.lag.reach(slot.copy.acked_offset)
        reader = self._reader_of.get(slot)
        at = reader.unchanged_at(slot) if reader is not None else None
        if at is not None:
            slot.lag.confirm(at)

    def waits_for_its_turn(self, slot: Slot) -> bool:
        """Return whether the broker of a partition gives so much of others that there is no room for its own."""
        reader = self._reader_of.get(slot)
        return reader is not None and reader.is_crowded

    def present_trouble(self) -> dict[str, str]:
        """Return problems by place, without those of brokers which nothing is asked of any more."""
        return self.context.problems.present(*self._nodes(self._attach_loop.waiting.asked))

    def leaderless(self) -> tuple[list[TopicPartition], list[TopicPartition]]:
        """Return the partitions that nobody leads, on the source and on the target, of what the flow copies."""
        # Those that are copied had a leader a moment ago; once theirs is gone they are copied no more.
        return self._attach_loop.waiting.leaderless

    def nodes_in_use(self) -> tuple[set[int], set[int]]:
        """Return the brokers that lead the flow's partitions, on the source and on the target, as far as is known."""
        return self._nodes(self._attach_loop.waiting.leaders)

    def _nodes(self, apart: tuple[set[int], set[int]]) -> tuple[set[int], set[int]]:
        # Of those that are copied the readers and writers know; a thousand of them are a handful of brokers.
        there, here = apart
        return (
            {reader.node for reader in set(self._reader_of.values())} | there,
            {writer.node for writer in set(self._writer_of.values())} | here,
        )


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
