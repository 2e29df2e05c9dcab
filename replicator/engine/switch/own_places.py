"""Looks into target logs for the end of our own part, from the last place that was proven on.

`core.offsets.own_place` decides.

Only what came since then is read: a few seconds' worth where data flows, the fence's marker where it does not.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from replicator.core.offsets.own_place import Ours, OwnPlace, OwnPlaceSearch
from replicator.engine.logs.bounds import starts_of
from replicator.engine.logs.reading import batches_between
from replicator.engine.logs.side import Side
from replicator.engine.verify.compare import compacted_topics
from replicator.errors import BrokerRefused

if TYPE_CHECKING:
    from collections.abc import Mapping

    from replicator.admin.topics import TopicAdmin
    from replicator.errors import KafkaError
    from replicator.model.names import TopicPartition
    from replicator.wire.cluster import Cluster
    from replicator.wire.connection import Connection

_LOOKS_AT_ONCE = 32
_STEP_FIRST, _STEP_FACTOR, _STEP_MAX = 64, 16, 1 << 20
"""Offsets by which a search goes back from the end of a log."""
_REST = 1024
"""Offsets at the end of a log in which the marker of a fence is looked for once a batch of somebody else was found."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """What has to be looked at of one log.

    Attributes:
        end: Where it ends.
        begin: Up to where it was proven to be ours, None where nothing tells.
        floor: Offset below which nothing needs to be looked at: what stands there was taken over.
        is_active: Whether anything of ours may be there at all.
    """

    end: int
    begin: int | None = None
    floor: int = 0
    is_active: bool = True


class OwnPlaces:
    """The looks into the logs of one cluster.

    Args:
        cluster: The target, its topics just described.
        admin: Tells which topics are compacted, should one of them end in a hole.
        ours: How our batches are told.
    """

    def __init__(self, cluster: Cluster, admin: TopicAdmin, ours: Ours) -> None:
        self._cluster = cluster
        self._admin = admin
        self._ours = ours
        self._side = Side(cluster, cluster.topic_ids)
        self._room = asyncio.Semaphore(_LOOKS_AT_ONCE)

    async def find(self, stretches: Mapping[TopicPartition, Stretch]) -> dict[TopicPartition, OwnPlace]:
        """Return where our own part of each log ends.

        Raises:
            KafkaError: A log cannot be read, or not all of it now: a marker of the fence that its leader has appended
                stands above the high watermark until the followers have it, and so may records of ours below it.
        """
        starts, _ = await starts_of(self._side, stretches)

        async def one(where: TopicPartition, stretch: Stretch) -> OwnPlace:
            async with self._room:
                return await self._find(where, stretch, starts.get(where, 0))

        found = await asyncio.gather(*(one(*item) for item in stretches.items()))
        return dict(zip(stretches, found, strict=True))

    async def _find(self, where: TopicPartition, stretch: Stretch, start: int) -> OwnPlace:
        connection = await self._cluster.leader_connection(where)
        try:
            return await self._search(connection, where, stretch, start, compacted=False)
        except BrokerRefused as error:
            # Only the cleaner leaves nothing at the end of a log; whether it runs is asked where that is found alone.
            if error.code or not await compacted_topics(self._admin, [where.topic]):
                raise
        return await self._search(connection, where, stretch, start, compacted=True)

    async def _search(
        self, connection: Connection, where: TopicPartition, stretch: Stretch, start: int, *, compacted: bool
    ) -> OwnPlace:
        end, begin = stretch.end, stretch.begin
        if begin is not None and begin <= end:
            found = await self._from(connection, where, begin, start, end, compacted=compacted)
            if found.is_fenced or self._ours.fence_epoch is None or compacted:
                return found
        # The log lost its end since that place was proven, or none ever was: our last batch is looked for.
        floor = min(end, max(start, stretch.floor))
        begin = floor
        if stretch.is_active:
            begin = await self._back(connection, where, floor, end, compacted=compacted)
        found = await self._from(connection, where, begin, start, end, compacted=compacted)
        # Retention may have taken a marker that stands long since; else it must be there.
        if not (found.is_fenced or compacted or self._ours.fence_epoch is None) and start <= (stretch.begin or 0):
            raise _not_shown(connection, where, end)
        return found

    async def _from(
        self, connection: Connection, where: TopicPartition, begin: int, start: int, end: int, *, compacted: bool
    ) -> OwnPlace:
        search = OwnPlaceSearch(begin, self._ours)
        position = max(begin, start)
        for first in (position, max(position, end - _REST)):
            async for _, header, _ in batches_between(
                self._side, connection, where, first, end, committed=False, compacted=compacted
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
        """Return an offset at which a batch of ours stands, the last one that a few looks find, or `floor`."""
        upper, step = end, _STEP_FIRST
        while upper > floor:
            lower = max(floor, upper - step)
            async for _, header, _ in batches_between(
                self._side, connection, where, lower, upper, committed=False, compacted=compacted
            ):
                # The first one alone: one of ours that landed behind somebody else's proves nothing of what is before.
                if self._ours.surely_wrote(header) and not self._ours.is_fence(header):
                    return lower
                break
            upper, step = lower, min(_STEP_MAX, step * _STEP_FACTOR)
        return floor


def _not_shown(connection: Connection, where: TopicPartition, end: int) -> KafkaError:
    return BrokerRefused(
        f"the marker of the fence is not below the high watermark {end} of {where} yet",
        cluster=connection.cluster.alias,
        code=0,
        api="Fetch",
        why="its followers do not have it yet; what was written before it may not be counted as missing",
        retryable=True,
    )
