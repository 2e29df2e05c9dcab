"""Compares one partition of two clusters, both sides in step and in bounded memory."""

from __future__ import annotations

import threading
from dataclasses import dataclass

from replicator.admin.reader import OutOfRange, PartitionReader
from replicator.core.record_diff import RecordDiff, Row
from replicator.engine.verify_result import PartitionVerdict
from replicator.model.names import TopicPartition


@dataclass(frozen=True, slots=True)
class Task:
    """One partition to compare: its names, log starts and ends. `compacted`: a cleaner runs on one side."""

    topic: str
    source: TopicPartition
    target: TopicPartition
    source_start: int
    target_start: int
    source_end: int
    target_end: int
    compacted: bool

    @property
    def start(self) -> int:
        """First offset that both sides may hold."""
        return max(self.source_start, self.target_start)

    @property
    def end(self) -> int:
        """End of what both sides may hold."""
        return min(self.source_end, self.target_end)


@dataclass(slots=True)
class Meter:
    """What one worker has done so far; written by its thread only, read for display."""

    records: int = 0
    offsets: int = 0


class Comparison:
    """Compares one partition, and goes on further up where retention overtakes it.

    Attributes:
        diff: What was found so far.
    """

    def __init__(
        self, task: Task, left: PartitionReader, right: PartitionReader, meter: Meter, *, first_max: int
    ) -> None:
        self.diff = RecordDiff(task.source.partition, compacted=task.compacted, first_max=first_max)
        self._task = task
        self._left = left
        self._right = right
        self._meter = meter

    def run(self, stop: threading.Event) -> PartitionVerdict:
        """Compare to the end, or until told to stop.

        Raises:
            OutOfRange: A log was cut below what had been read.
            KafkaError: A cluster cannot be read.
        """
        task = self._task
        source_start, target_start = task.source_start, task.target_start
        position = task.start
        # The target may be longer than the source: what stands there is extra.
        while position < max(task.end, task.target_end):
            try:
                self._compare(position, stop)
                break
            except OutOfRange as error:
                source_start = self._left.log_start(task.source)
                target_start = self._right.log_start(task.target)
                position = max(source_start, target_start)
                # Nothing at or above the offset that failed has been compared yet, so nothing is compared twice.
                if position <= error.offset:
                    raise
        self.diff.finish()
        return self._verdict(source_start, target_start)

    def _compare(self, start: int, stop: threading.Event) -> None:
        left, right, diff = self._left, self._right, self.diff
        left.open(self._task.source, start, self._task.end)
        right.open(self._task.target, start, self._task.target_end)
        ours: list[Row] = []
        theirs: list[Row] = []
        while not stop.is_set():
            records, offset = diff.records, left.position
            ours = ours or left.chunk()
            theirs = theirs or right.chunk()
            ours, theirs = diff.feed(ours, theirs, source_done=left.at_end, target_done=right.at_end)
            self._meter.records += diff.records - records
            self._meter.offsets += min(left.position, self._task.end) - min(offset, self._task.end)
            if left.at_end and right.at_end and not ours and not theirs:
                return

    def _verdict(self, source_start: int, target_start: int) -> PartitionVerdict:
        task, diff = self._task, self.diff
        return PartitionVerdict(
            partition=task.source.partition,
            start=task.start,
            end=max(task.start, task.end),
            records=diff.records,
            bytes=diff.bytes,
            digest=diff.digest,
            differences=sum(diff.counts.values()),
            source_only=max(0, min(target_start, task.source_end) - source_start),
            target_only=max(0, min(source_start, task.target_end) - target_start),
            behind=max(0, task.source_end - max(task.target_end, task.source_start)),
            excused=diff.excused,
        )
