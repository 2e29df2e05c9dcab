"""Asks a cluster for the batches of one partition after the other, with patience, and one answer ahead.

It runs on the caller's event loop, joins no group, commits nothing and never resets an offset.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, TypeVar

from replicator.backoff import Backoff
from replicator.core.copy.aborts import Aborts
from replicator.engine.logs.bounds import offsets_of
from replicator.engine.logs.reading import batches_of, gives_nothing, nothing_from, read_once
from replicator.engine.logs.side import Side
from replicator.errors import BrokerRefused, CorruptRecords, KafkaError
from replicator.model.spec import Isolation
from replicator.wire.cluster import Cluster, Purpose
from replicator.wire.codes import ErrorCode
from replicator.wire.faults import refused
from replicator.wire.room import NoRoom, RoomFrame

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from replicator.model.batch import BatchHeader
    from replicator.model.names import TopicPartition
    from replicator.model.security import ClusterSpec
    from replicator.wire.frames import Frame
    from replicator.wire.messages.fetch import Fetched
    from replicator.wire.room import Room
    from replicator.wire.transport.connection import Connection

_ANSWER_HEAD_BYTES = 64 << 10
"""What an answer holds beside its batches: the aborted transactions among them are most of it."""
_WAIT_MS = 500
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


class Answer:
    """One answer to a fetch.

    Args:
        frame: Where it is.
        fetched: What is in it.
        position: From which offset on it was asked for.
        is_large: Whether it takes more memory than was asked for.

    Attributes:
        batches: Those that hold records, in order; whoever has used one takes it out.
        next_offset: Where to go on reading.

    Raises:
        CorruptRecords: It holds only what was not asked for.
    """

    def __init__(self, frame: Frame, fetched: Fetched, position: int, *, is_large: bool) -> None:
        self.frame = frame
        self.is_large = is_large
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


class Answers:
    """What a cluster answers about one partition, which `open` names.

    It gives up after the cluster's request time-out without any sign from the partition.

    Args:
        cluster: How to reach it.
        isolation: Which records count.
        fetch_bytes: How much is asked for at a time.
        looks_ahead: Whether the next answer is asked for while one is used.
        room: What larger answers are taken out of; None where nothing bounds them.
        room_seconds_bounded: Whether it ends with `NoRoom` where there is none for some seconds; else it waits.
    """

    def __init__(
        self,
        cluster: ClusterSpec,
        isolation: Isolation,
        fetch_bytes: int,
        *,
        looks_ahead: bool,
        room: Room | None,
        room_seconds_bounded: bool,
    ) -> None:
        self._spec = cluster
        self._committed = isolation is Isolation.READ_COMMITTED
        self._fetch_bytes = fetch_bytes
        self._usual_bytes = fetch_bytes + _ANSWER_HEAD_BYTES
        self._looks_ahead = looks_ahead
        self._room = room
        self._room_seconds_bounded = room_seconds_bounded
        self._cluster: Cluster | None = None
        self._where: TopicPartition | None = None
        self._end = 0
        self._ahead: asyncio.Task[Answer] | None = None

    def open(self, partition: TopicPartition, end: int) -> None:
        """Ask about this partition from now on, up to, not including, `end`."""
        self.drop_ahead()
        self._where, self._end = partition, end

    def drop_ahead(self) -> None:
        """Ask for nothing that nobody has asked for."""
        ahead, self._ahead = self._ahead, None
        if ahead is not None and not ahead.cancel() and not ahead.cancelled():
            ahead.exception()  # what nobody asks for is told as a bug

    def close(self) -> None:
        """Let go of the connections; called on the event loop."""
        cluster, self._cluster = self._cluster, None
        if cluster is not None:
            cluster.close()

    async def next_from(self, position: int) -> Answer:
        """Return the answer for what stands from a position on; where it is not large, ask for the one behind it.

        Where one batch is larger than what is asked for, so may be the next one: there would be two of them.

        Raises:
            OutOfRange: The log does not hold that offset.
            KafkaError: The cluster refuses, or nothing comes within the request time-out.
            CorruptRecords: The answer cannot be read.
        """
        answer = await self._looked_ahead() or await self._asked(position)
        if self._looks_ahead and not answer.is_large and answer.next_offset < self._end:
            self._ahead = asyncio.create_task(self._asked(answer.next_offset))
            await asyncio.sleep(0)  # it is sent with that; nobody serves this loop until more is wanted
        return answer

    async def bounds(self, where: TopicPartition, *timestamps: int) -> list[int]:
        """Return the offsets of a log for `control.EARLIEST` or `control.LATEST`, each.

        Raises:
            KafkaError: The cluster refuses, or does not answer within the request time-out.
        """

        async def ask(cluster: Cluster) -> list[int]:
            connection = await cluster.leader_connection(where)
            return [(await offsets_of(connection, [where], timestamp))[where] for timestamp in timestamps]

        return await self._tried(where, ask)

    async def _looked_ahead(self) -> Answer | None:
        """Return what was asked for ahead; None where that failed: nobody has served the connection meanwhile."""
        ahead, self._ahead = self._ahead, None
        try:
            return await ahead if ahead is not None else None
        except KafkaError:
            return None

    async def _asked(self, position: int) -> Answer:
        """Read from a position on until there is something, or nothing for certain.

        Raises:
            OutOfRange: The log does not hold that offset.
            KafkaError: The cluster refuses, or nothing comes within the request time-out.
            CorruptRecords: The answer cannot be read.
        """
        where, end = self._where, self._end
        assert where is not None  # noqa: S101 - it was opened

        async def read(cluster: Cluster) -> Answer:
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
            answer = Answer(frame, fetched, position, is_large=frame.size > self._usual_bytes)
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
