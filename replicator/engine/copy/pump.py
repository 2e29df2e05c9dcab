"""The pump of one flow in one daemon: partitions between two clusters, attached, copied, settled, attached again.

It owns the machines (`core.copy.machine`) and gives them I/O: readers per source broker, a writer per target broker,
and one attach loop. Everything runs on one event loop, so no state here is ever seen half-changed.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, cast

from replicator.core.copy.answers import ProduceOutcome
from replicator.core.copy.attach_facts import Resume, Writers
from replicator.core.copy.machine import PartitionCopy
from replicator.core.copy.values import Phase, TargetLimits
from replicator.engine.copy.attacher import AttachLoop
from replicator.engine.copy.end_looks import EndLooks
from replicator.engine.copy.partition import Slot, release
from replicator.engine.copy.producer_state import ShardProducer, Standing
from replicator.engine.copy.reader import SourceReader
from replicator.engine.copy.seeder import Seeder
from replicator.engine.copy.writer import TargetWriter
from replicator.engine.logs.leaders import LeaderWatch
from replicator.engine.logs.opening import Opener
from replicator.engine.logs.side import Side
from replicator.errors import CorruptRecords, KafkaError, ReplicatorError
from replicator.model.batch import MAGIC_V2
from replicator.model.spec import Isolation
from replicator.model.states import Reason
from replicator.obs import bugs
from replicator.obs.logs import get_logger
from replicator.wire.faults import error_name
from replicator.wire.frames import Frame, FramePool

if TYPE_CHECKING:
    from collections.abc import Collection, Coroutine, Iterable, Mapping, Sequence

    from replicator.engine.copy.live_maps import OffsetMaps
    from replicator.engine.state.origins import Origins
    from replicator.engine.work.shards import Shard, Shards
    from replicator.errors import TooLargeToOpen
    from replicator.model.batch import BatchHeader
    from replicator.model.names import TopicPartition
    from replicator.model.spec import FlowSpec
    from replicator.wire.cluster import Leader

_FRAME_BYTES_MAX = 6 << 20
_FRAMES_MIN = 3
_FRAMES_AHEAD = 2
"""Frames in use beside the one each reader fills: more would only lie in the way of the caches, and fill memory."""
_QUEUED_BYTES_MAX = 1 << 20
"""A partition with more than this unsent is not read: one that is stuck must not hold all frames."""
_FRAME_BYTES_MIN = 256 << 10
_POLL_MS = 500
_SHORT_POLL_MS = (10, 50)
"""Each poll holds a frame. With fewer than readers, every broker is asked within twice this time, plus the work."""

log = get_logger(__name__)


def _frames_of(in_flight_bytes: int, readers: int) -> tuple[int, int]:
    """Return how many frames there are and the size of each: one for each reader that waits for data, and some more."""
    share_bytes = in_flight_bytes // max(_FRAMES_MIN, readers + _FRAMES_AHEAD)
    frame_bytes = max(_FRAME_BYTES_MIN, min(_FRAME_BYTES_MAX, share_bytes))
    return max(_FRAMES_MIN, in_flight_bytes // frame_bytes), frame_bytes


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


@dataclass(slots=True)
class Totals:
    """Counters of one pump."""

    records: int = 0
    bytes: int = 0
    batches: int = 0
    filled: int = 0
    requests: int = 0
    reattached: int = 0
    last_progress: float | None = None


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
        slots: The partitions, by source name.
        totals: Counters.
        outcomes: Answers by kind.
        opener: Opens batches that have to be encoded anew.
        end_looks: Looks where the source's logs may end in holes.
        trouble: Present trouble by place, for status.
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
        self.source = source
        self.target = target
        self.writers = writers
        self.slots: dict[TopicPartition, Slot] = {}
        self.totals = Totals()
        self.outcomes: dict[ProduceOutcome, int] = dict.fromkeys(ProduceOutcome, 0)
        self.trouble: dict[str, str] = {}
        self.committed_only = flow.isolation is Isolation.READ_COMMITTED
        self._in_flight_bytes = flow.limits.in_flight_bytes
        self.frames = FramePool(*_frames_of(self._in_flight_bytes, readers=1))
        self.opener = Opener(self.frames)
        self._line: dict[SourceReader, None] = {}
        self._owing: set[TargetWriter] = set()
        self._owed_bytes = 0
        self.queued_bytes_max = _QUEUED_BYTES_MAX
        self.shards = shards
        self.producers = producers
        self.maps = maps
        self.origins = origins
        self.offsets = flow.offsets
        self._watcher = watcher
        self._readers: dict[int, SourceReader] = {}
        self._writers: dict[int, TargetWriter] = {}
        self._reader_of: dict[Slot, SourceReader] = {}
        self._writer_of: dict[Slot, TargetWriter] = {}
        self._attach_loop = AttachLoop(self)
        self.end_looks = EndLooks(self)
        self._tasks: set[asyncio.Task[None]] = set()
        self._seeder = Seeder(self)
        self._source_leaders = LeaderWatch(source.cluster, self._source_topics, self._leaders_changed)
        self._target_leaders = LeaderWatch(target.cluster, self._target_topics, self._leaders_changed)
        self._loop = asyncio.get_running_loop()
        self.now = self._loop.time
        self._draining = False

    def now_ms(self) -> int:
        """Return the wall clock in ms, to compare with record times."""
        return time.time_ns() // 1_000_000

    # -- partitions ---------------------------------------------------------------------------------------------

    def add(self, source: TopicPartition, target: TopicPartition, limits: TargetLimits) -> Slot:
        """Begin with a partition; it is attached as soon as its leaders are known."""
        slot = Slot(source, target, PartitionCopy(source, limits), self.shards.of(source))
        self.slots[source] = slot
        if self.origins is not None:
            slot.copy.left_out = self.origins.flows
        self._attach_loop.add(slot)
        self._attach_loop.wake()
        return slot

    def remove(self, slot: Slot) -> None:
        """End with a partition for good."""
        if slot.copy.phase is not Phase.FAULTED:
            release(slot.copy.pause())
        self._detach(slot)
        self._attach_loop.discard(slot)
        self.maps.forget(slot)
        self.trouble.pop(str(slot.source), None)
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

    def cannot_be_opened(self, slot: Slot, header: BatchHeader, error: TooLargeToOpen | CorruptRecords) -> None:
        """Stop a partition at a batch that is damaged, or takes more memory than it may; it cannot pass as it is."""
        if isinstance(error, CorruptRecords):
            self.fault(slot, Reason.CORRUPT_BATCH, str(error))
            return
        slot.too_large = (header.base_offset, header.next_offset) if header.magic == MAGIC_V2 else None
        self.fault(
            slot,
            Reason.BATCH_TOO_LARGE,
            f"{error}; it cannot be copied as it is, and limits.in_flight_bytes allows {self.opener.bytes_max} bytes "
            "(half of it) for the records of one batch",
        )

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

    def settle_and_rest(self, slot: Slot, detail: str, reason: Reason = Reason.WAITING_FOR_ACCESS) -> None:
        """End a partition's episode over what will not pass soon, such as a refusal; look again at a slow pace."""
        self.settle(slot, detail)
        self._attach_loop.rest(slot)
        slot.copy.say(reason, detail)
        self._report(str(slot.source), detail)

    def map_instead(self, slot: Slot, detail: str) -> None:
        """End a partition's episode to go over to mapped offsets: what holds no record cannot be filled."""
        before = slot.copy.phase
        release(slot.copy.leave_out(detail))
        self._left_copying(slot, before)

    def wait_for_claim(self, slot: Slot) -> None:
        """Let go of what must not be sent unguarded: it would keep frames from partitions that may go on."""
        standing = self.producers[slot.shard].guard.standing(slot)
        if standing is Standing.ASKING:
            return
        detail = "older than the target's memory of producers: copied under the claim only, which is not ours now"
        if standing is Standing.CROWDED:
            detail = "old record times follow new ones, and another daemon runs this flow: it must fall behind first"
        self.settle(slot, detail)
        self._attach_loop.rest(slot)
        slot.copy.say(Reason.WAITING_FOR_CLAIM, detail)

    def wait_to_fill(self, slot: Slot) -> None:
        """Let go of a partition that needs markers, which only the claim's holder may append."""
        self.settle(slot, "offsets without a record come next: they are filled under the claim only")
        self._attach_loop.rest(slot)
        slot.copy.say(Reason.WAITING_FOR_CLAIM, "offsets without a record come next: they are filled under the claim")

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

    def take_frame(self, reader: SourceReader) -> Frame | None:
        """Return a frame to read into, or None while enough is on its way to the target: then the reader is in line.

        First come, first served: a reader that is quick to ask again must not leave others without a frame for good.
        """
        line = self._line
        line.setdefault(reader)
        if next(iter(line)) is not reader:
            return None
        # What a target broker that owes its answers holds is not on its way: the rest may use what else there is.
        if not self._owing and self.frames.in_use >= len(self._readers) + _FRAMES_AHEAD:
            return None
        frame = self.frames.take(self._owed_bytes)
        if frame is not None:
            del line[reader]
        return frame

    def wants_more(self, slot: Slot) -> bool:
        """Return whether more of a partition is to be read now."""
        return self._writer_of.get(slot) not in self._owing and slot.copy.wants_more(self.queued_bytes_max)

    def note_who_owes(self) -> None:
        """Read nothing more for target brokers that owe their answers, until they give them.

        Else a single one that hangs would hold every frame with what waits for it, and nothing would be read for the
        others until its requests had timed out.
        """
        now, before = self.now(), self._owing
        self._owing = {writer for writer in self._writers.values() if writer.owes(now)}
        self._owed_bytes = self._held_for(self._owing)
        if self.frames.is_stuck(self._owed_bytes):
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

    @property
    def poll_ms(self) -> int:
        """How long a broker may wait for something to answer with: meanwhile it holds a frame that others may need."""
        readers, frames = len(self._readers), self.frames.frames_max
        if frames >= readers + _FRAMES_AHEAD:
            return _POLL_MS
        shortest, each = _SHORT_POLL_MS
        return max(shortest, each * frames // max(frames, readers))

    def leave_line(self, reader: SourceReader) -> None:
        """This reader has no use for a frame now."""
        self._line.pop(reader, None)

    def readers_kick(self) -> None:
        """Let readers use what became free: those that wait for it first."""
        line = list(self._line)
        for reader in line:
            reader.kick()
        for reader in self._readers.values():
            if reader not in line:
                reader.kick()

    def line_kick(self) -> None:
        """Let readers that wait for a frame use the one that became free."""
        for reader in list(self._line):
            reader.kick()

    def writers_kick(self) -> None:
        """Let writers send what became ready."""
        for writer in self._writers.values():
            writer.kick()

    def count(self, records: int, size: int, batches: int, now: float) -> None:
        """Keep the books of accepted batches: their records, their bytes, and how many they are."""
        if not batches:
            return
        totals = self.totals
        totals.records += records
        totals.bytes += size
        totals.batches += batches
        totals.last_progress = now
        self.outcomes[ProduceOutcome.ACCEPTED] += batches

    def count_fill(self, length: int, now: float) -> None:
        """Keep the books of filled offsets."""
        self.totals.filled += length
        self.totals.last_progress = now

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
            self._attach_loop.rest(slot)
            copy.say(Reason.WAITING_FOR_ACCESS, copy.detail or "the target refuses to be written to")
        if slot.wants_attach:
            self._attach_loop.wake()

    def source_works(self, node: int) -> None:
        """A source broker answered."""
        if self.trouble:
            self.trouble.pop(f"{self.source.cluster.spec.alias} broker {node}", None)

    def target_works(self, node: int) -> None:
        """A target broker answered."""
        if self.trouble:
            self.trouble.pop(f"{self.target.cluster.spec.alias} broker {node}", None)

    def leaders_stale(self, *, source: bool = True, target: bool = True) -> None:
        """The leaders of a side may have moved."""
        if source:
            self._source_leaders.stale()
        if target:
            self._target_leaders.stale()

    def topics_stale(self) -> None:
        """A topic may be gone, or out of our reach."""
        self._watcher.topics_stale()

    def report_source(self, node: int, error: KafkaError) -> None:
        """A source broker could not be read."""
        self._report(f"{self.source.cluster.spec.alias} broker {node}", error.with_next_step())
        self._source_leaders.stale()

    def report_target(self, node: int, error: ReplicatorError) -> None:
        """A target broker could not be written to."""
        self._report(f"{self.target.cluster.spec.alias} broker {node}", error.with_next_step())

    def report_source_code(self, node: int, code: int) -> None:
        """A source broker answered with an error."""
        self._report(f"{self.source.cluster.spec.alias} broker {node}", error_name(code))

    def report_source_damage(self, node: int, damage: CorruptRecords) -> None:
        """A source broker sent something that is no fetch answer."""
        self._report(f"{self.source.cluster.spec.alias} broker {node}", str(damage))

    def report_bug(self, node: int, bug: Exception) -> None:
        """An answer of a source broker, or a request to it, met an error of this software."""
        bugs.note(bug, source_broker=node)
        self._report(f"{self.source.cluster.spec.alias} broker {node}", f"{type(bug).__name__}: {bug}")

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
        self._draining = self._attach_loop.draining = True
        for producer in self.producers.values():
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
        deadline = self.now() + seconds
        while any(slot.copy.outstanding for slot in slots):
            if self.now() >= deadline:
                return False
            await asyncio.sleep(0.005)
        return True

    def start_task(self, work: Coroutine[None, None, None], *slots: Slot) -> asyncio.Task[None]:
        """Run a coroutine beside the loop; an unexpected error stops the partitions that it works for, by name."""
        task = self._loop.create_task(work)
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

    def leaders_of(self, slot: Slot) -> tuple[Leader | None, Leader | None]:
        """Return who leads a partition on the source and on the target, as known."""
        return self.source.cluster.leader(slot.source), self.target.cluster.leader(slot.target)

    def begin_copying(self, slot: Slot, decision: Resume, source_epoch: int) -> bool:
        """Open an episode at the place the attach found; False where a leader was lost meanwhile."""
        there, here = self.leaders_of(slot)
        if there is None or here is None:
            return False
        end = slot.lag.observed_end
        slot.copy.compacted = slot.surely_compacted
        slot.copy.intact_below = self._watcher.intact_below(slot, end) if slot.active and end is not None else 0
        slot.copy.resume(decision, source_epoch)
        if not slot.copy.is_copying():  # a gap that was given up is too long to be filled
            self._left_copying(slot, Phase.ATTACHING)
            return True
        self.trouble.pop(str(slot.source), None)
        self.totals.reattached += 1
        slot.lag.reach(decision.offset)
        reader = self._readers.get(there.node)
        if reader is None:
            reader = self._readers[there.node] = SourceReader(self, there.node)
            self.frames.divide(*_frames_of(self._in_flight_bytes, len(self._readers)))
        writer = self._writers.get(here.node)
        if writer is None:
            writer = self._writers[here.node] = TargetWriter(self, here.node)
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
        """Return trouble by place, without that of brokers which nothing is asked of any more.

        What has stopped asks for nothing, so nothing would take the word back once the broker answers again.
        """
        there, here = self._nodes(self._attach_loop.waiting.asked)
        used = {f"{self.source.cluster.spec.alias} broker {node}" for node in there}
        used |= {f"{self.target.cluster.spec.alias} broker {node}" for node in here}
        return {place: why for place, why in self.trouble.items() if " broker " not in place or place in used}

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
