"""One partition as the engine holds it: its state machine, and what the I/O around it has to remember."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from replicator.core.copy.machine import PartitionCopy
from replicator.core.copy.values import Batch, Phase
from replicator.core.copy.writing.fill_pace import FillPace
from replicator.core.status.lag import LagMeter
from replicator.core.topics.ownership import recorded
from replicator.engine.copy.partitions.recorded import Recorded

if TYPE_CHECKING:
    from collections.abc import Iterable

    from replicator.core.topics.ownership import OwnedTopic
    from replicator.core.verify.track import VerifyTrack
    from replicator.engine.logs.side import Side
    from replicator.engine.work.shards import Shard
    from replicator.model.names import TopicPartition


@dataclass(frozen=True, slots=True)
class OpenTransaction:
    """An open transaction on the source that holds up the records after it.

    Attributes:
        stable_offset: The last stable offset that it keeps from rising.
        producer_id: Its producer's id; None if the source does not report it.
        detail: The same in words, and what helps.
    """

    stable_offset: int
    producer_id: int | None
    detail: str


@dataclass(slots=True)
class AttachState:
    """When one partition is attached next, and what its attaches encountered. Times are monotonic, in seconds.

    Attributes:
        due: When the next attempt is due.
        attempts: Attaches since the last accepted batch, for the back-off.
        damaged: How many consecutive looks at its logs found damage.
        is_under_way: Whether a task is reading its facts now.
        begins_again: Whether to attach it once no response is outstanding (after a pause or a fault).
        doubt_until: Unguarded work must not start before this.
        rest_until: The guard must not be ended before this.
        unreported: Whether the target's leader refused a sequence although it reports no producer state: it remembers
            something about us that it does not report, so the log has to serve instead.
    """

    due: float = 0.0
    attempts: int = 0
    damaged: int = 0
    is_under_way: bool = False
    begins_again: bool = False
    doubt_until: float = 0.0
    rest_until: float = 0.0
    unreported: bool = False


@dataclass(slots=True)
class Proof:
    """When one partition's place on the target was last proven. Times are monotonic, in seconds.

    Attributes:
        read_at: When the last reading of the target's log started that found it to end at the place: an attach's, or
            the one after a fill. Only this proves that nobody has written beyond the place. A batch that is
            acknowledged may repeat another daemon's, which has moved on since: the broker answers as the first time.
        verified_at: When an attach started, or when a batch was sent that was accepted later. The arrival of a response
            proves nothing: the response may be late.
        moved_at: When the place was last seen to change.
    """

    read_at: float = 0.0
    verified_at: float = 0.0
    moved_at: float = 0.0


@dataclass(slots=True)
class RecordedMap:
    """What the mirror record says about one partition's offsets.

    Attributes:
        record: The recorded map as bytes; empty while the offsets are the source's own.
        judged_from: Target offset below which the log was taken over and is not compared.
        compared_from: Target offset from which `verify` compares; within a log that was taken over, where it was found
            to be equal.
        given_up: Source offsets that an operator gave up, as (from, to), in order.
    """

    record: bytes = b""
    judged_from: int = 0
    compared_from: int = 0
    given_up: tuple[tuple[int, int], ...] = ()


@dataclass(slots=True)
class BlockingBatch:
    """The batch that one partition stopped at.

    Attributes:
        too_large: Its source offsets, (from, to), if it is too large to be opened.
        request_bytes: Its size, if no request with it fits the target broker; otherwise 0.
    """

    too_large: tuple[int, int] | None = None
    request_bytes: int = 0


@dataclass(slots=True)
class LogsSeen:
    """The log starts of one partition as last seen, and what holds up the source's last stable offset.

    Attributes:
        source_start: Log start on the source; None while it is unknown.
        target_start: Log start on the target; None while it is unknown.
        stable_offset: The source's last stable offset when it was last seen below the high watermark; meaningless while
            `open_since` is None.
        open_since: Monotonic time since which it has not moved; None while no transaction is open, or that is unknown.
        open_transaction: What was last found to hold it up (ask `held_up_by`).
    """

    source_start: int | None = None
    target_start: int | None = None
    stable_offset: int = -1
    open_since: float | None = None
    open_transaction: OpenTransaction | None = None

    def observe_stable(self, stable_offset: int, high_watermark: int, now: float) -> None:
        """Take the source's last stable offset and high watermark, as seen at monotonic time `now`."""
        if stable_offset >= high_watermark:
            self.open_since = None
        elif self.open_since is None or stable_offset != self.stable_offset:
            self.stable_offset = stable_offset
            self.open_since = now

    @property
    def held_up_by(self) -> OpenTransaction | None:
        """The open transaction that was found, for as long as the last stable offset has not moved."""
        found = self.open_transaction
        stands = found is not None and self.open_since is not None and found.stable_offset == self.stable_offset
        return found if stands else None


@dataclass(eq=False, slots=True)
class Slot:
    """One partition of a mirror. Other rooms see it as a `PartitionView`.

    Attributes:
        source: The partition on the source.
        target: The partition on the target (under another topic name if the flow renames topics).
        copy: Its state machine.
        shard: The shard it belongs to, with the rights this daemon has on it.
        recorded: What was recorded about it before its logs were read.
        attach: When it is attached next.
        proof: When its place was last proven.
        mapping: What is recorded about its offsets.
        seen: Its log starts, and what holds up the source's last stable offset.
        blocking_batch: The batch it stopped at.
        lag: Its lag meter.
        fill_pace: How fast the present stretch of offsets without a record is filled.
        seed_eta_seconds: How much longer its seed will take; None while it is not being seeded.
        verified: How far its copy was verified; None before the first check, or if nothing verifies it.
    """

    source: TopicPartition
    target: TopicPartition
    copy: PartitionCopy
    shard: Shard
    recorded: Recorded = field(default_factory=Recorded)
    attach: AttachState = field(default_factory=AttachState)
    proof: Proof = field(default_factory=Proof)
    mapping: RecordedMap = field(default_factory=RecordedMap)
    seen: LogsSeen = field(default_factory=LogsSeen)
    blocking_batch: BlockingBatch = field(default_factory=BlockingBatch)
    lag: LagMeter = field(default_factory=LagMeter)
    fill_pace: FillPace = field(default_factory=FillPace)
    seed_eta_seconds: int | None = None
    verified: VerifyTrack | None = None

    @property
    def wants_attach(self) -> bool:
        """Whether it waits to be attached, and no response of an earlier episode is outstanding."""
        if self.attach.is_under_way or self.copy.sending.outstanding:
            return False
        return self.attach.begins_again or self.copy.phase in {Phase.ATTACHING, Phase.SETTLING}

    def attached(self, offset: int, began: float, now: float) -> None:
        """Note the log end that an attach started at monotonic time `began` found on the target."""
        self.proof.read_at = self.proof.verified_at = began
        if offset != self.copy.target_end:
            self.proof.moved_at = now


def release(batches: Iterable[Batch]) -> None:
    """Release the frames of batches that are done with, or will not be sent."""
    for batch in batches:
        batch.owner.release()  # type: ignore[attr-defined] # a wire Frame; opaque in core


def of_slot(side: Side, slot: Slot) -> OwnedTopic:
    """Return the topic that a partition is copied to, as its mirror record identifies it; no other may be written."""
    return recorded(slot.target.topic, side.topic_ids[slot.target.topic])
