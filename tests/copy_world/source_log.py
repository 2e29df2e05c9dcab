"""A model of the partition that is copied from: its log, its leader epochs, and every history that it ever had.

Records are integers, never equal twice, and offsets say where they are.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from replicator.model.batch import (
    CONTROL_BIT,
    LENGTH_PREFIX_BYTES,
    LOG_APPEND_TIME_BIT,
    TRANSACTIONAL_BIT,
    BatchHeader,
)

HOUR_MS = 3_600_000
BATCH_BYTES_MAX = 1000
ABORTED_PRODUCER = 77
FLOW_PRODUCER = 78
"""A flow that writes to the source, whose records `loop_guard: origin` leaves out."""


@dataclass(frozen=True, slots=True)
class SourceBatch:
    """A batch of the source: its header, and the identities of its records by offset."""

    header: BatchHeader
    records: tuple[tuple[int, int], ...]


class FetchAnswer(NamedTuple):
    """What a fetch of the source returned: a refusal, a divergence, or batches."""

    refusal: str | None
    diverging: tuple[int, int] | None
    batches: tuple[SourceBatch, ...]
    aborted: tuple[tuple[int, int], ...]
    end: int = 0
    epoch: int = -1


@dataclass(slots=True)
class SourcePartition:
    """One partition of the source; all of it is committed, until an unclean election loses some.

    Attributes:
        start: Log start offset.
        end: Log end and high watermark.
        incarnation: Changes when the topic is re-created.
        histories: Every history the partition ever had, the present one last: identity by offset.
        odd_offsets: Offsets covered by batches that cannot be copied at all.
    """

    start: int = 0
    end: int = 0
    incarnation: int = 0
    truncated: bool = False
    batches: list[SourceBatch] = field(default_factory=list)
    histories: list[dict[int, int]] = field(default_factory=lambda: [{}])
    epochs: list[tuple[int, int]] = field(default_factory=lambda: [(0, 0)])
    odd_offsets: set[int] = field(default_factory=set)
    _next_record: int = 1

    def first_record(self, record: int) -> None:
        """Number its records from that one on."""
        self._next_record = record

    def append(self, count: int, max_timestamp: int, odd: str = "") -> None:
        """Append one batch; `odd` names what is unusual about it."""
        if odd in {"gap", "end"}:
            self.end += 1
        if odd == "end":
            return
        base = self.end
        records = [(base + at, self._next_record + at) for at in range(count)]
        self._next_record += count
        if odd == "hole" and count > 1:
            del records[count // 2]
        elif odd == "hole":
            odd = "control"
        if odd == "control":
            records = []
        attributes = {
            "control": CONTROL_BIT | TRANSACTIONAL_BIT,
            "append_time": LOG_APPEND_TIME_BIT,
            "aborted": TRANSACTIONAL_BIT,
            "transactional": TRANSACTIONAL_BIT,
        }.get(odd, 0)
        size = BATCH_BYTES_MAX + 1 if odd == "too_large" else 61 + 10 * count
        magic = 1 if odd == "old_magic" else 2
        if odd == "old_magic":
            count = 1
            del records[1:]
        producer = {"aborted": ABORTED_PRODUCER, "by_a_flow": FLOW_PRODUCER}.get(odd, 5)
        stored = 1 if odd == "control" else len(records)
        header = BatchHeader(
            base,
            size - LENGTH_PREFIX_BYTES,
            self.epochs[-1][0],
            magic,
            0,
            attributes,
            count - 1,
            0,
            max_timestamp,
            producer,
            0,
            0,
            stored,
            0,
        )
        if odd == "too_large":
            self.odd_offsets.update(range(base, base + count))
        self.batches.append(SourceBatch(header, tuple(records)))
        if odd not in {"aborted", "by_a_flow"}:
            self.histories[-1].update(records)
        self.end = base + count

    def bump_epoch(self) -> None:
        """Elect a leader cleanly."""
        self.epochs.append((self.epochs[-1][0] + 1, self.end))

    def delete_records(self, offset: int) -> None:
        """Let an administrator move the start, also into the middle of a batch (DeleteRecords)."""
        self.start = max(self.start, min(offset, self.end))
        self.batches = [batch for batch in self.batches if batch.header.next_offset > self.start]

    def truncate(self, index: int) -> None:
        """Elect a leader uncleanly: batches from that one on are lost, and another history begins."""
        if index >= len(self.batches):
            return
        cut = max(self.batches[index].header.base_offset, self.start)
        del self.batches[index:]
        self.truncated = True
        self.end = cut
        self.odd_offsets = {offset for offset in self.odd_offsets if offset < cut}
        self.histories.append({offset: record for offset, record in self.histories[-1].items() if offset < cut})
        epoch = self.epochs[-1][0] + 1
        self.epochs = [*((number, first) for number, first in self.epochs if first < cut or number == 0), (epoch, cut)]

    def recreate(self) -> None:
        """Delete the topic and create it again."""
        self.start = self.end = 0
        self.incarnation += 1
        self.batches = []
        self.histories.append({})
        self.epochs = [(0, 0)]
        self.odd_offsets = set()

    def epoch_end(self, epoch: int) -> tuple[int, int]:
        """Return (largest epoch not above `epoch`, where it ends), as OffsetForLeaderEpoch does.

        Epochs that end below the log's start are forgotten; the one it stands in begins there from then on. Of one
        before all that are known, the end is where those begin.
        """
        found = epoch
        for number, first in self._known_epochs():
            if number > epoch:
                return found, first
            found = number
        return found, self.end

    def _known_epochs(self) -> list[tuple[int, int]]:
        ends = [first for _, first in self.epochs[1:]] + [self.end + 1]
        return [
            (number, max(first, self.start))
            for (number, first), end in zip(self.epochs, ends, strict=True)
            if end > self.start
        ]

    def fetch(self, incarnation: int, offset: int, last_epoch: int, batches_max: int) -> FetchAnswer:
        """Answer a fetch as a broker does from v12 on."""
        if incarnation != self.incarnation:
            return FetchAnswer("UNKNOWN_TOPIC_ID", None, (), ())
        if not self.start <= offset <= self.end:
            return FetchAnswer("OFFSET_OUT_OF_RANGE", None, (), ())
        if last_epoch >= 0:
            epoch, end = self.epoch_end(last_epoch)
            if epoch < last_epoch or end < offset:
                return FetchAnswer(None, (epoch, end), (), ())
        found = tuple(batch for batch in self.batches if batch.header.next_offset > offset)[:batches_max]
        aborted = tuple(
            (batch.header.producer_id, batch.header.base_offset)
            for batch in found
            if batch.header.producer_id == ABORTED_PRODUCER
        )
        return FetchAnswer(None, None, found, aborted, self.end, self.epochs[-1][0])

    def record_at(self, offset: int) -> int | None:
        """Return the record a reader finds there now."""
        return self.histories[-1].get(offset) if self.start <= offset < self.end else None

    def epoch_at(self, offset: int) -> int:
        """Return the leader epoch of the batch that holds an offset, -1 where none does."""
        for batch in self.batches:
            if batch.header.base_offset <= offset < batch.header.next_offset:
                return batch.header.leader_epoch
        return -1
