"""Reads both sides of one partition, in step, in the offsets of the source.

The only place where offsets of the target become offsets of the source. They are equal; where they ever are not,
`TwoSides.target_rows` and `open` are what has to know.
"""

from __future__ import annotations

from replicator.admin.reader import OutOfRange, PartitionReader
from replicator.core.record_diff import Row
from replicator.model.names import TopicPartition


class TwoSides:
    """Two readers on the same partition of a mirror.

    Args:
        left: Reads the source.
        right: Reads the target.
        source: The partition on the source.
        target: The partition on the target.
    """

    def __init__(
        self, left: PartitionReader, right: PartitionReader, source: TopicPartition, target: TopicPartition
    ) -> None:
        self._left = left
        self._right = right
        self._source = source
        self._target = target

    def open(self, start: int, source_end: int, target_end: int) -> None:
        """Go to `start` on both sides; each is read up to its own end."""
        self._left.open(self._source, start, source_end)
        self._right.open(self._target, start, target_end)

    def source_rows(self) -> list[Row]:
        """Return the source's next records; none at its end."""
        return self._left.chunk()

    def target_rows(self) -> list[Row]:
        """Return the target's next records, each at its offset on the source; none at its end."""
        return self._right.chunk()

    @property
    def source_position(self) -> int:
        """Every record of the source below it was handed out."""
        return self._left.position

    @property
    def target_position(self) -> int:
        """Every record of the target below it was handed out."""
        return self._right.position

    @property
    def source_done(self) -> bool:
        """Whether the source was read to its end."""
        return self._left.at_end

    @property
    def target_done(self) -> bool:
        """Whether the target was read to its end."""
        return self._right.at_end

    def starts(self) -> tuple[int, int]:
        """Return the log starts of source and target, as they are now.

        Raises:
            KafkaError: A cluster refuses, or does not answer.
        """
        return self._left.log_start(self._source), self._right.log_start(self._target)

    def high_watermark(self) -> int:
        """Return the higher of both log ends, as they are now.

        Raises:
            KafkaError: A cluster refuses, or does not answer.
        """
        return max(self._left.log_bounds(self._source)[1], self._right.log_bounds(self._target)[1])

    def overtaken(self, error: OutOfRange) -> tuple[int, int]:
        """Return the log starts of source and target once one of them has moved above what was to be read.

        Nothing at or above the offset that failed has been compared by then, so nothing is compared twice.

        Raises:
            OutOfRange: Neither did: that log was cut below what had been read.
            KafkaError: A cluster refuses, or does not answer.
        """
        starts = self.starts()
        if max(starts) <= error.offset:
            raise error
        return starts
