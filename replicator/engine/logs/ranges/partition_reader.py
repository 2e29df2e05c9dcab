"""Reads partitions record by record, for comparisons: over our own wire, in bounded memory.

A reader reads one partition at a time and can then be opened on another, so a pool of readers walks any number of
partitions. It joins no group, commits nothing and never resets an offset.
"""

from __future__ import annotations

from threading import Event
from typing import TYPE_CHECKING, Final

from replicator.core.verify.rows import Unopened, row_size
from replicator.engine.logs.ranges.answers import FetchResponses
from replicator.engine.logs.ranges.own_loop import OwnLoop
from replicator.errors import ConnectionFailed
from replicator.model.batch import MAGIC_V2
from replicator.wire.batches.batch import prove
from replicator.wire.batches.inflate import OPENED_BYTES_MAX
from replicator.wire.batches.rows import rows_of
from replicator.wire.messages import control
from replicator.wire.stored import Stored

if TYPE_CHECKING:
    from collections.abc import Iterator

    from replicator.core.verify.rows import Row
    from replicator.engine.logs.ranges.answers import FetchResponse
    from replicator.model.batch import BatchHeader
    from replicator.model.names import TopicPartition
    from replicator.model.security import ClusterSpec
    from replicator.model.spec import Isolation
    from replicator.wire.frames import Frame
    from replicator.wire.room import Room

FETCH_BYTES: Final = 4 << 20
CHUNK_RECORDS_MAX: Final = 10_000


class PartitionReader:
    """Reads one partition of a cluster from a given offset up to a given end.

    Calls block, and each reader has an event loop of its own: use one reader per thread. It gives up when the partition
    has not responded for the cluster's request time-out. Once `stop` is set, a call that waits for records returns
    none.

    Memory: one response of `fetch_bytes` (two with read-ahead), 1 MiB of opened records, the rows made of them, and a
    decoder's window. One batch may be larger than `fetch_bytes`: memory for such a response comes from `room`. A batch
    that cannot be opened within these bounds is represented by one row, as it is stored.

    Args:
        cluster: How to reach it.
        isolation: Which records count.
        fetch_bytes: How much is asked for at a time.
        chunk_records: How many records are returned at a time: fewer keep the interpreter busy for a shorter time.
        stop: Ends whatever waits.
        opened_bytes_max: A compressed batch that expands to more is returned as it is stored; None for any size.
        rereads: Whether rows will be digested: then large fields are read twice, and keep their response until then.
        reads_ahead: Whether the next response is requested while one is in use.
        room: Where the memory for larger responses comes from; None if nothing bounds them.
        room_seconds_bounded: Whether to fail with `NoRoom` after some seconds without free memory; else it waits.

    Attributes:
        opened_bytes: How many bytes of records were opened so far, wanted or not; counted only without read-ahead.
    """

    def __init__(
        self,
        cluster: ClusterSpec,
        isolation: Isolation,
        *,
        fetch_bytes: int = FETCH_BYTES,
        chunk_records: int = CHUNK_RECORDS_MAX,
        stop: Event | None = None,
        opened_bytes_max: int | None = None,
        rereads: bool = True,
        reads_ahead: bool = True,
        room: Room | None = None,
        room_seconds_bounded: bool = False,
    ) -> None:
        self.opened_bytes = 0
        self._alias = cluster.alias
        self._answers = FetchResponses(
            cluster,
            isolation,
            fetch_bytes,
            reads_ahead=reads_ahead,
            room=room,
            room_seconds_bounded=room_seconds_bounded,
        )
        self._stop = stop or Event()
        self._loop = OwnLoop(self._stop)
        self._chunk_records = chunk_records
        self._opened_bytes_max = opened_bytes_max
        self._rereads = rereads
        self._counts_opened = not reads_ahead
        self._next = self._end = 0
        self._answer: FetchResponse | None = None
        self._rows: Iterator[tuple[list[Row], bool]] | None = None

    @property
    def position(self) -> int:
        """The next offset to read; offsets below it were returned or hold no record."""
        return self._next

    @property
    def at_end(self) -> bool:
        """Whether every record below the end was returned."""
        return self._next >= self._end

    @property
    def is_inside_batch(self) -> bool:
        """Whether more records of the same batch follow; if the reader is moved, the batch has to be opened again."""
        return self._rows is not None

    def open(self, partition: TopicPartition, start: int, end: int) -> None:
        """Move to `start` of a partition and read up to, not including, `end`."""
        self._answer = self._rows = None
        self._answers.open(partition, end)
        self._next, self._end = start, end

    def chunk(self) -> list[Row]:
        """Return the next records in order; an empty list means that the end is reached or the reader was stopped.

        Raises:
            OutOfRange: The log does not hold the next offset.
            KafkaError: The cluster refuses, or does not answer within the request time-out.
            CorruptRecords: A batch is damaged.
        """
        while not self.at_end and not self._stop.is_set():
            if self._answer is None:
                self._answer = self._next_answer()
            rows = self._opened()
            if rows:
                return rows
        self._answer = self._rows = None
        self._answers.drop_ahead()
        return []

    def next_batch(self, *, is_read: bool) -> Stored | None:
        """Return the next batch, if all of it is wanted and none of it was returned yet.

        Returns None at the end as well, once stopped, and for formats before magic 2.

        Args:
            is_read: Whether its records are about to be read. If not, its checksum is verified now, and a response that
                is larger than usual is dropped: it is fetched again if the records are wanted after all.

        Raises:
            OutOfRange: As `chunk`.
            KafkaError: As `chunk`.
            CorruptRecords: Its bytes do not match its checksum.
        """
        while not self.at_end and not self._stop.is_set() and self._rows is None:
            if self._answer is None:
                self._answer = self._next_answer()
            answer = self._answer
            if answer is None:
                return None
            if not answer.batches:
                self._drop(answer)
                continue
            header, view = answer.batches[0], answer.frame.view
            if header.magic != MAGIC_V2 or header.base_offset < self._next or header.next_offset > self._end:
                return None
            batch = Stored(view, header)
            if not is_read:
                prove(view, header)
                if answer.is_large:
                    batch.digest()
                    self._answer = None
            return batch
        return None

    def pass_over(self, batch: Stored) -> None:
        """Continue after a batch that `next_batch` has returned."""
        answer = self._answer
        if answer is not None:
            answer.batches.popleft()
        self._next = max(self._next, batch.header.next_offset)
        if answer is not None and (not answer.batches or self.at_end):
            self._drop(answer)

    def put_back_large(self) -> None:
        """Drop a response that is larger than usual, as another is about to be read; it will be fetched again."""
        if self._answer is not None and self._rows is None and self._answer.is_large:
            self._answer = None

    def log_start(self, partition: TopicPartition) -> int:
        """Return the first offset of a partition's log, as it is now.

        Raises:
            KafkaError: The cluster refuses, or does not answer within the request time-out.
        """
        return self._bounds(partition, control.EARLIEST)[0]

    def log_bounds(self, partition: TopicPartition) -> tuple[int, int]:
        """Return the log start and the high watermark of a partition, as they are now.

        Raises:
            KafkaError: The cluster refuses, or does not answer within the request time-out.
        """
        start, end = self._bounds(partition, control.EARLIEST, control.LATEST)
        return start, end

    def close(self) -> None:
        """Close the connections."""
        self._answer = self._rows = None
        self._answers.drop_ahead()
        self._loop.close(self._answers.close)

    def _opened(self) -> list[Row]:
        """Return the next rows of the current response; an empty list if it has none, and then it is dropped."""
        answer = self._answer
        if answer is None:
            return []
        rows: list[Row] = []
        while answer.batches and not rows and not self.at_end:
            header = answer.batches[0]
            if self._rows is None:
                self._rows = self._rows_of(answer.frame, header)
            found, is_last = next(self._rows)
            if self._counts_opened:
                self.opened_bytes += self._work_of(found)
            rows = self._inside(found)
            if is_last:
                answer.batches.popleft()
                self._rows = None
            reached = found[-1][0] + 1 if found and not is_last else header.next_offset
            self._next = max(self._next, min(reached, header.next_offset))
        if not answer.batches or self.at_end:
            self._drop(answer)
        return rows

    def _work_of(self, rows: list[Row]) -> int:
        """Return how many bytes were opened for rows; a batch returned as it is stored was opened in part."""
        if rows and isinstance(rows[0][2], Unopened):
            return self._opened_bytes_max or OPENED_BYTES_MAX
        return row_size(rows)

    def _rows_of(self, frame: Frame, header: BatchHeader) -> Iterator[tuple[list[Row], bool]]:
        return rows_of(
            frame.view,
            header,
            self._next,
            chunk_records=self._chunk_records,
            opened_bytes_max=self._opened_bytes_max,
            rereads=self._rereads,
        )

    def _drop(self, answer: FetchResponse) -> None:
        """Drop a response whose records were all returned: a frame may be large."""
        self._next = max(self._next, answer.next_offset)
        self._answer = self._rows = None

    def _inside(self, rows: list[Row]) -> list[Row]:
        if not rows or (rows[0][0] >= self._next and rows[-1][0] < self._end):
            return rows
        return [row for row in rows if self._next <= row[0] < self._end]

    def _next_answer(self) -> FetchResponse | None:
        """Return the next response; None once stopped."""
        return self._loop.wait(lambda: self._answers.next_from(self._next))

    def _bounds(self, where: TopicPartition, *timestamps: int) -> list[int]:
        found = self._loop.wait(lambda: self._answers.bounds(where, *timestamps))
        if found is None:
            raise ConnectionFailed(f"{where} is not read any more", cluster=self._alias, why="the reader was stopped")
        return found
