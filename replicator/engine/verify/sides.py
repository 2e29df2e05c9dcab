"""Reads both sides of one partition, in step, in the offsets of the source.

The only place where offsets of the target become offsets of the source (`core.offsets.map_view`).
"""

from __future__ import annotations

from replicator.core.offsets.map_view import IDENTICAL, MapView
from replicator.core.verify.rows import Row
from replicator.engine.logs.ranges.answers import OutOfRange
from replicator.engine.logs.ranges.partition_reader import PartitionReader
from replicator.model.names import TopicPartition


class TwoSides:
    """Two readers on the same partition of a mirror.

    Args:
        left: Reads the source.
        right: Reads the target.
        source: The partition on the source.
        target: The partition on the target.
        view: Maps its offsets to the target's.
    """

    def __init__(
        self,
        left: PartitionReader,
        right: PartitionReader,
        source: TopicPartition,
        target: TopicPartition,
        view: MapView = IDENTICAL,
    ) -> None:
        self._view = view
        self._left = left
        self._right = right
        self._source = source
        self._target = target
        self._alike_bytes = 0
        self._alike_up_to = 0

    def more(self, ours: list[Row], theirs: list[Row]) -> tuple[list[Row], list[Row]]:
        """Return the rows of each side that were left over, or its next rows if none were.

        Raises:
            OutOfRange: A log does not hold the next offset.
            KafkaError: A cluster refuses, or does not answer.
            CorruptRecords: A batch is damaged.
        """
        if not ours and not theirs and self._are_alike():
            before = self._left.opened_bytes
            rows = self._left.chunk()
            self._alike_bytes += self._left.opened_bytes - before
            return rows, rows
        # The target first: none of its large fields are kept, while the source's stay until they are digested.
        theirs = theirs or self.target_rows()
        return ours or self.source_rows(), theirs

    def _are_alike(self) -> bool:
        """Return whether the target's next records are the same as the source's; if so, the target skips them.

        A copied batch keeps the bytes after its header, so it need not be opened on both sides.
        """
        if self._left.position < self._alike_up_to and self._left.is_inside_batch:
            return True
        if self._view.offsets is not None or self._view.is_partial:
            return False
        theirs = self._right.next_batch(is_read=False)
        ours = self._left.next_batch(is_read=True) if theirs is not None else None
        if ours is None or theirs is None or not ours.holds_same(theirs):
            self._left.put_back_large()
            return False
        self._right.pass_over(theirs)
        self._alike_up_to = ours.header.next_offset
        return True

    def open(self, start: int, source_end: int, target_end: int) -> None:
        """Go to `start` on both sides; each is read up to its own end."""
        self._alike_up_to = 0
        self._left.open(self._source, start, source_end)
        self._right.open(self._target, self._view.to_target(start), self._view.to_target(target_end))

    def source_rows(self) -> list[Row]:
        """Return the source's next records except those that need not be copied; none at its end."""
        rows = self._left.chunk()
        view = self._view
        while rows and view.is_partial:
            kept = [row for row in rows if not view.may_lack(row[0])]
            if kept:
                return kept
            rows = self._left.chunk()
        return rows

    def target_rows(self) -> list[Row]:
        """Return the next records of the target that we wrote, each at its offset on the source; none at its end."""
        rows = self._right.chunk()
        view = self._view
        while rows and view.others_write:
            kept = [row for row in rows if not view.is_foreign(row[0])]
            if kept:
                rows = kept
                break
            rows = self._right.chunk()
        to_source = view.to_source
        return rows if view.offsets is None else [(to_source(row[0]), *row[1:]) for row in rows]

    @property
    def source_position(self) -> int:
        """Every record of the source below it was returned."""
        return self._left.position

    @property
    def target_position(self) -> int:
        """Every record of the target below it was returned."""
        return self._view.to_source(self._right.position)

    @property
    def source_done(self) -> bool:
        """Whether the source was read to its end."""
        return self._left.at_end

    @property
    def target_done(self) -> bool:
        """Whether the target was read to its end."""
        return self._right.at_end

    @property
    def opened_bytes(self) -> int:
        """How many bytes of records were compared on both sides so far, wanted or not."""
        return self._left.opened_bytes + self._right.opened_bytes + self._alike_bytes

    @property
    def are_inside_a_batch(self) -> bool:
        """Whether a side was read up to somewhere inside a batch."""
        return self._left.is_inside_batch or self._right.is_inside_batch

    def starts(self) -> tuple[int, int]:
        """Return the present log starts of source and target; the comparison may begin above both.

        Raises:
            KafkaError: A cluster refuses, or does not answer.
        """
        source = self._left.log_start(self._source)
        return source, self._view.log_start(self._right.log_start(self._target), source)

    def high_watermark(self) -> int:
        """Return the higher of the present log ends.

        Raises:
            KafkaError: A cluster refuses, or does not answer.
        """
        here = self._view.to_source(self._right.log_bounds(self._target)[1])
        return max(self._left.log_bounds(self._source)[1], here)

    def overtaken(self, error: OutOfRange) -> tuple[int, int]:
        """Return the log starts of source and target once one of them has moved above what was to be read.

        Nothing at or above the offset that failed has been compared by then, so nothing is compared twice.

        Raises:
            OutOfRange: Neither did: that log was truncated below what had been read.
            KafkaError: A cluster refuses, or does not answer.
        """
        starts = self.starts()
        if max(starts) <= min(error.offset, self._view.to_source(error.offset)):
            raise error
        return starts
