"""A partition in any phase, and what it is offered, sends and is answered, for tests of the copy machine."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace

from replicator.core.copy.attaching.facts import Resume
from replicator.core.copy.machine import PartitionCopy
from replicator.core.copy.reading.doubt import ResponseBounds
from replicator.core.copy.reading.pieces import Fill, Piece
from replicator.core.copy.values import Batch, Ending, Phase, TargetLimits
from replicator.core.copy.writing.answers import ProduceOutcome
from replicator.model.batch import (
    LENGTH_PREFIX_BYTES,
    SEQUENCE_MODULUS,
    BatchHeader,
    Unpacked,
)
from replicator.model.names import TopicPartition
from replicator.model.status.states import Reason

WHERE = TopicPartition("orders", 0)
NOW = 1_700_000_000_000
GUARD_MS = 23 * 3_600_000
OLD = NOW - GUARD_MS
ANY = ResponseBounds()
LIMITS = TargetLimits(batch_bytes_max=1000, guard_ms=GUARD_MS)


def header(base: int = 10, count: int = 5, **changes: int) -> BatchHeader:
    """Return a header of a batch of `count` records."""
    plain = BatchHeader(base, 100 - LENGTH_PREFIX_BYTES, 0, 2, 0, 0, count - 1, NOW, NOW, 5, 0, 0, count, 0)
    return plain._replace(**changes)


def attaching() -> PartitionCopy:
    """Return a machine before its first attach, of a log that a cleaner works on."""
    copy = PartitionCopy(WHERE, LIMITS)
    copy.reading.missing.compacted = True
    return copy


def copying(offset: int = 10, state_ms: int | None = NOW, source_epoch: int = -1) -> PartitionCopy:
    """Return a machine in an episode."""
    copy = attaching()
    copy.resume(Resume(offset, offset % SEQUENCE_MODULUS, state_ms), source_epoch)
    return copy


def queue(copy: PartitionCopy, *headers: BatchHeader) -> list[Batch]:
    """Offer headers and queue what was accepted."""
    segments, ending = copy.offer(headers, (), ANY, unopened, unproven)
    assert ending is None
    out: list[Batch] = []
    for segment in segments:
        if isinstance(segment, Fill):
            copy.fill(segment)
            continue
        assert isinstance(segment, list)
        batches = [
            Batch(each.base_offset, each.record_count, each.max_timestamp, each.size, None, None) for each, _ in segment
        ]
        copy.sending.queue(batches)
        out += batches
    return out


def unopened(_: BatchHeader) -> Sequence[Unpacked]:
    """No batch here has to be opened."""
    raise AssertionError("a batch was opened")


def opened(batch: BatchHeader) -> Sequence[Unpacked]:
    """Return the records of a batch."""
    return [SimpleNamespace(offset=offset) for offset in range(batch.base_offset, batch.next_offset)]


def unproven(_: BatchHeader) -> None:
    """No batch here has bytes."""


def marker(base: int, count: int = 1) -> BatchHeader:
    """Return an empty batch, as the cleaner leaves it: its offsets are to be filled."""
    return header(base, count, record_count=0)


def send(copy: PartitionCopy, *, claimed: bool = False) -> list[Batch]:
    """Send all that may be sent."""
    sent = []
    while (batch := copy.sending.next_to_send(NOW, claimed=claimed)) is not None:
        sent.append(batch)
    return sent


def answer(copy: PartitionCopy, batch: Batch, outcome: ProduceOutcome, episode: int | None = None) -> Ending | None:
    """Answer a batch; an accepted one landed where it should."""
    return copy.answered(batch, copy.episode if episode is None else episode, outcome, batch.base_offset, "words")


def in_phase(phase: Phase) -> PartitionCopy:
    """Return a machine in that phase."""
    copy = attaching() if phase in {Phase.ATTACHING, Phase.SEEDING} else copying()
    if phase is Phase.SEEDING:
        copy.seed()
    elif phase is Phase.SETTLING:
        copy.settle("why", doubtful=False)
    elif phase is Phase.PAUSED:
        copy.pause()
    elif phase is Phase.FAULTED:
        copy.fault(Reason.FENCED, "why")
    assert copy.phase is phase
    return copy


def plain(offset: int = 10) -> PartitionCopy:
    """Return a machine in an episode, of a log that no cleaner works on."""
    copy = copying(offset)
    copy.reading.missing.compacted = False
    return copy


def offer(copy: PartitionCopy, *headers: BatchHeader, edges: ResponseBounds = ANY) -> list[Piece]:
    """Offer headers; return what was taken."""
    return copy.offer(headers, (), edges, unopened, unproven)[0]
