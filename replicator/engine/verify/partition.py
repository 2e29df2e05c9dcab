"""Compares one partition of two clusters, reading both sides in step and in bounded memory."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, replace

from replicator.core.offsets.map_view import IDENTICAL, MapView
from replicator.core.verify.record_diff import Difference, RecordDiff
from replicator.core.verify.rows import Row
from replicator.engine.logs.ranges.answers import OutOfRange
from replicator.engine.logs.ranges.partition_reader import PartitionReader
from replicator.engine.verify.result import PartitionVerdict
from replicator.engine.verify.sides import TwoSides
from replicator.errors import CorruptRecords, TooLargeToOpen
from replicator.model.names import TopicPartition


@dataclass(frozen=True, slots=True)
class Task:
    """One partition to compare: its names, log starts and ends in offsets of the source.

    `compacted`: a cleaner runs on one side. `view`: maps its offsets to the target's. `floor`: nothing below it is
    compared.
    """

    topic: str
    source: TopicPartition
    target: TopicPartition
    source_start: int
    target_start: int
    source_end: int
    target_end: int
    compacted: bool
    view: MapView = IDENTICAL
    floor: int = 0

    @property
    def start(self) -> int:
        """First offset that is compared: both sides may hold it."""
        return max(self.source_start, self.target_start, self.floor)

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
    """Compares one partition, and continues at the log start where retention overtakes it.

    Attributes:
        diff: What was found so far.
    """

    def __init__(
        self,
        task: Task,
        left: PartitionReader,
        right: PartitionReader,
        meter: Meter,
        *,
        first_max: int,
        report: Callable[[Difference], None] | None = None,
    ) -> None:
        self.diff = RecordDiff(task.source.partition, compacted=task.compacted, first_max=first_max, report=report)
        self._task = task
        self._sides = TwoSides(left, right, task.source, task.target, task.view)
        self._meter = meter

    def run(self, stop: threading.Event) -> PartitionVerdict:
        """Compare to the end, or until stopped; a batch that cannot be read ends it and is named in the verdict.

        Raises:
            OutOfRange: A log was truncated below what had been read.
            KafkaError: A cluster cannot be read.
        """
        task = self._task
        source_start, target_start = task.source_start, task.target_start
        position, problem = task.start, None
        # The target may be longer than the source: what is there is extra.
        while position < max(task.end, task.target_end):
            try:
                self._compare(position, stop)
                break
            except OutOfRange as error:
                source_start, target_start = self._sides.overtaken(error)
                position = max(source_start, target_start, task.floor)
            except (CorruptRecords, TooLargeToOpen) as error:
                problem = error.with_next_step()
                break
        self.diff.finish()
        return replace(self._verdict(source_start, target_start), problem=problem)

    def _compare(self, start: int, stop: threading.Event) -> None:
        sides, diff = self._sides, self.diff
        sides.open(start, self._task.end, self._task.target_end)
        ours: list[Row] = []
        theirs: list[Row] = []
        while not stop.is_set():
            records, offset = diff.records, sides.source_position
            ours, theirs = sides.more(ours, theirs)
            ours, theirs = diff.feed(ours, theirs, source_done=sides.source_done, target_done=sides.target_done)
            self._meter.records += diff.records - records
            self._meter.offsets += min(sides.source_position, self._task.end) - min(offset, self._task.end)
            if sides.source_done and sides.target_done and not ours and not theirs:
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
            taken_over=max(0, min(task.floor, task.source_end) - max(source_start, target_start)),
        )
