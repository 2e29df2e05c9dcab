"""The copy machine of one partition: what may be sent, what a response means, when to stop.

No I/O, no clock: headers, responses and times come in; accepted batches and a phase go out.
`engine.copy.pump` drives it.

Its phases and episodes are in `core.copy.lifecycle`.

A machine that holds at markers stops before each transaction marker of the source. Once everything before the marker is
acknowledged, the machine says so (`held_at`), and reads on after `go_on`. The permission is for that marker and that
episode only: the caller must expect to be asked for it again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from replicator.core.copy.lifecycle import Lifecycle
from replicator.core.copy.reading.pieces import Fill, Holes, Skip, Stop
from replicator.core.copy.reading.position import stopped_at
from replicator.core.copy.values import Phase
from replicator.core.copy.writing.answers import ProduceOutcome
from replicator.core.offsets.offset_map import OffsetPair
from replicator.errors import BugError
from replicator.model.status.states import Reason

if TYPE_CHECKING:
    from collections.abc import Sequence

    from replicator.core.copy.attaching.facts import Resume
    from replicator.core.copy.reading.doubt import ResponseBounds
    from replicator.core.copy.reading.hold import Marker
    from replicator.core.copy.reading.intake import Intake, Prove, Unpack
    from replicator.core.copy.reading.pieces import Piece
    from replicator.core.copy.track import Track
    from replicator.core.copy.values import Batch, Ending
    from replicator.model.batch import BatchHeader

_DOUBTFUL = frozenset({ProduceOutcome.UNKNOWN, ProduceOutcome.DUPLICATE, ProduceOutcome.MOVED, ProduceOutcome.MISSING})
"""A leader that loses its leadership after the append, but before its replicas have followed, answers NOT_LEADER
(Kafka's DelayedProduce): such a response does not prove that nothing was appended."""


_ATTACHES_AGAIN = {
    Stop.NEW_EPOCH: "the source has a new leader epoch",
    Stop.HEAL: "offsets without a record come next: surplus markers take their place",
}


_STOPS = {
    ProduceOutcome.FENCED: (Reason.FENCED, "{detail}"),
    ProduceOutcome.TOO_LARGE: (Reason.RECORD_TOO_LARGE, "the batch at offset {offset} has {size} bytes: {detail}"),
    ProduceOutcome.CORRUPT: (Reason.CORRUPT_BATCH, "the target finds the batch at {offset} damaged: {detail}"),
    ProduceOutcome.REJECTED: (Reason.TARGET_REFUSED, "the target refuses offset {offset}: {detail}"),
}
"""Outcomes that stop a partition: the reason, and its text."""


class PartitionCopy(Lifecycle):
    """The machine: takes what the source sent and what the target answered."""

    __slots__ = ()

    def resume(self, decision: Resume, source_epoch: int = -1) -> Ending | None:
        """Start an episode at the place that the attach found.

        Args:
            decision: Where to continue, and with which sequence.
            source_epoch: Leader epoch of the source batch before that place, if known.

        Returns:
            The ending, if the episode ended at once: a gap that an operator gave up is too long to fill.
        """
        self._begin(decision, source_epoch)
        ending = self._pass_hole(decision.gap_to) if decision.gap_to > decision.offset else None
        return None if ending is None else ending._replace(before=Phase.ATTACHING)

    # -- in: what the source sent -------------------------------------------------------------------------------

    def wants_more(self, queued_bytes_max: int) -> bool:
        """Return whether to read on now.

        Not while an odd batch waits until everything before it is acknowledged: it would be read again and again.
        Nor while reading waits at a transaction marker that may not pass yet.
        """
        if self.phase is not Phase.COPYING or self.sending.queued_bytes >= queued_bytes_max:
            return False
        hold = self.reading.hold
        # What was taken need not be queued yet: only when all of it is acknowledged is there nothing left to wait for.
        if hold.is_on and self._is_level() and self._held_marker is None:
            hold.is_on = False
        return not hold.is_on

    def _is_level(self) -> bool:
        """Return whether everything taken so far is acknowledged."""
        return self.sending.idle and self.acked_offset == self.reading.next_offset

    @property
    def held_at(self) -> int | None:
        """Source offset of the transaction marker that the machine waits at, everything below acknowledged; or None."""
        marker = self._held_marker
        return None if marker is None else marker.offset

    @property
    def held_producer_id(self) -> int | None:
        """Source producer id of the marker at `held_at`."""
        marker = self._held_marker
        return None if marker is None else marker.producer_id

    @property
    def _held_marker(self) -> Marker | None:
        return self.reading.hold.marker_at(self.reading.next_offset) if self._is_level() else None

    def go_on(self, offset: int) -> bool:
        """Let the transaction marker that the machine waits at pass, and no other.

        Args:
            offset: Its source offset, as `held_at` said.

        Returns:
            Whether it passes now. False if the machine does not wait there (any more); nothing changes then.

        Raises:
            BugError: The machine never waited at a marker at or above that offset.
        """
        if not self.reading.hold.ever_reached(offset):
            raise BugError(f"{self.where}: go_on at {offset}, but it never held there")
        if offset != self.held_at:
            return False
        self.reading.hold.let_pass(offset)
        return True

    def offer(
        self,
        headers: Sequence[BatchHeader],
        aborted: Sequence[tuple[int, int]],
        edges: ResponseBounds,
        unpack: Unpack,
        prove: Prove,
    ) -> tuple[list[Piece], Ending | None]:
        """Take batches read from the source, in order; only while COPYING.

        Args:
            headers: Headers of the batches.
            aborted: Aborted transactions that the broker listed: (producer id, first offset).
            edges: What else the response says about the log.
            unpack: Opens a batch that cannot pass as it is, or does not yet: see `Reading.unopened`.
            prove: Verifies the checksum of a batch of which nothing is copied.

        Returns:
            What to rewrite, encode and then queue, in order; and the ending, if the episode ended here.

        Raises:
            CorruptRecords: A batch that had to be opened or verified is damaged; nothing was taken.
        """
        before = self.reading.next_offset
        intake = self.reading.take(
            headers,
            aborted,
            edges,
            shift=self.shift,
            holes=self._holes,
            limits=self.limits,
            unpack=unpack,
            prove=prove,
        )
        return intake.pieces, self._stop_where(intake, settled=before == intake.expected and self.sending.idle)

    def _stop_where(self, intake: Intake, *, settled: bool) -> Ending | None:
        """Wait where a response stopped, or end there; `settled`: everything before it was acknowledged already."""
        reading, stop = self.reading, intake.stop
        if stop is Stop.MARKER:
            reading.hold_before(intake)
        elif stop is None or stop is Stop.UNOPENED:
            pass
        elif stop is Stop.BEYOND_END and reading.trust.is_first_beyond_end(reading.next_offset):
            pass  # the response's own end may be older than its batches: fetch once more
        elif settled and stop is not Stop.LONG_FILL:
            return self._end_where(intake, stop)
        else:
            reading.hold.is_on = True
        return None

    def _end_where(self, intake: Intake, stop: Stop) -> Ending | None:
        """End the episode at a batch that cannot be taken.

        At a new source leader epoch the logs are compared again: the broker acknowledges an exact sequence repeat
        whatever its content, so the sequence alone cannot show that the new leader has a different history.
        """
        if stop is Stop.TOO_LONG_FILL:
            return self.refuse_fill(intake.refused)
        if stop is Stop.TOMBSTONES:
            return self.refuse_cleaned(intake.refused)
        if stop in {Stop.DOUBT, Stop.BEYOND_END}:
            return self._end_in_doubt(intake.doubt)
        if stop in _ATTACHES_AGAIN:
            return self.settle(_ATTACHES_AGAIN[stop])
        header = stopped_at(intake)
        return self.fault(
            Reason.RECORD_TOO_LARGE,
            f"the source's batch of offsets {header.base_offset} to {header.next_offset - 1} has {header.size} bytes; "
            f"the target topic accepts {self.limits.batch_bytes_max} (max.message.bytes)",
        )

    def _end_in_doubt(self, why: str) -> Ending | None:
        """End the episode at a claim that nothing proves: before the next attach the log is read once more."""
        offset = self.reading.next_offset
        detail = f"the source's response at offset {offset} is suspect: {why}"
        self.reading.trust.doubt(offset, detail)
        return self.settle(detail)

    # -- offsets without a record ---------------------------------------------------------------------------------

    @property
    def _holes(self) -> Holes:
        if self.track is None:
            return Holes.FILL
        if self.track.mapped:
            return Holes.SKIP
        return Holes.HEAL if self.track.shift > 0 else Holes.FILL

    def fill(self, fill: Fill) -> None:
        """Queue offsets without a record, to be filled with markers."""
        self.sending.queue_fill(fill)

    def skip(self, skip: Skip) -> None:
        """Leave out offsets without a record: what is queued next lands closer to what was queued before."""
        if self.track is None:
            raise BugError(f"{self.where}: offsets were left out without a map")
        self.acked_offset = self.track.skip(skip.source, skip.length)

    def end_of_log(self, end: int, epoch: int) -> Ending | None:
        """Fill up to `end`, the end that readers of the source see: the source holds nothing from the next offset on.

        The cleaner may leave such an end, if it took the last records. A broker also returns nothing when the response
        has no room left; so the caller has fetched this partition alone, and asked for leader epoch `epoch`.
        """
        reading = self.reading
        if self.phase is not Phase.COPYING or end <= reading.next_offset:
            return None
        hole = end - reading.next_offset
        if reading.next_offset < reading.missing.intact_below:
            return self.refuse_cleaned(hole)
        if self._holes is Holes.HEAL and hole >= self.shift and reading.next_offset != reading.matched_offset:
            return self.settle("the source's log ends in a hole: surplus markers take its place")
        ending = self._pass_hole(end)
        if reading.next_offset == end:
            reading.last_epoch = epoch
        return ending

    def _pass_hole(self, end: int) -> Ending | None:
        """Fill or leave out the offsets below the source offset `end`, unless they are too many to fill."""
        first = self.reading.next_offset
        length = end - first
        if self._holes is Holes.SKIP:
            self.skip(Skip(end, length))
        elif length > self.limits.fill_length_max:
            return self.refuse_fill(length)
        else:
            self.fill(Fill(first, length))
        self.reading.pass_to(end, self.shift)
        return None

    def fill_due(self) -> Fill | None:
        """Return the fill that comes next, once nothing before it is in flight.

        Markers are not compare-and-append: with a batch in flight, nobody could say where a marker lands.
        """
        return None if self.phase is not Phase.COPYING or self.sending.outstanding else self.sending.head_fill

    def begin_fill(self, length_max: int) -> Fill:
        """Count the next fill, or its first `length_max` offsets, as in flight, and return it."""
        due = self.fill_due()
        if due is None:
            raise BugError(f"{self.where}: no fill is due")
        self.sending.outstanding += 1
        return Fill(due.first_offset, min(due.length, length_max))

    def filled(self, fill: Fill, episode: int, log_end: int) -> Ending | None:
        """Take the response to a fill: where the target's log ends now.

        A marker of an earlier request may have landed beside ours, or one of ours may be missing: then nothing may be
        written after it, and the logs are compared again.
        """
        self.sending.answered()
        if episode != self.episode:
            return None
        after = fill.first_offset + fill.length
        target_end = after + self.shift
        if log_end != target_end:
            return self.settle(f"the target's log ends at {log_end} after a fill up to {target_end}", doubtful=True)
        self.acked_offset = after if self.track is None else self.track.land(target_end)
        if self.phase is Phase.COPYING:
            self.sending.filled(fill)
        return None

    def fill_failed(self, episode: int, detail: str, *, doubtful: bool) -> Ending | None:
        """Take that a fill was refused, or that its response was lost (`doubtful`)."""
        self.sending.answered()
        self.doubtful = self.doubtful or doubtful
        return self.settle(detail, doubtful=doubtful) if episode == self.episode else None

    # -- in: what the target answered ---------------------------------------------------------------------------

    def answered(
        self, batch: Batch, episode: int, outcome: ProduceOutcome, base_offset: int, detail: str
    ) -> Ending | None:
        """Take the response to one batch.

        Args:
            batch: The batch that was sent.
            episode: The episode it was sent in.
            outcome: What the broker said.
            base_offset: The offset that the broker assigned (ACCEPTED only).
            detail: The broker's words, for status.
        """
        self.sending.answered()
        # Also for a batch that nothing waits for any more: the next attach must know that it may still arrive.
        self.doubtful = self.doubtful or outcome in _DOUBTFUL
        paused = self.phase is Phase.PAUSED
        goes_on = self.phase is Phase.COPYING or (paused and self.sending.waits_for_answers)
        if episode != self.episode or not goes_on:
            if episode == self.episode and outcome is ProduceOutcome.ACCEPTED:
                self._note_displaced(batch, base_offset)
            return None
        self.sending.check_order(batch)
        if outcome is ProduceOutcome.ACCEPTED:
            return self._accepted(batch, base_offset)
        if paused:
            self.sending.forget_sent()  # the batches after it cannot be where they belong: their responses say no more
            return None
        return self._not_accepted(batch, outcome, detail)

    def accepted(self, batch: Batch, episode: int, base_offset: int) -> bool:
        """Take the usual response by the short way; False, and nothing taken, where `answered` must look closer."""
        if (
            episode != self.episode
            or self.phase is not Phase.COPYING
            or base_offset != batch[0]
            or not self.sending.lands(batch)
        ):
            return False
        after = base_offset + batch[1]
        self.acked_offset = after if self.track is None else self.track.land(after)
        return True

    def _accepted(self, batch: Batch, base_offset: int) -> Ending | None:
        if base_offset != batch.base_offset and self._landed_behind_others(batch, base_offset):
            self.acked_offset = self._mapped_track.land_behind_others(base_offset, batch.record_count)
        elif base_offset != batch.base_offset:
            text = f"the batch for offset {batch.base_offset} landed at {base_offset}: someone else wrote to the target"
            if not self._note_displaced(batch, base_offset):
                return self.fault(Reason.FOREIGN_WRITER, text)
            self.sending.forget_sent()  # also while paused: what follows it is displaced as well
            return self.settle(text)
        else:
            after = base_offset + batch.record_count
            self.acked_offset = after if self.track is None else self.track.land(after)
        self.sending.landed(batch)
        return None

    def _landed_behind_others(self, batch: Batch, base_offset: int) -> bool:
        """Return whether a batch landed further on only because others write to the target's log as well.

        Its sequence followed ours, so nothing of ours lies in between; their records cost the map one run.
        """
        return self.limits.others_write and base_offset >= max(batch.base_offset, self.target_end)

    @property
    def _mapped_track(self) -> Track:
        if self.track is None or not self.track.mapped:
            raise BugError(f"{self.where}: others write to the target, but its offsets are not mapped")
        return self.track

    def _note_displaced(self, batch: Batch, base_offset: int) -> bool:
        """Note the first batch that landed further on than it should; return whether the copy may continue from there.

        Also for a batch that nothing waits for any more: nothing else says where its records went.
        """
        if base_offset <= batch.base_offset or not self.limits.surplus_allowed or self.limits.others_write:
            return False
        if self.displaced is None:
            mapped = self.track is not None and self.track.mapped
            source = self.acked_offset if mapped else batch.base_offset - self.shift
            self.displaced = OffsetPair(source, base_offset)
        return True

    def _not_accepted(self, batch: Batch, outcome: ProduceOutcome, detail: str) -> Ending | None:
        if (stop := _STOPS.get(outcome)) is not None:
            reason, text = stop
            return self.fault(reason, text.format(offset=batch.base_offset, size=batch.size, detail=detail))
        if outcome is ProduceOutcome.OUT_OF_ORDER:
            self.refused_at = self.acked_offset
        return self.settle(detail, doubtful=outcome in _DOUBTFUL)

    def lost(self, batch: Batch, episode: int, detail: str) -> Ending | None:
        """Take that the connection was lost before the response: the batch may or may not be in the log."""
        self.sending.answered()
        if episode != self.episode:
            return None
        return self.settle(f"no response for offset {batch.base_offset}: {detail}", doubtful=True)
