"""The phases of one partition, and its episodes (the machine is `core.copy.machine`).

The life of a partition::

    ATTACHING ──Resume──► COPYING ──response lost, refused, leader moved──► SETTLING ──nothing outstanding──► ATTACHING
        │
        └──SeedTo──► SEEDING ──► ATTACHING        any ──Fault──► FAULTED        any ──pause──► PAUSED

An *episode* is the time from one attach to the next.
What was accepted but not sent when an episode ends is dropped and fetched again: the target's log is the only memory.
A method that may end a phase returns an `Ending`, or None if the phase is unchanged.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from replicator.core.copy.reading.position import Reading
from replicator.core.copy.values import NEXT, Ending, Phase, TargetLimits
from replicator.core.copy.writing.sending import Sending
from replicator.errors import BugError
from replicator.model.status.states import Reason

if TYPE_CHECKING:
    from replicator.core.copy.attaching.facts import Resume
    from replicator.core.copy.track import Track
    from replicator.core.offsets.offset_map import OffsetPair
    from replicator.model.names import TopicPartition


class Lifecycle:
    """What phase a partition is in, and why.

    Args:
        where: The source's partition.
        limits: What the target accepts.
        holds_at_markers: Whether it stops before each transaction marker of the source until `go_on`.

    Attributes:
        where: The source's partition.
        phase: See `Phase`.
        reason: Why it is FAULTED, or what it waits for.
        detail: The same in words.
        episode: Counts attaches; responses that belong to an older episode change nothing here.
        reading: How far the source was read.
        sending: What is queued, and what is in flight to the target.
        acked_offset: The source offset up to which the target is proven to hold everything.
        track: Where source offsets lie on the target; None while they are the source's own.
        displaced: Where a batch was appended that should have got another offset; the next attach finds out why.
        wants_mapping: Whether offsets that hold no record can only be left out: the next attach decides.
        refused_at: `acked_offset` when the target last refused a sequence as not the next one; -1 for never.
        doubtful: Whether, since the last attach, a Produce may have taken effect without our knowing.
    """

    __slots__ = (
        "acked_offset",
        "detail",
        "displaced",
        "doubtful",
        "episode",
        "phase",
        "reading",
        "reason",
        "refused_at",
        "sending",
        "track",
        "wants_mapping",
        "where",
    )

    def __init__(self, where: TopicPartition, limits: TargetLimits, *, holds_at_markers: bool = False) -> None:
        self.where = where
        self.phase = Phase.ATTACHING
        self.reason: Reason | None = None
        self.detail: str | None = None
        self.episode = 0
        self.reading = Reading(holds_at_markers=holds_at_markers)
        self.sending = Sending(limits)
        self.acked_offset = 0
        self.track: Track | None = None
        self.displaced: OffsetPair | None = None
        self.wants_mapping = False
        self.refused_at = -1
        self.doubtful = False

    def _go(self, phase: Phase, reason: Reason | None = None, detail: str | None = None) -> Ending | None:
        before = self.phase
        if phase is not before and phase not in NEXT[before]:
            raise BugError(f"{self.where}: illegal step {before} -> {phase}")
        self.phase = phase
        self.reason = reason
        self.detail = detail
        self.reading.hold.clear()
        dropped = self.sending.drop()
        return None if phase is before else Ending(before, dropped)

    def is_copying(self) -> bool:
        """Return whether an episode is open."""
        return self.phase is Phase.COPYING

    def is_faulted(self) -> bool:
        """Return whether it stopped with a named reason."""
        return self.phase is Phase.FAULTED

    @property
    def target_end(self) -> int:
        """The target's end as proven by responses."""
        return self.acked_offset if self.track is None else self.track.acked.target

    @property
    def shift(self) -> int:
        """Target offset less source offset of what is queued next."""
        return 0 if self.track is None else self.track.shift

    @property
    def limits(self) -> TargetLimits:
        """What the target accepts, as far as known."""
        return self.sending.limits

    def _begin(self, decision: Resume, source_epoch: int) -> None:
        self._go(Phase.COPYING)
        self.sending.begin(decision.state_time_ms)
        self.episode += 1
        self.doubtful = False
        self.wants_mapping = False
        self.acked_offset = decision.offset
        if self.track is not None:
            self.track.begin(decision.place)
        elif decision.shift:
            raise BugError(f"{self.where}: attached at a shift of {decision.shift} without a map")
        self.reading.begin(decision, source_epoch)

    def seed(self) -> None:
        """Wait until the target's log start has been moved."""
        self._go(Phase.SEEDING)

    def wait(self, reason: Reason, detail: str) -> None:
        """Stay ATTACHING, and say why."""
        if self.phase is not Phase.ATTACHING:
            raise BugError(f"{self.where}: cannot wait while {self.phase}")
        self.say(reason, detail)

    def say(self, reason: Reason, detail: str) -> None:
        """Note why nothing moves, without a change of phase."""
        self.reason = reason
        self.detail = detail

    def fault(self, reason: Reason, detail: str) -> Ending | None:
        """Stop."""
        return self._go(Phase.FAULTED, reason, detail)

    def pause(self) -> Ending | None:
        """Stop on request. What is in flight may still be acknowledged."""
        return None if self.phase is Phase.FAULTED else self._go(Phase.PAUSED)

    def settle(self, detail: str, *, doubtful: bool = False) -> Ending | None:
        """End the episode: send no more, and attach again once nothing is outstanding.

        Args:
            detail: Why.
            doubtful: Whether a Produce of this episode may have taken effect without our knowing.
        """
        self.doubtful = self.doubtful or doubtful
        if self.phase is not Phase.COPYING:
            return None
        ending = self._go(Phase.SETTLING, None, detail)
        self.sending.forget_sent()
        return ending

    def leave_out(self, why: str) -> Ending | None:
        """Switch to mapped offsets at the next attach: offsets without a record cannot be filled."""
        self.wants_mapping = True
        return self.settle(why)

    def refuse_fill(self, length: int) -> Ending | None:
        """End at a hole that is too long to fill."""
        why = (
            f"the source has no record at the {length} offsets from {self.reading.next_offset} on, "
            f"and fill_limit allows {self.limits.fill_length_max}"
        )
        if self.limits.may_be_mapped:
            return self.leave_out(why)
        return self.fault(Reason.UNSUPPORTED_BATCH, why)

    def refuse_cleaned(self, length: int) -> Ending | None:
        """Stop at offsets that a cleaner removed, perhaps tombstones among them."""
        return self.fault(
            Reason.TOMBSTONES_MAY_BE_LOST,
            f"the source's cleaner removed the {length} offsets from {self.reading.next_offset} on, and the copy last "
            "caught up with the source longer ago than its delete.retention.ms: tombstones among them may never have "
            "been copied",
        )

    def attach_again(self) -> None:
        """Go back to ATTACHING (after settling, a pause, a seed or a resolution)."""
        if self.sending.outstanding:
            raise BugError(f"{self.where}: attach with {self.sending.outstanding} responses outstanding")
        settled = self.phase is Phase.SETTLING
        self._go(Phase.ATTACHING, self.reason if settled else None, self.detail if settled else None)
        self.sending.forget_sent()
