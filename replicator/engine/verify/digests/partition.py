"""Digests one partition, on one side or on both in step, in bounded memory, and judges the digests of two sides."""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace

from replicator.core.verify.range_digest import RangeDigester, paired
from replicator.engine.logs.ranges.answers import OutOfRange
from replicator.engine.logs.ranges.partition_reader import PartitionReader
from replicator.engine.verify.digests.file import PartitionDigests
from replicator.engine.verify.digests.result import PartitionDigestVerdict
from replicator.engine.verify.partition import Comparison, Meter, Task
from replicator.engine.verify.sides import TwoSides
from replicator.errors import CorruptRecords
from replicator.model.names import TopicPartition
from replicator.model.spec import SideName


@dataclass(frozen=True, slots=True)
class SideTask:
    """One partition of one side: read [start, end); the last range ends at `cut`, above which nothing is covered."""

    topic: str
    where: TopicPartition
    start: int
    end: int
    cut: int


def digest_side(
    task: SideTask, reader: PartitionReader, meter: Meter, range_offsets: int, stop: threading.Event
) -> PartitionDigests:
    """Digest one side, and continue at the log start where retention overtakes the reading.

    A batch that cannot be read ends it and is reported: the ranges below it are covered.

    Raises:
        OutOfRange: The log was truncated below what had been read.
        KafkaError: The cluster cannot be read.
    """
    digester = RangeDigester(task.start, range_offsets)
    position, start = task.start, task.start
    while position < task.end and not stop.is_set():
        try:
            reader.open(task.where, position, task.end)
            while (rows := reader.chunk()) and not stop.is_set():
                digester.feed(rows)
                meter.records += len(rows)
                meter.offsets += reader.position - position
                position = reader.position
                del rows  # large fields keep their answer in memory, and the next one is about to be read
            break
        except OutOfRange as error:
            start = reader.log_start(task.where)
            if start <= error.offset:
                raise
            position = start
            digester.restart(start)
        except CorruptRecords as error:
            problem = error.with_next_step()
            return PartitionDigests(task.where.partition, start, max(start, task.cut), digester.ranges, problem)
    digester.finish(task.cut)
    return PartitionDigests(task.where.partition, start, max(start, task.cut), digester.ranges)


class DigestComparison:
    """Digests both sides of one partition in step, so that a log start that moves cuts both at the same offset."""

    def __init__(
        self, task: Task, left: PartitionReader, right: PartitionReader, meter: Meter, range_offsets: int
    ) -> None:
        self._task = task
        self._readers = left, right
        self._sides = TwoSides(left, right, task.source, task.target, task.view)
        self._meter = meter
        self._size = range_offsets
        self._source = RangeDigester(task.start, range_offsets)
        self._target = RangeDigester(task.start, range_offsets)

    def run(self, stop: threading.Event) -> PartitionDigestVerdict:
        """Compare to the end, or until stopped; ranges of a compacted topic that differ are compared record by record.

        A batch that cannot be read ends it and is named in the verdict: the ranges below it were compared.

        Raises:
            OutOfRange: A log was truncated below what had been read.
            KafkaError: A cluster cannot be read.
        """
        task = self._task
        source_start, target_start = task.source_start, max(task.target_start, task.floor)
        position, end = task.start, max(task.end, task.target_end)
        while position < end and not stop.is_set():
            try:
                self._read(position, stop)
                break
            except OutOfRange as error:
                source_start, target_start = self._sides.overtaken(error)
                target_start = max(target_start, task.floor)
                position = max(source_start, target_start)
                self._source.restart(position)
                self._target.restart(position)
            except CorruptRecords as error:
                return self._unread(source_start, target_start, error)
        # The target may be longer than the source: what is there is extra, and the source's range is empty.
        self._source.finish(end)
        self._target.finish(end)
        verdict = judged(
            PartitionDigests(task.source.partition, source_start, task.source_end, self._source.ranges),
            PartitionDigests(task.target.partition, target_start, task.target_end, self._target.ranges),
        )
        if verdict.different and task.compacted:
            return self._explained(verdict, stop)
        return verdict

    def _unread(self, source_start: int, target_start: int, error: CorruptRecords) -> PartitionDigestVerdict:
        """Return the verdict on the ranges that were read on both sides."""
        task, problem = self._task, error.with_next_step()
        return judged(
            PartitionDigests(task.source.partition, source_start, task.source_end, self._source.ranges, problem),
            PartitionDigests(task.target.partition, target_start, task.target_end, self._target.ranges, problem),
            compacted=task.compacted,
        )

    def _read(self, start: int, stop: threading.Event) -> None:
        sides, task = self._sides, self._task
        sides.open(start, task.end, task.target_end)
        while not stop.is_set() and not (sides.source_done and sides.target_done):
            before = sides.source_position
            # The one that is behind, so that both sides are read at about the same point.
            if not sides.source_done and (sides.target_done or before <= sides.target_position):
                rows = sides.source_rows()
                self._source.feed(rows)
                self._meter.records += len(rows)
                self._meter.offsets += min(sides.source_position, task.end) - min(before, task.end)
                del rows  # large fields keep their answer in memory, and the other side's is about to be read
            else:
                self._target.feed(sides.target_rows())

    def _explained(self, verdict: PartitionDigestVerdict, stop: threading.Event) -> PartitionDigestVerdict:
        """Compare record by record from the first range that differs to the end.

        To the end, because the record that explains why another is gone may be in any later range.
        """
        start = verdict.different[0].start
        found: set[int] = set()
        task = replace(self._task, source_start=start, target_start=start)
        explained = Comparison(
            task,
            *self._readers,
            Meter(),
            first_max=1,
            report=lambda difference: found.add(difference.offset // self._size),
        ).run(stop)
        different = tuple(pair for pair in verdict.different if pair.start // self._size in found)
        if explained.problem is not None:  # nothing is known about what follows
            rest = tuple(pair for pair in verdict.different if pair not in different)
            return replace(verdict, different=different, undecided=rest, problem=explained.problem)
        return replace(verdict, different=different, excused=len(verdict.different) - len(different))


def judged(
    source: PartitionDigests, target: PartitionDigests, file: SideName | None = None, *, compacted: bool = False
) -> PartitionDigestVerdict:
    """Return the verdict that follows from the digests of two sides.

    Args:
        source: The source's: what it covers, and its ranges.
        target: The target's.
        file: The side whose digests come from a file, if one does.
        compacted: Whether a range may differ because of compaction, with its records out of reach.
    """
    pairs = paired(source.ranges, target.ranges)
    start = max(source.start, target.start)
    reached = pairs[-1].end if pairs else start
    problem = source.problem or target.problem
    if problem is not None:  # what follows was not read on at least one side
        source, target = replace(source, end=reached), replace(target, end=reached)
    differing = tuple(pair for pair in pairs if not pair.equal)
    below = sum(max(0, min(start, side.end) - side.start) for side in (source, target))
    is_behind = target.end < source.end
    compared_up_to = reached if is_behind else max(reached, min(source.end, target.end))
    holes = compared_up_to - start - sum(pair.end - pair.start for pair in pairs)
    return PartitionDigestVerdict(
        partition=source.partition,
        start=start,
        end=reached,
        records=sum(pair.source.records for pair in pairs),
        equal_ranges=len(pairs) - len(differing),
        different=() if compacted else differing,
        undecided=differing if compacted else (),
        behind=max(0, source.end - reached) if is_behind else 0,
        not_covered=max(0, target.end - source.end) if file is SideName.SOURCE else 0,
        not_comparable=below + max(0, holes),
        problem=problem,
    )
