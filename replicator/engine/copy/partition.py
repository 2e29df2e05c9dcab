"""One partition as the engine holds it: its machine, and what the I/O around it needs to remember."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from replicator.core.copy.fill_pace import FillPace
from replicator.core.copy.machine import PartitionCopy
from replicator.core.copy.values import Batch, Phase
from replicator.core.status.lag import LagMeter
from replicator.core.topics.ownership import recorded

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


@dataclass(eq=False, slots=True)
class Slot:
    """One partition of a mirror.

    Attributes:
        source: The partition on the source.
        target: The partition on the target (another topic name where the flow renames).
        copy: Its machine.
        shard: The shard it belongs to, with this daemon's rights on it.
        lag: Its lag meter.
        active: Whether the mirror record holds it as ACTIVE: once it does, its offsets are never seeded again.
        begin_at_end: Whether it begins at the source's end (`start: latest`).
        compacted: Whether the source's cleaner may take records from inside its log, as far as is known.
        surely_compacted: Whether it is known that it may.
        only_compacted: Whether nothing but the cleaner takes records: then its start cannot be moved.
        untold: Whether the target's leader refused a sequence though it tells of none: what it remembers of us it does
            not tell, and the log has to serve.
        level_ms: When the target last held all that the source was seen to hold (Unix, ms); 0 for never.
        stopped_by_mirror: Whether it stands still for a fault of its whole topic, and goes on once that has passed.
        map_record: What is recorded of its offsets, as bytes; empty while they are the source's own.
        judged_from: Offset on the target below which a log was taken over, and is not compared.
        compared_from: Offset on the target from which `verify` compares: of what was taken over, what was found equal.
        given_up: Source offsets that an operator gave up, from and to, in order.
        seeded_to: Offset below which the target may hold fillers, as recorded; 0 for none.
        stored_epoch: Last source leader epoch known, from the state topic or from what was read; -1 for none.
        epochs_unproven: Source offset below which batches may claim leader epochs above the leader's: they are ignored.
        too_large: Source offsets, from and to, of the batch that it stopped at as it is too large to be opened.
        refused_bytes: Size of a batch that the target's broker takes in no request; 0 for none.
        due: Monotonic time of the next attach attempt.
        attempts: Attaches since the last accepted batch, for the back-off.
        damaged: How many looks at its logs in a row met damage.
        attaching: Whether a task is reading its facts now.
        begins_again: Whether it is to be attached once no answer is outstanding (after a pause or a fault).
        doubt_until: Monotonic time before which unguarded work must not begin.
        verified_at: Monotonic time at which its place on the target was last proven: when an attach began, or when
            a batch was sent that was then accepted. Hearing an answer late proves nothing about now.
        moved_at: Monotonic time at which its place on the target was last seen to change.
        rest_until: Monotonic time before which the guard must not be ended.
        stable_offset: Last stable offset of the source below its high watermark, as last seen; means nothing while
            `open_since` is None.
        open_since: Monotonic time since which it was seen to stand there; None while nothing is open, or unknown.
        open_transaction: What was last found to hold it up (ask `held_up_by`).
        fill_pace: How fast its present run of offsets without a record is filled.
        verified: How far its copy was verified; None before the first look, and where nobody looks.
    """

    source: TopicPartition
    target: TopicPartition
    copy: PartitionCopy
    shard: Shard
    lag: LagMeter = field(default_factory=LagMeter)
    active: bool = False
    begin_at_end: bool = False
    compacted: bool = False
    surely_compacted: bool = False
    only_compacted: bool = False
    untold: bool = False
    level_ms: int = 0
    stopped_by_mirror: bool = False
    map_record: bytes = b""
    judged_from: int = 0
    compared_from: int = 0
    given_up: tuple[tuple[int, int], ...] = ()
    seeded_to: int = 0
    stored_epoch: int = -1
    epochs_unproven: int = 0
    too_large: tuple[int, int] | None = None
    refused_bytes: int = 0
    due: float = 0.0
    attempts: int = 0
    damaged: int = 0
    attaching: bool = False
    begins_again: bool = False
    doubt_until: float = 0.0
    verified_at: float = 0.0
    moved_at: float = 0.0
    rest_until: float = 0.0
    source_start: int | None = None
    target_start: int | None = None
    seed_eta_seconds: int | None = None
    stable_offset: int = -1
    open_since: float | None = None
    open_transaction: OpenTransaction | None = None
    fill_pace: FillPace = field(default_factory=FillPace)
    verified: VerifyTrack | None = None

    @property
    def wants_attach(self) -> bool:
        """Whether it waits to be attached (and no answer of an earlier episode is outstanding)."""
        if self.attaching or self.copy.sending.outstanding:
            return False
        return self.begins_again or self.copy.phase in {Phase.ATTACHING, Phase.SETTLING}

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

    def attached(self, offset: int, began: float, now: float) -> None:
        """Note where an attach that began at monotonic time `began` found the target's end."""
        self.verified_at = began
        if offset != self.copy.target_end:
            self.moved_at = now


def release(batches: Iterable[Batch]) -> None:
    """Give the frames of batches that will not be sent (any more) back to their pool."""
    for batch in batches:
        batch.owner.release()  # type: ignore[attr-defined] # a wire Frame; opaque in core


def of_slot(side: Side, slot: Slot) -> OwnedTopic:
    """Return the topic that a partition is copied to, as its mirror's record names it: nothing else is copied to."""
    return recorded(slot.target.topic, side.topic_ids[slot.target.topic])
