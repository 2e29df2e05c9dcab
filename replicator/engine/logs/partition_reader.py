"""Reads partitions record by record, for whoever compares them: on our own wire, in memory that has a bound.

One reader reads one partition at a time and is then opened on the next, so that a pool of readers walks any number of
partitions. It joins no group, commits nothing and never resets an offset.
"""

from __future__ import annotations

import asyncio
from collections import deque
from threading import Event
from typing import TYPE_CHECKING, Final, TypeVar

from replicator.backoff import Backoff
from replicator.core.copy.aborts import Aborts
from replicator.core.verify.rows import Unopened, row_size
from replicator.engine.logs.bounds import offsets_of
from replicator.engine.logs.reading import batches_of, gives_nothing, nothing_from, read_once
from replicator.engine.logs.side import Side
from replicator.errors import BrokerRefused, ConnectionFailed, CorruptRecords, KafkaError
from replicator.model.batch import MAGIC_V2
from replicator.model.spec import Isolation
from replicator.wire import control
from replicator.wire.batch import prove
from replicator.wire.cluster import Cluster, Purpose
from replicator.wire.codes import ErrorCode
from replicator.wire.faults import refused
from replicator.wire.inflate import OPENED_BYTES_MAX
from replicator.wire.room import NoRoom, RoomFrame
from replicator.wire.rows import rows_of
from replicator.wire.stored import Stored

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Iterator

    from replicator.core.verify.rows import Row
    from replicator.model.batch import BatchHeader
    from replicator.model.names import TopicPartition
    from replicator.model.security import ClusterSpec
    from replicator.wire.connection import Connection
    from replicator.wire.fetch import Fetched
    from replicator.wire.frames import Frame
    from replicator.wire.room import Room

FETCH_BYTES: Final = 4 << 20
CHUNK_RECORDS_MAX: Final = 10_000
_ANSWER_HEAD_BYTES = 64 << 10
"""What an answer holds beside its batches: the aborted transactions among them are most of it."""
_WAIT_MS = 500
_STOP_LOOK_SECONDS = 0.2
_TOPIC_MISSING_SECONDS = 3.0
"""A topic that was just made is not known to every broker at once; one that is away is told as such, soon."""
_AGAIN_SECONDS = (0.05, 1.0)
_MISSING = frozenset({ErrorCode.unknown_topic_or_partition, ErrorCode.unknown_topic_id})

T = TypeVar("T")


class OutOfRange(KafkaError):
    """The next offset to read is not in the log any more (retention), or not yet.

    Attributes:
        partition: Where.
        offset: The offset that was to be read.
    """

    def __init__(self, cluster: str, partition: TopicPartition, offset: int) -> None:
        super().__init__(
            f"cluster {cluster}: offset {offset} of {partition} is outside the log",
            cluster=cluster,
            why="retention or DeleteRecords moved the log start, or the log was cut",
            next_step="list the log's start and end again",
        )
        self.partition = partition
        self.offset = offset


class _Answer:
    """One answer to a fetch: its batches that hold records, and where to go on."""

    def __init__(self, frame: Frame, fetched: Fetched, position: int) -> None:
        self.frame = frame
        self.batches: deque[BatchHeader] = deque()
        self.next_offset = position
        aborts = Aborts(fetched.aborted or ())
        headers = batches_of(frame, fetched)
        for header in headers:
            passed_over = aborts.observe(header) or header.is_control or header.record_count == 0
            if not passed_over and header.next_offset > position:
                self.batches.append(header)
            self.next_offset = max(self.next_offset, header.next_offset)
        if headers and self.next_offset <= position:
            raise CorruptRecords(f"an answer for {fetched.where} from offset {position} on holds only what is below it")


class PartitionReader:
    """Reads one partition of a cluster from an offset up to an end, both given.

    A call blocks, and has an event loop of its own: use one reader per thread. It gives up after the cluster's request
    time-out without any sign from the partition. Once `stop` is set, a call that waits for records ends with none.

    Memory: one answer of `fetch_bytes` (two where it looks ahead), 1 MiB of opened records, and the rows made of them;
    a decoder's window beside. One batch may be larger than `fetch_bytes`: such an answer is taken out of `room`. A
    batch that cannot be opened within that is shown by one row, as it is stored.

    Args:
        cluster: How to reach it.
        isolation: Which records count.
        fetch_bytes: How much is asked for at a time.
        chunk_records: How many records are handed out at a time: fewer keep the interpreter busy for a shorter time.
        stop: Ends whatever waits.
        opened_bytes_max: A compressed batch that expands to more is shown as it is stored; None for any size.
        rereads: Whether rows are to be digested: then large fields are read twice, and keep their answer until then.
        looks_ahead: Whether the next answer is asked for while one is used.
        room: What larger answers are taken out of; None where nothing bounds them.
        room_seconds_bounded: Whether it ends with `NoRoom` where there is none for some seconds; else it waits.

    Attributes:
        opened_bytes: How many bytes of records were opened so far, wanted or not; counted unless it looks ahead.
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
        looks_ahead: bool = True,
        room: Room | None = None,
        room_seconds_bounded: bool = False,
    ) -> None:
        self.opened_bytes = 0
        self._spec = cluster
        self._committed = isolation is Isolation.READ_COMMITTED
        self._fetch_bytes = fetch_bytes
        self._usual_bytes = fetch_bytes + _ANSWER_HEAD_BYTES
        self._chunk_records = chunk_records
        self._stop = stop or Event()
        self._opened_bytes_max = opened_bytes_max
        self._rereads = rereads
        self._looks_ahead = looks_ahead
        self._room = room
        self._room_seconds_bounded = room_seconds_bounded
        self._runner: asyncio.Runner | None = None
        self._cluster: Cluster | None = None
        self._where: TopicPartition | None = None
        self._next = self._end = 0
        self._answer: _Answer | None = None
        self._rows: Iterator[tuple[list[Row], bool]] | None = None
        self._ahead: asyncio.Task[_Answer] | None = None

    @property
    def position(self) -> int:
        """The next offset to read; offsets below it were handed out or hold no record."""
        return self._next

    @property
    def at_end(self) -> bool:
        """Whether every record below the end was handed out."""
        return self._next >= self._end

    @property
    def is_inside_batch(self) -> bool:
        """Whether more records of the same batch follow; whoever goes elsewhere has them opened again."""
        return self._rows is not None

    def open(self, partition: TopicPartition, start: int, end: int) -> None:
        """Go to `start` of a partition and read up to, not including, `end`."""
        self._drop_answers()
        self._where, self._next, self._end = partition, start, end

    def chunk(self) -> list[Row]:
        """Return the next records in order; an empty list means that the end is reached, or that it was stopped.

        Raises:
            OutOfRange: The log does not hold the next offset.
            KafkaError: The cluster refuses, or does not answer within the request time-out.
            CorruptRecords: A batch is damaged.
        """
        while not self.at_end and not self._stop.is_set():
            if self._answer is None:
                self._answer = self._wait(self._take_answer)
            rows = self._opened()
            if rows:
                return rows
        self._drop_answers()
        return []

    def next_batch(self, *, is_read: bool) -> Stored | None:
        """Return the next batch, where all of it is wanted and none of it was handed out.

        None, too, at the end, where it was stopped, and for formats before magic 2.

        Args:
            is_read: Whether its records are about to be read. Else its checksum is proven now, and an answer that is
                larger than usual is let go of: it is asked for again if they are wanted after all.

        Raises:
            OutOfRange: As `chunk`.
            KafkaError: As `chunk`.
            CorruptRecords: Its bytes are not what its checksum says.
        """
        while not self.at_end and not self._stop.is_set() and self._rows is None:
            if self._answer is None:
                self._answer = self._wait(self._take_answer)
            answer = self._answer
            if answer is None:
                return None
            if not answer.batches:
                self._let_go(answer)
                continue
            header, view = answer.batches[0], answer.frame.view
            if header.magic != MAGIC_V2 or header.base_offset < self._next or header.next_offset > self._end:
                return None
            batch = Stored(view, header)
            if not is_read:
                prove(view, header)
                if answer.frame.size > self._usual_bytes:
                    batch.digest()
                    self._answer = None
            return batch
        return None

    def pass_over(self, batch: Stored) -> None:
        """Go on behind a batch that `next_batch` has returned."""
        answer = self._answer
        if answer is not None:
            answer.batches.popleft()
        self._next = max(self._next, batch.header.next_offset)
        if answer is not None and (not answer.batches or self.at_end):
            self._let_go(answer)

    def put_back_large(self) -> None:
        """Let go of an answer that is larger than usual, as another one is about to be read; it is asked for again."""
        if self._answer is not None and self._rows is None and self._answer.frame.size > self._usual_bytes:
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
        """Let go of the connections."""
        self._drop_answers()
        runner, self._runner = self._runner, None
        cluster, self._cluster = self._cluster, None
        if runner is not None:
            if cluster is not None:
                runner.run(_closed(cluster))
            runner.close()

    def _opened(self) -> list[Row]:
        """Return the next rows of the answer that is there; none where it holds none, and then it is let go of."""
        answer = self._answer
        if answer is None:
            return []
        rows: list[Row] = []
        while answer.batches and not rows and not self.at_end:
            header = answer.batches[0]
            if self._rows is None:
                self._rows = self._rows_of(answer.frame, header)
            found, is_last = next(self._rows)
            if not self._looks_ahead:
                self.opened_bytes += self._work_of(found)
            rows = self._inside(found)
            if is_last:
                answer.batches.popleft()
                self._rows = None
            reached = found[-1][0] + 1 if found and not is_last else header.next_offset
            self._next = max(self._next, min(reached, header.next_offset))
        if not answer.batches or self.at_end:
            self._let_go(answer)
        return rows

    def _work_of(self, rows: list[Row]) -> int:
        """Return how many bytes were opened for rows; a batch that is shown as it is stored was opened in part."""
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

    def _let_go(self, answer: _Answer) -> None:
        """Drop an answer whose records were all handed out: a frame may be large."""
        self._next = max(self._next, answer.next_offset)
        self._answer = self._rows = None

    def _inside(self, rows: list[Row]) -> list[Row]:
        if not rows or (rows[0][0] >= self._next and rows[-1][0] < self._end):
            return rows
        return [row for row in rows if self._next <= row[0] < self._end]

    def _drop_answers(self) -> None:
        self._answer = self._rows = None
        ahead, self._ahead = self._ahead, None
        if ahead is not None and not ahead.cancel() and not ahead.cancelled():
            ahead.exception()  # what nobody asks for is told as a bug

    async def _take_answer(self) -> _Answer:
        """Return the next answer that there is; ask for the one behind it before that one is used, unless it is large.

        Where one batch is larger than what is asked for, so may be the next one: there would be two of them.
        """
        answer = await self._looked_ahead() or await self._asked(self._next)
        is_large = answer.frame.size > self._usual_bytes
        if self._looks_ahead and not is_large and answer.next_offset < self._end:
            self._ahead = asyncio.create_task(self._asked(answer.next_offset))
            await asyncio.sleep(0)  # it is sent with that; nobody serves this loop until more is wanted
        return answer

    async def _looked_ahead(self) -> _Answer | None:
        """Return what was asked for ahead; None where that failed: nobody has served the connection meanwhile."""
        ahead, self._ahead = self._ahead, None
        try:
            return await ahead if ahead is not None else None
        except KafkaError:
            return None

    async def _asked(self, position: int) -> _Answer:
        """Read from a position on until there is something, or nothing for certain.

        Raises:
            OutOfRange: The log does not hold that offset.
            KafkaError: The cluster refuses, or nothing comes within the request time-out.
            CorruptRecords: The answer cannot be read.
        """
        where, end = self._where, self._end
        assert where is not None  # noqa: S101 - it was opened

        async def read(cluster: Cluster) -> _Answer:
            connection = await cluster.leader_connection(where, Purpose.FETCH)
            side = Side(cluster, cluster.topic_ids)
            frame, fetched = await read_once(
                side,
                connection,
                where,
                position,
                committed=self._committed,
                wait_ms=_WAIT_MS,
                read_bytes=self._fetch_bytes,
                into=self._frame(connection),
            )
            answer = _Answer(frame, fetched, position)
            if answer.next_offset > position:
                return answer
            if not await gives_nothing(side, where, position, end, committed=self._committed):
                raise nothing_from(connection, where, position, end)
            answer.next_offset = end
            return answer

        return await self._tried(where, read, position)

    def _frame(self, connection: Connection) -> Frame | None:
        """Return where the next answer of a connection is read into; None for a fresh frame."""
        if self._room is None:
            return None

        def refuse(size: int) -> None:
            connection.close(NoRoom(self._spec.alias, size))

        return RoomFrame(self._room, self._usual_bytes, refuse if self._room_seconds_bounded else None)

    def _bounds(self, where: TopicPartition, *timestamps: int) -> list[int]:
        async def ask(cluster: Cluster) -> list[int]:
            connection = await cluster.leader_connection(where)
            return [(await offsets_of(connection, [where], timestamp))[where] for timestamp in timestamps]

        found = self._wait(lambda: self._tried(where, ask))
        if found is None:
            raise ConnectionFailed(f"{where} is not asked any more", cluster=self._spec.alias, why="it was stopped")
        return found

    async def _tried(
        self, where: TopicPartition, ask: Callable[[Cluster], Awaitable[T]], position: int | None = None
    ) -> T:
        """Ask again and again, with metadata that are new, until the request time-out has passed since it began.

        Raises:
            OutOfRange: The log does not hold `position`.
            KafkaError: What does not pass, or has not passed in time.
        """
        now, pauses = asyncio.get_running_loop().time, Backoff(*_AGAIN_SECONDS)
        began = now()
        while True:
            try:
                cluster = await self._reached(where, anew=pauses.failures > 0)
                return await ask(cluster)
            except KafkaError as error:
                code = error.code if isinstance(error, BrokerRefused) else 0
                if code == ErrorCode.offset_out_of_range and position is not None:
                    raise OutOfRange(self._spec.alias, where, position) from None
                seconds = _TOPIC_MISSING_SECONDS if code in _MISSING else self._spec.request_timeout_seconds
                if not error.retryable or now() - began > seconds:
                    raise
            await asyncio.sleep(pauses.next_seconds())

    async def _reached(self, where: TopicPartition, *, anew: bool) -> Cluster:
        """Return the cluster, with a description of the topic: a new one if that is asked for.

        Raises:
            KafkaError: It cannot be reached, or does not tell of the topic.
        """
        if self._cluster is None:
            cluster = Cluster(self._spec)
            await cluster.open()
            self._cluster = cluster
        cluster = self._cluster
        if anew or where.topic not in cluster.topics:
            code = (await cluster.refresh([where.topic])).get(where.topic)
            if code is not None:
                raise refused(self._spec, "Fetch", code, where.topic)
        if where.partition not in cluster.topics[where.topic].leaders:
            raise refused(self._spec, "Fetch", int(ErrorCode.unknown_topic_or_partition), str(where))
        return cluster

    def _wait(self, work: Callable[[], Coroutine[object, object, T]]) -> T | None:
        """Return what comes of work on this reader's loop; None once it was told to stop."""
        if self._runner is None:
            self._runner = asyncio.Runner()
        return self._runner.run(self._until_stopped(work))

    async def _until_stopped(self, work: Callable[[], Coroutine[object, object, T]]) -> T | None:
        task = asyncio.create_task(work())
        while True:
            await asyncio.wait({task}, timeout=_STOP_LOOK_SECONDS)
            if task.done():
                return task.result()
            if self._stop.is_set():
                task.cancel()
                await asyncio.wait({task})
                return None


async def _closed(cluster: Cluster) -> None:
    """Close a cluster on its own event loop."""
    cluster.close()
