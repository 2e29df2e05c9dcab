"""One partition as the engine holds it: its machine, and what the I/O around it needs to remember."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from replicator.core.copy.fill_pace import FillPace
from replicator.core.copy.machine import PartitionCopy
from replicator.core.copy.values import Batch, Phase
from replicator.core.status.lag import LagMeter
from replicator.core.topics.ownership import recorded
from replicator.engine.copy.recorded import Recorded

if TYPE_CHECKING:
    from collections.abc import Iterable

    from replicator.core.topics.ownership import OwnedTopic
    from replicator.core.verify.track import VerifyTrack
    from replicator.engine.logs.side import Side
    from replicator.engine.work.shards import Shard
    from replicator.model.names import TopicPartition


@dataclass(frozen=True, slots=True)
class OpenTransaction:
    """A transaction on the source that holds up what is behind it.

    Attributes:
        stable_offset: Where it holds the last stable offset.
        producer_id: Whose it is; None where the source does not tell.
        detail: The same in words, and what helps.
    """

    stable_offset: int
    producer_id: int | None
    detail: str


@dataclass(slots=True)
class AttachState:
    """When one partition is attached next, and what its attaches met. Times are monotonic, in seconds.

    Attributes:
        due: When the next attempt is due.
        attempts: Attaches since the last accepted batch, for the back-off.
        damaged: How many looks at its logs in a row met damage.
        is_under_way: Whether a task is reading its facts now.
        begins_again: Whether it is to be attached once no answer is outstanding (after a pause or a fault).
        doubt_until: Before this, unguarded work must not begin.
        rest_until: Before this, the guard must not be ended.
        untold: Whether the target's leader refused a sequence though it tells of none: what it remembers of us it does
            not tell, and the log has to serve.
    """

    due: float = 0.0
    attempts: int = 0
    damaged: int = 0
    is_under_way: bool = False
    begins_again: bool = False
    doubt_until: float = 0.0
    rest_until: float = 0.0
    untold: bool = False


@dataclass(slots=True)
class Proof:
    """When one partition's place on the target was last proven. Monotonic, in seconds.

    Attributes:
        read_at: When the last reading of the target's log began that found it to end at the place: an attach's, or the
            one after a fill. Only this proves that nobody has written beyond the place: a batch that is acknowledged
            may be a repeat of another daemon's, which has gone on since (the broker answers as it did the first time).
        verified_at: When an attach began, or when a batch was sent that was then accepted. Hearing an answer late
            proves nothing about now.
        moved_at: When the place was last seen to change.
    """

    read_at: float = 0.0
    verified_at: float = 0.0
    moved_at: float = 0.0


@dataclass(slots=True)
class RecordedMap:
    """What is recorded of one partition's offsets.

    Attributes:
        record: As bytes; empty while they are the source's own.
        judged_from: Offset on the target below which a log was taken over, and is not compared.
        compared_from: Offset on the target from which `verify` compares: of what was taken over, what was found equal.
        given_up: Source offsets that an operator gave up, from and to, in order.
    """

    record: bytes = b""
    judged_from: int = 0
    compared_from: int = 0
    given_up: tuple[tuple[int, int], ...] = ()


@dataclass(slots=True)
class Refused:
    """The batch that one partition stopped at.

    Attributes:
        too_large: Its source offsets, from and to, where it is too large to be opened.
        request_bytes: Its size, where the target's broker takes it in no request; 0 for none.
    """

    too_large: tuple[int, int] | None = None
    request_bytes: int = 0


@dataclass(slots=True)
class LogsSeen:
    """Where one partition's logs were last seen to begin, and what holds up the source's.

    Attributes:
        source_start: Where the source's log begins; None while that is unknown.
        target_start: Where the target's log begins; None while that is unknown.
        stable_offset: Last stable offset of the source below its high watermark, as last seen; means nothing while
            `open_since` is None.
        open_since: Monotonic time since which it was seen to stand there; None while nothing is open, or unknown.
        open_transaction: What was last found to hold it up (ask `held_up_by`).
    """

    source_start: int | None = None
    target_start: int | None = None
    stable_offset: int = -1
    open_since: float | None = None
    open_transaction: OpenTransaction | None = None

    def observe_stable(self, stable_offset: int, high_watermark: int, now: float) -> None:
        """Take the source's last stable offset and high watermark as seen at monotonic time `now`."""
        if stable_offset >= high_watermark:
            self.open_since = None
        elif self.open_since is None or stable_offset != self.stable_offset:
            self.stable_offset = stable_offset
            self.open_since = now

    @property
    def held_up_by(self) -> OpenTransaction | None:
        """The open transaction that was found, as long as the last stable offset still stands there."""
        found = self.open_transaction
        stands = found is not None and self.open_since is not None and found.stable_offset == self.stable_offset
        return found if stands else None


@dataclass(eq=False, slots=True)
class Slot:
    """One partition of a mirror. Those outside the room see it as a `PartitionView`.

    Attributes:
        source: The partition on the source.
        target: The partition on the target (another topic name where the flow renames).
        copy: Its machine.
        shard: The shard it belongs to, with this daemon's rights on it.
        recorded: What was known of it before its logs were read.
        attach: When it is attached next.
        proof: When its place was last proven.
        mapping: What is recorded of its offsets.
        seen: Where its logs begin, and what holds them up.
        refused: The batch it stopped at.
        lag: Its lag meter.
        fill_pace: How fast its present run of offsets without a record is filled.
        seed_eta_seconds: How much longer its seed takes; None while it is not seeded.
        verified: How far its copy was verified; None before the first look, and where nobody looks.
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
    refused: Refused = field(default_factory=Refused)
    lag: LagMeter = field(default_factory=LagMeter)
    fill_pace: FillPace = field(default_factory=FillPace)
    seed_eta_seconds: int | None = None
    verified: VerifyTrack | None = None

    @property
    def wants_attach(self) -> bool:
        """Whether it waits to be attached (and no answer of an earlier episode is outstanding)."""
        if self.attach.is_under_way or self.copy.sending.outstanding:
            return False
        return self.attach.begins_again or self.copy.phase in {Phase.ATTACHING, Phase.SETTLING}

    def attached(self, offset: int, began: float, now: float) -> None:
        """Note where an attach that began at monotonic time `began` found the target's end."""
        self.proof.read_at = self.proof.verified_at = began
        if offset != self.copy.target_end:
            self.proof.moved_at = now


def release(batches: Iterable[Batch]) -> None:
    """Give the frames of batches that will not be sent (any more) back to their pool."""
    for batch in batches:
        batch.owner.release()  # type: ignore[attr-defined] # a wire Frame; opaque in core


def of_slot(side: Side, slot: Slot) -> OwnedTopic:
    """Return the topic that a partition is copied to, as its mirror's record names it: nothing else is copied to."""
    return recorded(slot.target.topic, side.topic_ids[slot.target.topic])
