"""Reads target logs to find the end of our own part, starting at the last proven position.

`core.offsets.own_place` decides.

Only what was written since is read: a few seconds of data if the topic is busy, else only the fence's marker.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from replicator.core.offsets.own_place import OurBatches, OwnEnd, OwnEndSearch
from replicator.engine.logs.bounds import starts_of
from replicator.engine.logs.reading import batches_between
from replicator.engine.logs.side import Side
from replicator.engine.verify.compare import compacted_topics
from replicator.errors import BrokerRefused
from replicator.model.spec import Isolation

if TYPE_CHECKING:
    from collections.abc import Mapping

    from replicator.admin.topics import TopicAdmin
    from replicator.errors import KafkaError
    from replicator.model.names import TopicPartition
    from replicator.wire.cluster import Cluster
    from replicator.wire.transport.connection import Connection

_READS_AT_ONCE = 32
_STEP_FIRST, _STEP_FACTOR, _STEP_MAX = 64, 16, 1 << 20
"""Offsets by which a search steps back from the end of a log."""
_REST = 1024
"""Offsets at the end of a log to search for a fence's marker once someone else's batch was found."""


@dataclass(frozen=True, slots=True)
class SearchRange:
    """The part of one log to search.

    Attributes:
        end: The log's end.
        begin: Up to where it was proven to be ours, None if not known.
        floor: Offset below which nothing needs to be read: what is there was taken over.
        is_active: Whether there may be any of our batches at all.
    """

    end: int
    begin: int | None = None
    floor: int = 0
    is_active: bool = True


class OwnEndFinder:
    """Searches the logs of one cluster.

    Args:
        cluster: The target, its topics just described.
        admin: Says which topics are compacted, should one of them end in a hole.
        ours: How to recognize our batches.
    """

    def __init__(self, cluster: Cluster, admin: TopicAdmin, ours: OurBatches) -> None:
        self._cluster = cluster
        self._admin = admin
        self._ours = ours
        self._side = Side(cluster, cluster.topic_ids)
        self._room = asyncio.Semaphore(_READS_AT_ONCE)

    async def find(self, ranges: Mapping[TopicPartition, SearchRange]) -> dict[TopicPartition, OwnEnd]:
        """Return where our own part of each log ends.

        Raises:
            KafkaError: A log cannot be read, or not yet all of it: a fence's marker that the leader has appended is
                above the high watermark until the followers have it, and so may be our records below it.
        """
        starts, _ = await starts_of(self._side, ranges)

        async def one(where: TopicPartition, search_range: SearchRange) -> OwnEnd:
            async with self._room:
                return await self._find(where, search_range, starts.get(where, 0))

        found = await asyncio.gather(*(one(*item) for item in ranges.items()))
        return dict(zip(ranges, found, strict=True))

    async def _find(self, where: TopicPartition, search_range: SearchRange, start: int) -> OwnEnd:
        connection = await self._cluster.leader_connection(where)
        try:
            return await self._search(connection, where, search_range, start, compacted=False)
        except BrokerRefused as error:
            # Only the cleaner leaves the end of a log empty; we ask whether it runs only if we find that.
            if error.code or not await compacted_topics(self._admin, [where.topic]):
                raise
        return await self._search(connection, where, search_range, start, compacted=True)

    async def _search(
        self, connection: Connection, where: TopicPartition, search_range: SearchRange, start: int, *, compacted: bool
    ) -> OwnEnd:
        end, begin = search_range.end, search_range.begin
        if begin is not None and begin <= end:
            found = await self._from(connection, where, begin, start, end, compacted=compacted)
            if found.is_fenced or self._ours.fence_epoch is None or compacted:
                return found
        # The log lost its end since that position was proven, or none ever was: search for our last batch.
        floor = min(end, max(start, search_range.floor))
        begin = floor
        if search_range.is_active:
            begin = await self._back(connection, where, floor, end, compacted=compacted)
        found = await self._from(connection, where, begin, start, end, compacted=compacted)
        # Retention may have taken an old marker; otherwise it must be there.
        if not (found.is_fenced or compacted or self._ours.fence_epoch is None) and start <= (search_range.begin or 0):
            raise _not_shown(connection, where, end)
        return found

    async def _from(
        self, connection: Connection, where: TopicPartition, begin: int, start: int, end: int, *, compacted: bool
    ) -> OwnEnd:
        search = OwnEndSearch(begin, self._ours)
        position = max(begin, start)
        for first in (position, max(position, end - _REST)):
            async for _, header, _ in batches_between(
                self._side, connection, where, first, end, isolation=Isolation.READ_UNCOMMITTED, compacted=compacted
            ):
                search.take(header)
                if search.is_fenced or (search.is_foreign and first < end - _REST):
                    break
            if search.is_fenced or not search.is_foreign or first >= end - _REST:
                break
        return search.result()

    async def _back(
        self, connection: Connection, where: TopicPartition, floor: int, end: int, *, compacted: bool
    ) -> int:
        """Return an offset with one of our batches, the last that a few reads find, or `floor`."""
        upper, step = end, _STEP_FIRST
        while upper > floor:
            lower = max(floor, upper - step)
            async for _, header, _ in batches_between(
                self._side, connection, where, lower, upper, isolation=Isolation.READ_UNCOMMITTED, compacted=compacted
            ):
                # Only the first one: ours after someone else's batch proves nothing about what precedes it.
                if self._ours.surely_wrote(header) and not self._ours.is_fence(header):
                    return lower
                break
            upper, step = lower, min(_STEP_MAX, step * _STEP_FACTOR)
        return floor


def _not_shown(connection: Connection, where: TopicPartition, end: int) -> KafkaError:
    return BrokerRefused(
        f"the marker of the fence is not yet below the high watermark {end} of {where}",
        cluster=connection.cluster.alias,
        code=0,
        api="Fetch",
        why="its followers do not have it yet, and what was written before it must not count as missing",
        retryable=True,
    )
