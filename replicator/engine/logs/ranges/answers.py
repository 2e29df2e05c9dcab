"""Fetches the batches of one partition, one response after another, with retries and one response of read-ahead.

It runs on the caller's event loop, joins no group, commits nothing and never resets an offset.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, TypeVar

from replicator.backoff import Backoff
from replicator.core.copy.reading.aborts import Aborts
from replicator.engine.logs.bounds import offsets_of
from replicator.engine.logs.reading import batches_of, ends_in_hole, nothing_returned, read_once
from replicator.engine.logs.side import Side
from replicator.errors import BrokerRefused, CorruptRecords, KafkaError
from replicator.model.spec import Isolation
from replicator.wire.cluster import Cluster, Purpose
from replicator.wire.protocol.codes import ErrorCode
from replicator.wire.protocol.faults import broker_error
from replicator.wire.room import NoRoom, RoomFrame

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from replicator.model.batch import BatchHeader
    from replicator.model.names import TopicPartition
    from replicator.model.security import ClusterSpec
    from replicator.wire.frames import Frame
    from replicator.wire.messages.data.fetch import Fetched
    from replicator.wire.room import Room
    from replicator.wire.transport.connection import Connection

_ANSWER_HEAD_BYTES = 64 << 10
"""What a response holds besides its batches, most of it the list of aborted transactions."""
_WAIT_MS = 500
_TOPIC_MISSING_SECONDS = 3.0
"""A new topic is not known to every broker at once; one that does not exist must be reported soon."""
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


class FetchResponse:
    """One response to a fetch.

    Args:
        frame: The memory it lies in.
        fetched: What it contains.
        position: The offset it was requested from.
        is_large: Whether it takes more memory than was asked for.

    Attributes:
        batches: The batches with records, in order; the user removes each one after use.
        next_offset: Where to continue reading.

    Raises:
        CorruptRecords: It holds only batches below the requested offset.
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
            raise CorruptRecords(f"a response for {fetched.where} from offset {position} holds only batches below it")


class FetchResponses:
    """A cluster's fetch responses for one partition, which `open` names.

    Gives up when the partition has not responded for the cluster's request time-out.

    Args:
        cluster: How to reach it.
        isolation: Which records count.
        fetch_bytes: How much is asked for at a time.
        reads_ahead: Whether the next response is requested while one is in use.
        room: Where the memory for larger responses comes from; None if nothing bounds them.
        room_seconds_bounded: Whether to fail with `NoRoom` after some seconds without free memory; else it waits.
    """

    def __init__(
        self,
        cluster: ClusterSpec,
        isolation: Isolation,
        fetch_bytes: int,
        *,
        reads_ahead: bool,
        room: Room | None,
        room_seconds_bounded: bool,
    ) -> None:
        self._spec = cluster
        self._isolation = isolation
        self._fetch_bytes = fetch_bytes
        self._usual_bytes = fetch_bytes + _ANSWER_HEAD_BYTES
        self._reads_ahead = reads_ahead
        self._room = room
        self._room_seconds_bounded = room_seconds_bounded
        self._cluster: Cluster | None = None
        self._where: TopicPartition | None = None
        self._end = 0
        self._ahead: asyncio.Task[FetchResponse] | None = None

    def open(self, partition: TopicPartition, end: int) -> None:
        """Read this partition from now on, up to, not including, `end`."""
        self.drop_ahead()
        self._where, self._end = partition, end

    def drop_ahead(self) -> None:
        """Cancel the read-ahead."""
        ahead, self._ahead = self._ahead, None
        if ahead is not None and not ahead.cancel() and not ahead.cancelled():
            ahead.exception()  # asyncio would report an exception that nobody retrieves as a bug

    def close(self) -> None:
        """Close the connections; called on the event loop."""
        cluster, self._cluster = self._cluster, None
        if cluster is not None:
            cluster.close()

    async def next_from(self, position: int) -> FetchResponse:
        """Return the response from a position on; unless it is large, request the one after it.

        After a batch larger than `fetch_bytes` the next may be as large: two such responses would be in memory.

        Raises:
            OutOfRange: The log does not hold that offset.
            KafkaError: The cluster refuses, or nothing arrives within the request time-out.
            CorruptRecords: The response cannot be read.
        """
        answer = await self._response_read_ahead() or await self._asked(position)
        if self._reads_ahead and not answer.is_large and answer.next_offset < self._end:
            self._ahead = asyncio.create_task(self._asked(answer.next_offset))
            await asyncio.sleep(0)  # this sends it; the loop does not run again until more is wanted
        return answer

    async def bounds(self, where: TopicPartition, *timestamps: int) -> list[int]:
        """Return one offset of a log for each of `control.EARLIEST` or `control.LATEST`.

        Raises:
            KafkaError: The cluster refuses, or does not answer within the request time-out.
        """

        async def ask(cluster: Cluster) -> list[int]:
            connection = await cluster.leader_connection(where)
            return [(await offsets_of(connection, [where], timestamp))[where] for timestamp in timestamps]

        return await self._tried(where, ask)

    async def _response_read_ahead(self) -> FetchResponse | None:
        """Return the response read ahead; None if that failed: the connection may have died while the loop stood."""
        ahead, self._ahead = self._ahead, None
        try:
            return await ahead if ahead is not None else None
        except KafkaError:
            return None

    async def _asked(self, position: int) -> FetchResponse:
        """Read from a position until there is something, or certainly nothing.

        Raises:
            OutOfRange: The log does not hold that offset.
            KafkaError: The cluster refuses, or nothing arrives within the request time-out.
            CorruptRecords: The response cannot be read.
        """
        where, end = self._where, self._end
        assert where is not None  # noqa: S101 - it was opened

        async def read(cluster: Cluster) -> FetchResponse:
            connection = await cluster.leader_connection(where, Purpose.FETCH)
            side = Side(cluster, cluster.topic_ids)
            frame, fetched = await read_once(
                side,
                connection,
                where,
                position,
                isolation=self._isolation,
                wait_ms=_WAIT_MS,
                read_bytes=self._fetch_bytes,
                into=self._frame(connection),
            )
            answer = FetchResponse(frame, fetched, position, is_large=frame.size > self._usual_bytes)
            if answer.next_offset > position:
                return answer
            if not await ends_in_hole(side, where, position, end, isolation=self._isolation):
                raise nothing_returned(connection, where, position, end)
            answer.next_offset = end
            return answer

        return await self._tried(where, read, position)

    def _frame(self, connection: Connection) -> Frame | None:
        """Return the frame for the next response on a connection; None for a fresh one."""
        if self._room is None:
            return None

        def refuse(size: int) -> None:
            connection.close(NoRoom(self._spec.alias, size))

        return RoomFrame(self._room, self._usual_bytes, refuse if self._room_seconds_bounded else None)

    async def _tried(
        self, where: TopicPartition, ask: Callable[[Cluster], Awaitable[T]], position: int | None = None
    ) -> T:
        """Retry, with fresh metadata, until the request time-out has passed since the first attempt.

        Raises:
            OutOfRange: The log does not hold `position`.
            KafkaError: The fault is permanent, or lasted for too long.
        """
        now, pauses = asyncio.get_running_loop().time, Backoff(*_AGAIN_SECONDS)
        began = now()
        while True:
            try:
                cluster = await self._reached(where, refresh=pauses.failures > 0)
                return await ask(cluster)
            except KafkaError as error:
                code = error.code if isinstance(error, BrokerRefused) else 0
                if code == ErrorCode.offset_out_of_range and position is not None:
                    raise OutOfRange(self._spec.alias, where, position) from None
                seconds = _TOPIC_MISSING_SECONDS if code in _MISSING else self._spec.request_timeout_seconds
                if not error.retryable or now() - began > seconds:
                    raise
            await asyncio.sleep(pauses.next_seconds())

    async def _reached(self, where: TopicPartition, *, refresh: bool) -> Cluster:
        """Return the cluster with the topic's metadata, refreshed if `refresh` asks for it.

        Raises:
            KafkaError: It cannot be reached, or does not describe the topic.
        """
        if self._cluster is None:
            cluster = Cluster(self._spec)
            await cluster.open()
            self._cluster = cluster
        cluster = self._cluster
        if refresh or where.topic not in cluster.topics:
            code = (await cluster.refresh([where.topic])).get(where.topic)
            if code is not None:
                raise broker_error(self._spec, "Fetch", code, where.topic)
        if where.partition not in cluster.topics[where.topic].leaders:
            raise broker_error(self._spec, "Fetch", int(ErrorCode.unknown_topic_or_partition), str(where))
        return cluster
