"""The copy machine of one partition: what may be sent, what an answer means, when to stop.

No I/O, no clock: headers, answers and times come in; accepted batches and a phase go out.
`engine.copy.pump` drives it.

The life of a partition::

    ATTACHING ──Resume──► COPYING ──answer lost, refused, leader moved──► SETTLING ──nothing outstanding──► ATTACHING
        │
        └──SeedTo──► SEEDING ──► ATTACHING        any ──Fault──► FAULTED        any ──pause──► PAUSED

An *episode* is the time from one attach to the next.
What was accepted but not sent when an episode ends is dropped and fetched again: the target's log is the only memory.

A machine that holds at markers stops before each transaction marker of the source. Once everything before it is
acknowledged it says so (`held_at`), and reads on after `go_on`. The permission is for that marker and that episode:
whoever gives it has to be ready to be asked again.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, NamedTuple

from replicator.core.copy.answers import ProduceOutcome
from replicator.core.copy.doubt import DOUBTS_MAX, Doubt, Gaps, Lie, Sound
from replicator.core.copy.intake import Fill, Given, Holes, Intake, Skip, Stop
from replicator.core.copy.values import IN_FLIGHT_BATCHES_MAX, NEXT, Batch, Phase, TargetLimits
from replicator.core.offsets.offset_map import Place
from replicator.errors import BugError
from replicator.model.batch import SEQUENCE_MODULUS
from replicator.model.states import Reason

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from replicator.core.copy.attach_facts import Resume
    from replicator.core.copy.doubt import Edges, Verdict
    from replicator.core.copy.intake import Piece, Prove, Unpack
    from replicator.core.copy.track import Track
    from replicator.model.batch import BatchHeader
    from replicator.model.names import TopicPartition

_DOUBTFUL = frozenset({ProduceOutcome.UNKNOWN, ProduceOutcome.DUPLICATE, ProduceOutcome.MOVED, ProduceOutcome.MISSING})
"""A leader that loses its place after the append, but before its replicas followed, answers that it is not the leader
(Kafka's DelayedProduce): such an answer does not say that nothing was appended."""


_ATTACHES_ANEW = {
    Stop.NEW_EPOCH: "the source has a new leader epoch",
    Stop.HEAL: "offsets without a record come next: surplus markers take their place",
}
_UNMOVED_MAX = 3
"""Answers in a row that hold nothing new. One may: it was asked for before a hole at the log's end was passed."""


class _Marker(NamedTuple):
    """A transaction marker of the source: its offset there, and whose it is."""

    offset: int
    producer_id: int


class PartitionCopy:
    """The machine.

    Args:
        where: The source's partition.
        limits: What the target accepts.
        holds_at_markers: Whether it stops before each transaction marker of the source until `go_on`.

    Attributes:
        where: The source's partition.
        phase: See `Phase`.
        reason: Why it is FAULTED, or what it waits for.
        detail: The same in words.
        episode: Counts attaches; answers to an older episode change nothing here.
        next_offset: The source offset expected next.
        acked_offset: The source offset up to which the target is proven to hold everything.
        track: Where source offsets stand on the target; None while they are the source's own.
        displaced: Where a batch was appended that had to get another offset; the next attach finds out why.
        doubted: What an answer of the source claimed that nothing proves; the next attach looks at it first.
        unopened: The batch that has to be opened before what was last offered can be taken further.
        looks: How often a look at what was doubted proved offsets without a batch: the next one takes more in.
        compacted: Whether a cleaner is known to work on the source's log: offsets may be missing anywhere in it.
        intact_below: Source offset below which the cleaner may have taken tombstones with what is missing; 0 for none.
        given_up: Source offsets that an operator gave up, from and to, in order.
        left_out: Producers on the source whose records are not copied (`loop_guard: origin`).
        holds_at_markers: As given.
        wants_mapping: Whether offsets that hold no record can only be left out: the next attach decides.
        refused_at: The source offset it stood at when a sequence was last refused as not the next one; -1 for never.
        outstanding: Produces sent and not answered, of any episode.
        last_epoch: Leader epoch of the last source batch accepted, -1 when unknown.
        doubtful: Whether a Produce may have taken effect without our knowing, since the last attach.
        waits_for_claim: Whether only the lack of a claim keeps a batch back.
        queued_bytes: Bytes accepted and not sent.
    """

    __slots__ = (
        "_alone",
        "_beyond_end_at",
        "_cuts_anew",
        "_doubts",
        "_edge",
        "_gaps",
        "_held",
        "_in_flight",
        "_limits",
        "_marker",
        "_marker_offset_max",
        "_matched_offset",
        "_passing_marker",
        "_queue",
        "_sequence",
        "_sequence_free",
        "_state_time_ms",
        "_unmoved",
        "acked_offset",
        "compacted",
        "detail",
        "displaced",
        "doubted",
        "doubtful",
        "episode",
        "given_up",
        "holds_at_markers",
        "intact_below",
        "last_epoch",
        "left_out",
        "looks",
        "next_offset",
        "outstanding",
        "phase",
        "queued_bytes",
        "reason",
        "refused_at",
        "track",
        "unopened",
        "waits_for_claim",
        "wants_mapping",
        "where",
    )

    def __init__(self, where: TopicPartition, limits: TargetLimits, *, holds_at_markers: bool = False) -> None:
        self.where = where
        self.phase = Phase.ATTACHING
        self.reason: Reason | None = None
        self.detail: str | None = None
        self.episode = 0
        self.next_offset = 0
        self.acked_offset = 0
        self.track: Track | None = None
        self.displaced: Place | None = None
        self.doubted: Doubt | None = None
        self.unopened: BatchHeader | None = None
        self.looks = 0
        self.compacted = False
        self.intact_below = 0
        self.given_up: tuple[tuple[int, int], ...] = ()
        self.left_out: Collection[int] = frozenset()
        self.holds_at_markers = holds_at_markers
        self.wants_mapping = False
        self.refused_at = -1
        self.outstanding = 0
        self.last_epoch = -1
        self.doubtful = False
        self.waits_for_claim = False
        self.queued_bytes = 0
        self._limits = limits
        self._queue: deque[Batch | Fill] = deque()
        self._in_flight: deque[Batch] = deque()
        self._sequence = 0
        self._sequence_free = False
        self._state_time_ms: int | None = None
        self._matched_offset = -1
        self._held = False
        self._marker: _Marker | None = None
        self._marker_offset_max = -1
        self._passing_marker = -1
        self._alone = False
        self._gaps: dict[int, int] = {}
        self._doubts = (-1, 0)
        self._beyond_end_at = -1
        self._unmoved = 0
        self._edge = -1
        self._cuts_anew = False

    # -- life ---------------------------------------------------------------------------------------------------

    def _go(self, phase: Phase, reason: Reason | None = None, detail: str | None = None) -> list[Batch]:
        if phase is not self.phase and phase not in NEXT[self.phase]:
            raise BugError(f"{self.where}: illegal step {self.phase} -> {phase}")
        self.phase = phase
        self.reason = reason
        self.detail = detail
        self.waits_for_claim = False
        dropped = [item for item in self._queue if isinstance(item, Batch)]
        self._queue.clear()
        self.queued_bytes = 0
        self._held = False
        self._marker = None
        self._passing_marker = -1
        return dropped

    def is_copying(self) -> bool:
        """Return whether an episode is open."""
        return self.phase is Phase.COPYING

    def is_faulted(self) -> bool:
        """Return whether it stands still with a named reason."""
        return self.phase is Phase.FAULTED

    @property
    def target_end(self) -> int:
        """The target's end as proven by answers."""
        return self.acked_offset if self.track is None else self.track.acked.target

    @property
    def shift(self) -> int:
        """How much further on the target stands what is queued next."""
        return 0 if self.track is None else self.track.shift

    @property
    def limits(self) -> TargetLimits:
        """What the target accepts, as last told."""
        return self._limits

    def set_limits(self, limits: TargetLimits) -> None:
        """Take new limits of the target (its topic's config changed)."""
        self._limits = limits

    def resume(self, decision: Resume, source_epoch: int = -1) -> None:
        """Begin an episode at the place the attach found.

        Args:
            decision: Where, and with which sequence.
            source_epoch: Leader epoch of the source batch before that place, if known.
        """
        self._go(Phase.COPYING)
        if self._in_flight or self.outstanding:
            raise BugError(f"{self.where}: attached with {self.outstanding} answers outstanding")
        self.episode += 1
        self.doubtful = False
        self.wants_mapping = False
        self._alone = False
        self._beyond_end_at = -1
        self._unmoved = 0
        self.next_offset = self.acked_offset = self._matched_offset = decision.offset
        if self.track is not None:
            self.track.begin(decision.place)
        elif decision.shift:
            raise BugError(f"{self.where}: attached {decision.shift} offsets away, without a map")
        self.last_epoch = source_epoch
        self._sequence = decision.sequence
        by_offset = decision.place.target % SEQUENCE_MODULUS
        self._sequence_free = decision.state_time_ms is None and decision.sequence == by_offset
        self._state_time_ms = decision.state_time_ms
        self.given_up = tuple(each for each in self.given_up if each[1] > decision.offset)
        if decision.gap_to > decision.offset:
            self.pass_hole(decision.gap_to)

    def seed(self) -> None:
        """The target's log start has to be moved first."""
        self._go(Phase.SEEDING)

    def wait(self, reason: Reason, detail: str) -> None:
        """Stay ATTACHING, and say why."""
        if self.phase is not Phase.ATTACHING:
            raise BugError(f"{self.where}: waits while {self.phase}")
        self.reason = reason
        self.detail = detail

    def say(self, reason: Reason, detail: str) -> None:
        """Say why nothing moves, without a change of phase."""
        self.reason = reason
        self.detail = detail

    def fault(self, reason: Reason, detail: str) -> list[Batch]:
        """Stop; return the batches that will not be sent."""
        return self._go(Phase.FAULTED, reason, detail)

    def pause(self) -> list[Batch]:
        """Stop by wish; return the batches that will not be sent. What is in flight may still be acknowledged."""
        if self.phase is Phase.FAULTED:
            return []
        return self._go(Phase.PAUSED)

    def settle(self, detail: str, *, doubtful: bool) -> list[Batch]:
        """End the episode: send no more, and attach anew once nothing is outstanding.

        Args:
            detail: Why.
            doubtful: Whether a Produce of this episode may have taken effect without our knowing.

        Returns:
            The batches that will not be sent.
        """
        if self.phase is not Phase.COPYING:
            self.doubtful = self.doubtful or doubtful
            return []
        dropped = self._go(Phase.SETTLING, None, detail)
        self.doubtful = self.doubtful or doubtful
        self._in_flight.clear()
        return dropped

    def attach_again(self) -> None:
        """Go back to ATTACHING (after settling, a pause, a seed or a resolution)."""
        if self.outstanding:
            raise BugError(f"{self.where}: attach with {self.outstanding} answers outstanding")
        settled = self.phase is Phase.SETTLING
        self._go(Phase.ATTACHING, self.reason if settled else None, self.detail if settled else None)
        self._in_flight.clear()

    # -- in: what the source sent -------------------------------------------------------------------------------

    def wants_more(self, queued_bytes_max: int) -> bool:
        """Return whether reading on makes sense now.

        Not while an odd batch waits for everything before it to be acknowledged: it would be read again and again.
        Nor before a transaction marker that may not pass yet.
        """
        if self.phase is not Phase.COPYING or self.queued_bytes >= queued_bytes_max:
            return False
        # What was taken may not be queued yet: only when all of it is acknowledged is there nothing left to wait for.
        if self._held and self._is_level() and self.held_at is None:
            self._held = False
        return not self._held

    def _is_level(self) -> bool:
        """Return whether everything that was taken is acknowledged."""
        return self.idle and self.acked_offset == self.next_offset

    @property
    def held_at(self) -> int | None:
        """Source offset of the transaction marker it stands before, everything below acknowledged; else None."""
        marker = self._held_marker
        return None if marker is None else marker.offset

    @property
    def held_producer_id(self) -> int | None:
        """Producer id on the source of the marker at `held_at`."""
        marker = self._held_marker
        return None if marker is None else marker.producer_id

    @property
    def _held_marker(self) -> _Marker | None:
        marker = self._marker
        # The source's cleaner may have taken the marker meanwhile: then what was read since went past it.
        return marker if marker is not None and marker.offset == self.next_offset and self._is_level() else None

    def go_on(self, offset: int) -> bool:
        """Let the transaction marker pass that the machine stands before, and no other.

        Args:
            offset: Where it stands on the source, as `held_at` said.

        Returns:
            Whether it may pass now. Not where the machine does not stand there (any more): nothing changed.

        Raises:
            BugError: It never stopped at a marker as far on as that.
        """
        if offset > self._marker_offset_max:
            raise BugError(f"{self.where}: told to go on at {offset}, and never held there")
        if offset != self.held_at:
            return False
        self._passing_marker = offset
        self._marker = None
        self._held = False
        return True

    def offer(
        self,
        headers: Sequence[BatchHeader],
        aborted: Sequence[tuple[int, int]],
        edges: Edges,
        unpack: Unpack,
        prove: Prove,
    ) -> tuple[list[Piece], list[Batch]]:
        """Take batches read from the source, in order; only while COPYING.

        Args:
            headers: What was read.
            aborted: Aborted transactions the broker named: (producer id, first offset).
            edges: What else the answer tells of the log.
            unpack: Opens a batch that cannot pass as it is, or does not yet: see `unopened`.
            prove: Compares a batch of which nothing is copied with its checksum.

        Returns:
            What to rewrite, encode and then `queue`, in order; and the batches that were dropped because the episode
            ended here.

        Raises:
            CorruptRecords: A batch that had to be opened, or compared, is damaged; nothing was taken.
        """
        intake = Intake(
            self._given(edges), self._limits.batch_bytes_max, self._limits.fill_length_max, aborted, unpack, prove
        )
        if self._begins_too_low(headers):
            intake.stop = Stop.DOUBT
            intake.doubt = f"its first batch begins at {headers[0].base_offset}, and the one before ended behind that"
        else:
            intake.take(headers)
        taken = intake.expected != self.next_offset
        self._unmoved = 0 if taken or intake.stop is not None or not headers else self._unmoved + 1
        self.next_offset = intake.expected
        self._sequence = intake.sequence
        self._sequence_free = intake.free
        self.last_epoch = intake.epoch
        if taken and intake.stop is None and headers[-1].next_offset == intake.expected:
            self._edge = intake.expected
        self.unopened = intake.stopped_at if intake.stop is Stop.UNOPENED else None
        dropped: list[Batch] = []
        if self._unmoved >= _UNMOVED_MAX:
            intake.stop = Stop.DOUBT
            intake.doubt = f"{_UNMOVED_MAX} answers held only batches below offset {self.next_offset}"
        if intake.stop is not None and intake.stop is not Stop.UNOPENED:
            if intake.stop is Stop.MARKER:
                self._hold_before(intake)
            elif intake.stop is Stop.BEYOND_END and self._beyond_end_at != self.next_offset:
                self._beyond_end_at = self.next_offset
            else:
                dropped = self._stop_before(intake, settled=not taken and self.idle)
        return intake.pieces, dropped

    def _given(self, edges: Edges) -> Given:
        return Given(
            self.next_offset,
            self._sequence,
            self.last_epoch,
            self._matched_offset,
            self.shift,
            self._holes,
            self._sequence_free,
            self.given_up,
            self.intact_below,
            self.holds_at_markers,
            self._passing_marker,
            self.left_out,
            edges,
            None if self.compacted else self._gaps,
        )

    def _begins_too_low(self, headers: Sequence[BatchHeader]) -> bool:
        """Return whether the first batch begins before the end of the one that was taken last, and ends behind it.

        No checksum covers a base offset: one that is too low would move records to other offsets, up to the next batch.
        """
        if not headers or self._cuts_anew or self._edge != self.next_offset:
            return False
        return headers[0].base_offset < self.next_offset < headers[0].next_offset

    def _hold_before(self, intake: Intake) -> None:
        self._held = True
        self._marker = _Marker(intake.expected, self._stopped_at(intake).producer_id)
        self._marker_offset_max = max(self._marker_offset_max, intake.expected)

    def _stop_before(self, intake: Intake, *, settled: bool) -> list[Batch]:
        """Stop at a batch; but only once everything before it is acknowledged.

        At a new source leader epoch the logs are compared again: an exact sequence repeat is acknowledged whatever its
        content, so the sequence alone cannot show that the new leader has another history.
        """
        if not settled or intake.stop is Stop.LONG_FILL:
            self._held = True
            return []
        if intake.stop is Stop.TOO_LONG_FILL:
            return self._refuse_fill(intake.refused)
        if intake.stop is Stop.TOMBSTONES:
            return self._refuse_cleaned(intake.refused)
        if intake.stop in {Stop.DOUBT, Stop.BEYOND_END}:
            return self._end_in_doubt(intake.doubt)
        if intake.stop in _ATTACHES_ANEW:
            return self.settle(_ATTACHES_ANEW[intake.stop], doubtful=False)
        header = self._stopped_at(intake)
        return self.fault(
            Reason.RECORD_TOO_LARGE,
            f"the source's batch of offsets {header.base_offset} to {header.next_offset - 1} has {header.size} bytes, "
            f"the target topic takes {self._limits.batch_bytes_max} (max.message.bytes)",
        )

    def _end_in_doubt(self, why: str) -> list[Batch]:
        """End the episode at a claim that nothing proves: the next attach has the log looked at once more."""
        offset, times = self._doubts
        self._doubts = (self.next_offset, times + 1 if offset == self.next_offset else 1)
        detail = f"the source's answer at offset {self.next_offset} is not believed: {why}"
        dropped = self.settle(detail, doubtful=False)
        self.doubted = Doubt(self.next_offset, detail, self._doubts[1])
        return dropped

    @property
    def detail_of_doubt(self) -> str:
        """What is doubted, in words."""
        return self.doubted.detail if self.doubted is not None else ""

    def looked(self, verdict: Verdict | None) -> str | None:
        """Take what a second look says of what is `doubted`; return why the partition has to stop, if it has to.

        None: the log does not reach there any more, in one direction or the other.
        """
        doubted = self.doubted
        if doubted is None:
            return None
        if isinstance(verdict, Lie):
            why: str | None = verdict.detail
        elif isinstance(verdict, Sound) and doubted.times >= DOUBTS_MAX:
            why = f"{doubted.detail}; {doubted.times} times, and its log shows nothing of the kind"
        else:
            why = None
        if isinstance(verdict, Sound) and verdict.begins_below:
            self._cuts_anew = True
        if isinstance(verdict, Gaps):
            self._gaps = dict(verdict.ranges)
            self.looks += 1
        if why is not None:
            self._doubts = (-1, 0)
        self.doubted = None
        return why

    def _stopped_at(self, intake: Intake) -> BatchHeader:
        if intake.stopped_at is None:
            raise BugError(f"{self.where}: stopped, but nowhere")
        return intake.stopped_at

    def _refuse_fill(self, length: int) -> list[Batch]:
        why = (
            f"the source has no record at the next {length} offsets from {self.next_offset} on, "
            f"and fill_limit allows {self._limits.fill_length_max}"
        )
        if self._limits.may_be_mapped:
            return self.leave_out(why)
        return self.fault(Reason.UNSUPPORTED_BATCH, why)

    def _refuse_cleaned(self, length: int) -> list[Batch]:
        return self.fault(
            Reason.TOMBSTONES_MAY_BE_LOST,
            f"the source's cleaner took the {length} offsets from {self.next_offset} on, and the copy was level with "
            "the source longer ago than its delete.retention.ms: tombstones among them may never have been copied",
        )

    def leave_out(self, why: str) -> list[Batch]:
        """Go over to mapped offsets at the next attach: those without a record cannot be filled."""
        dropped = self.settle(why, doubtful=False)
        self.wants_mapping = True
        return dropped

    def queue(self, batches: Sequence[Batch]) -> None:
        """Queue rewritten batches for sending."""
        self._queue.extend(batches)
        for batch in batches:
            self.queued_bytes += batch[3]

    def queue_fill(self, fill: Fill) -> None:
        """Queue offsets without a record, to be filled with markers."""
        self._queue.append(fill)

    def queue_skip(self, skip: Skip) -> None:
        """Leave offsets without a record out: what is queued next stands closer to what was queued before."""
        if self.track is None:
            raise BugError(f"{self.where}: offsets left out, without a map")
        self.acked_offset = self.track.skip(skip.source, skip.length)

    @property
    def _holes(self) -> Holes:
        if self.track is None:
            return Holes.FILL
        if self.track.mapped:
            return Holes.SKIP
        return Holes.HEAL if self.track.shift > 0 else Holes.FILL

    # -- out: what may be sent ----------------------------------------------------------------------------------

    def held(self) -> Iterator[Batch]:
        """Return the batches that are on their way to the target, or wait to be sent."""
        yield from self._in_flight
        yield from (item for item in self._queue if isinstance(item, Batch))

    def next_to_send(self, now_ms: int, *, claimed: bool) -> Batch | None:
        """Return the next batch if it may be sent now, and count it as in flight.

        Args:
            now_ms: Wall clock, to compare with record times.
            claimed: Whether this daemon holds the claim and its doubt time is over: needed for unguarded work.
        """
        queue = self._queue
        if not queue or self._alone or len(self._in_flight) >= IN_FLIGHT_BATCHES_MAX:
            return None
        batch = queue[0]
        if isinstance(batch, Fill):
            return None
        oldest = now_ms - self._limits.guard_ms
        state = self._state_time_ms
        # The usual case first: a fresh batch behind fresh state (see `_is_guarded`).
        if (batch[2] <= oldest or state is None or state <= oldest) and not self._is_guarded(batch, now_ms):
            if self._in_flight:
                return None
            if not claimed:
                self.waits_for_claim = True
                return None
            self._alone = True
        self.waits_for_claim = False
        queue.popleft()
        self.queued_bytes -= batch[3]
        self._in_flight.append(batch)
        self.outstanding += 1
        return batch

    def _is_guarded(self, batch: Batch, now_ms: int) -> bool:
        """Return whether the broker surely remembers our sequence when this batch, or its repeat, arrives.

        The state must exist now, and live on whatever the batch's own record time does to it (KAFKA_FACTS K6).
        At the start of a log there is nothing to double: the first batch makes the state. Where others write, a log
        that looked empty may not be any more.
        """
        oldest = now_ms - self._limits.guard_ms
        if batch.max_timestamp <= oldest:
            return False
        state = self._state_time_ms
        if state is None:
            return batch.base_offset == 0 and not self._limits.others_write
        return state > oldest

    def guard_is_on(self, now_ms: int) -> bool:
        """Return whether the target surely remembers our last sequence now."""
        return self._state_time_ms is not None and self._state_time_ms > now_ms - self._limits.guard_ms

    @property
    def head_bytes(self) -> int:
        """Size of the batch that is sent next; 0 for none."""
        head = self._queue[0] if self._queue else None
        return head.size if isinstance(head, Batch) else 0

    @property
    def drained(self) -> bool:
        """Whether nothing is queued."""
        return not self._queue

    @property
    def idle(self) -> bool:
        """Whether nothing is queued, in flight or outstanding."""
        return not self._queue and not self.outstanding

    def end_of_log(self, end: int, epoch: int) -> None:
        """The source holds nothing from the next offset up to `end`, which its readers are shown: fill it.

        The cleaner may leave such an end: what it took came last. A broker may also answer with nothing because the
        answer had no room; the caller has asked for this partition alone, and for leader epoch `epoch`.
        """
        if self.phase is not Phase.COPYING or end <= self.next_offset:
            return
        hole = end - self.next_offset
        if self.next_offset < self.intact_below:
            self._refuse_cleaned(hole)
            return
        if self._holes is Holes.HEAL and hole >= self.shift and self.next_offset != self._matched_offset:
            self.settle("the source's log ends in a hole: surplus markers take its place", doubtful=False)
            return
        if self.pass_hole(end):
            self.last_epoch = epoch

    def pass_hole(self, end: int) -> bool:
        """Fill or leave out what lies before the source offset `end`; return whether that may be done."""
        length = end - self.next_offset
        if self._holes is Holes.SKIP:
            self.queue_skip(Skip(end, length))
        elif length > self._limits.fill_length_max:
            self._refuse_fill(length)
            return False
        else:
            self._queue.append(Fill(self.next_offset, length))
        self.next_offset = end
        if self._sequence_free:
            self._sequence = (end + self.shift) % SEQUENCE_MODULUS
        return True

    # -- fills ----------------------------------------------------------------------------------------------------

    @property
    def head_fill(self) -> Fill | None:
        """What is left of the fill at the head of the queue, also while the first of it is on its way."""
        head = self._queue[0] if self._queue else None
        return head if isinstance(head, Fill) else None

    def fill_due(self) -> Fill | None:
        """Return the fill that has to come next, once nothing before it is on its way.

        Markers are not compare-and-append: beside a batch in flight, none could tell where it lands.
        """
        return None if self.phase is not Phase.COPYING or self.outstanding else self.head_fill

    def begin_fill(self, length_max: int) -> Fill:
        """Count the next fill, or its first `length_max` offsets, as on its way, and return it."""
        due = self.fill_due()
        if due is None:
            raise BugError(f"{self.where}: no fill is due")
        self.outstanding += 1
        return Fill(due.first_offset, min(due.length, length_max))

    def filled(self, fill: Fill, episode: int, log_end: int) -> list[Batch]:
        """Take the answer to a fill: where the target's log ends now; return batches dropped because of it.

        A marker of an earlier request may have landed beside ours, or one of ours may be missing: then nothing may be
        written behind, and the logs are compared again.
        """
        self.outstanding -= 1
        if episode != self.episode:
            return []
        after = fill.first_offset + fill.length
        target_end = after + self.shift
        if log_end != target_end:
            self.doubtful = True
            return self.settle(f"the target's log ends at {log_end} after a fill up to {target_end}", doubtful=True)
        self.acked_offset = after if self.track is None else self.track.land(target_end)
        if self.phase is not Phase.COPYING:
            return []
        head = self._queue[0]
        if not isinstance(head, Fill) or head.first_offset != fill.first_offset:
            raise BugError(f"{self.where}: another fill was answered than is due")
        self._queue.popleft()
        if head.length > fill.length:
            self._queue.appendleft(Fill(after, head.length - fill.length))
        return []

    def fill_failed(self, episode: int, detail: str, *, doubtful: bool) -> list[Batch]:
        """A fill was refused, or its answer was lost (`doubtful`); return batches dropped because of it."""
        self.outstanding -= 1
        self.doubtful = self.doubtful or doubtful
        return self.settle(detail, doubtful=doubtful) if episode == self.episode else []

    # -- in: what the target answered ---------------------------------------------------------------------------

    def answered(
        self, batch: Batch, episode: int, outcome: ProduceOutcome, base_offset: int, detail: str
    ) -> list[Batch]:
        """Take the answer to one batch; return batches that were dropped because of it.

        Args:
            batch: The batch that was sent.
            episode: The episode it was sent in.
            outcome: What the broker said.
            base_offset: The offset the broker gave it (ACCEPTED only).
            detail: The broker's words, for status.
        """
        self.outstanding -= 1
        if self.outstanding < 0:
            raise BugError(f"{self.where}: more answers than requests")
        # Also of a batch that nothing waits for any more: the next attach has to know that it may still arrive.
        self.doubtful = self.doubtful or outcome in _DOUBTFUL
        paused = self.phase is Phase.PAUSED
        if episode != self.episode or not (self.phase is Phase.COPYING or (paused and self._in_flight)):
            if episode == self.episode and outcome is ProduceOutcome.ACCEPTED:
                self._note_displaced(batch, base_offset)
            return []
        if not self._in_flight or self._in_flight[0] is not batch:
            raise BugError(f"{self.where}: answers out of order")
        if outcome is ProduceOutcome.ACCEPTED:
            return self._accepted(batch, base_offset)
        if paused:
            self._in_flight.clear()  # the batches behind it cannot be in their place: their answers say nothing more
            return []
        return self._not_accepted(batch, outcome, detail)

    def accepted(self, batch: Batch, episode: int, base_offset: int) -> bool:
        """Take the usual answer by the short way; False (and nothing taken) where `answered` has to look closer."""
        in_flight = self._in_flight
        if (
            episode != self.episode
            or self.phase is not Phase.COPYING
            or base_offset != batch[0]
            or in_flight[0] is not batch
        ):
            return False
        self.outstanding -= 1
        in_flight.popleft()
        self._alone = False
        after = base_offset + batch[1]
        self.acked_offset = after if self.track is None else self.track.land(after)
        self._state_time_ms = batch[2]
        return True

    def _accepted(self, batch: Batch, base_offset: int) -> list[Batch]:
        if base_offset != batch.base_offset and self._landed_behind_others(batch, base_offset):
            self.acked_offset = self._mapped_track.land_behind_others(base_offset, batch.record_count)
        elif base_offset != batch.base_offset:
            text = f"the batch of offset {batch.base_offset} landed at {base_offset}: someone else wrote to the target"
            if not self._note_displaced(batch, base_offset):
                return self.fault(Reason.FOREIGN_WRITER, text)
            self._in_flight.clear()
            return self.settle(text, doubtful=False)
        else:
            after = base_offset + batch.record_count
            self.acked_offset = after if self.track is None else self.track.land(after)
        self._in_flight.popleft()
        self._alone = False
        # The broker ages the state by its latest batch, not by its newest record (KAFKA_FACTS K6).
        self._state_time_ms = batch.max_timestamp
        return []

    def _landed_behind_others(self, batch: Batch, base_offset: int) -> bool:
        """Return whether a batch landed further on only because others write to the target's log as well.

        Its sequence followed ours, so nothing of ours stands in between; their records cost a run of the map.
        """
        return self._limits.others_write and base_offset >= max(batch.base_offset, self.target_end)

    @property
    def _mapped_track(self) -> Track:
        if self.track is None or not self.track.mapped:
            raise BugError(f"{self.where}: others write to the target, and its offsets are not mapped")
        return self.track

    def _note_displaced(self, batch: Batch, base_offset: int) -> bool:
        """Note the first batch that landed further on than it had to; return whether that may be gone on from.

        Also of a batch that nothing waits for any more: nothing else tells where the records went.
        """
        if base_offset <= batch.base_offset or not self._limits.surplus_allowed or self._limits.others_write:
            return False
        if self.displaced is None:
            mapped = self.track is not None and self.track.mapped
            source = self.acked_offset if mapped else batch.base_offset - self.shift
            self.displaced = Place(source, base_offset)
        return True

    def _not_accepted(self, batch: Batch, outcome: ProduceOutcome, detail: str) -> list[Batch]:
        if outcome is ProduceOutcome.FENCED:
            return self.fault(Reason.FENCED, detail)
        if outcome is ProduceOutcome.TOO_LARGE:
            return self.fault(
                Reason.RECORD_TOO_LARGE, f"the batch at offset {batch.base_offset} has {batch.size} bytes: {detail}"
            )
        if outcome is ProduceOutcome.CORRUPT:
            return self.fault(
                Reason.CORRUPT_BATCH, f"the target finds the batch at {batch.base_offset} damaged: {detail}"
            )
        if outcome is ProduceOutcome.OUT_OF_ORDER:
            self.refused_at = self.acked_offset
        if outcome is ProduceOutcome.REJECTED:
            return self.fault(Reason.TARGET_REFUSED, f"the target refuses offset {batch.base_offset}: {detail}")
        return self.settle(detail, doubtful=outcome in _DOUBTFUL)

    def lost(self, batch: Batch, episode: int, detail: str) -> list[Batch]:
        """The connection went before the answer: the batch may or may not be in the log."""
        self.outstanding -= 1
        if episode != self.episode:
            return []
        self.doubtful = True
        return self.settle(f"no answer for offset {batch.base_offset}: {detail}", doubtful=True)
