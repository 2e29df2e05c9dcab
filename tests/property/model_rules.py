"""What a daemon of the simulation does, each decision by name, and what it sends."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from replicator.core.copy.answers import ProduceOutcome
from replicator.core.copy.attach import decide
from replicator.core.copy.attach_facts import Decision, Role, Writer
from replicator.core.copy.coalesce import Group, groups
from replicator.core.copy.intake import Fill, Passes
from replicator.core.copy.machine import PartitionCopy
from replicator.core.copy.values import Batch
from replicator.core.offsets.pairing import reading_from, spans_of
from replicator.core.work.claim import Timing
from replicator.engine.copy.live_maps import OffsetMaps
from tests.property.model_broker import (
    TAIL_MS,
    ProducedBatch,
)
from tests.property.model_look import ReadingFrom, SpansOf

WRITER = Writer(producer_id=100, producer_epoch=0, role=Role.COPYING, filler_id=101, filler_epoch=0, fill_id=102)
REQUEST_MS = 30_000
DOUBT_MS = REQUEST_MS + TAIL_MS
"""A request takes effect within `REQUEST_MS`, or never; what it appended is committed `TAIL_MS` later, or lost."""
PROOF_MS = 30_000
VERIFIED_MS_MAX = 1_800_000
TIMING = Timing(ttl_seconds=10.0, margin_seconds=3.0)
QUEUE_BYTES_MAX = 600
FILL_LENGTH_MAX = 2
NEVER = -1 << 60
OURS = (WRITER.producer_id, WRITER.producer_epoch)
REGISTERED = 0
"""The incarnation of the source's topic that the mirror record names."""
DOUBTFUL_TODAY = frozenset({ProduceOutcome.UNKNOWN, ProduceOutcome.DUPLICATE})
DOUBTFUL = DOUBTFUL_TODAY | {ProduceOutcome.MOVED, ProduceOutcome.MISSING}


class Violation(AssertionError):
    """The simulation caught something that must never happen."""


Decide = Callable[..., Decision]
Divide = Callable[[Passes, int], list[Group]]


@dataclass(frozen=True, slots=True)
class Rules:
    """What a daemon does; the defaults are what keeps the invariant.

    Attributes:
        copy_type: The machine.
        decide: The attach table.
        claim_needed: Unguarded work needs the claim.
        doubt_waited: The doubt time is waited out, by the daemon in doubt and by a new holder of the claim.
        proven_after_doubt: Unguarded work rests on a place that was read *after* the doubt time.
        proven_when_sent: An answer proves the place for the time its request was sent, however late it is heard.
        moved_is_doubt: NOT_LEADER_OR_FOLLOWER may come after the append.
        reads_in_order: Source start, then the target, then the source's end. Otherwise the source comes first.
        source_epoch_known: The attach tells the leader epoch of the record it compared.
        aging_waited: A batch that lets the producer state age waits until no other daemon can hold an older place;
            and every write rests on a place proven within `PROOF_MS`.
        fill_doubt_waited: After a fill without an answer the doubt time is waited out before the next fill.
        log_end_known: The true log end is known at the attach (OffsetForLeaderEpoch of the present epoch).
        maps_type: How offset maps are read and changed.
        skips_forgotten: An attach goes back to where the source has a record at an offset that was left out.
        map_read_after_logs: What is recorded is read once more after the logs were.
        remap_compared: A change of the mirror record is a compare-and-set.
        remap_recorded: A difference is recorded before anything is copied behind it.
        displaced_looked_at: A batch that landed further on is looked at before the next attach.
        spans: Where a batch holds records to copy.
        reading_from: Where a walk along both logs begins.
        judged_from_known: What was taken over is not compared.
        given_up_known: An attach knows what was given up.
        groups: Which batches of an answer are merged.
        asked_by_identity: An answer belongs to the partition that asked, not to its successor of the same name.
        looked_again: What was doubted is looked at once more.
        others_told_apart: Where others write to the target too, only our own records there are counted.
    """

    copy_type: type[PartitionCopy] = PartitionCopy
    decide: Decide = decide
    claim_needed: bool = True
    doubt_waited: bool = True
    proven_after_doubt: bool = True
    proven_when_sent: bool = True
    moved_is_doubt: bool = True
    reads_in_order: bool = True
    source_epoch_known: bool = True
    aging_waited: bool = True
    log_end_known: bool = False
    fill_doubt_waited: bool = True
    maps_type: type[OffsetMaps] = OffsetMaps
    map_read_after_logs: bool = True
    skips_forgotten: bool = True
    remap_compared: bool = True
    remap_recorded: bool = True
    displaced_looked_at: bool = True
    spans: SpansOf = spans_of
    reading_from: ReadingFrom = reading_from
    judged_from_known: bool = True
    given_up_known: bool = True
    groups: Divide = groups
    others_told_apart: bool = True
    asked_by_identity: bool = True
    looked_again: bool = True


@dataclass(eq=False, slots=True)
class Request:
    """One Produce for the partition, or one fill under a claim number; on its way or answered."""

    work: tuple[Batch, ProducedBatch] | tuple[Fill, int]
    episode: int
    sent_ms: int
    answer: tuple[int, int] | None = None


@dataclass(eq=False, slots=True)
class Connection:
    """A connection to the target's leader: requests arrive in order, answers leave in order."""

    term: int
    open: bool = True
    waiting: int = 0
    undelivered: deque[Request] = field(default_factory=deque)
    unanswered: deque[Request] = field(default_factory=deque)
