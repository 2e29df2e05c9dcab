"""Compares the logs of a flow's target with those of a cluster that it could copy from, at identical offsets."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from replicator.core.lineage.comparison import Bisection, by_bounds, by_records
from replicator.engine.logs.bounds import ends_of, starts_of
from replicator.engine.logs.reading import records_between
from replicator.engine.logs.side import Side
from replicator.errors import CorruptRecords, KafkaError, TooLargeToOpen
from replicator.model.operations.lineage import Bounds, Difference, LogComparison, LogStanding
from replicator.model.spec import Isolation

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterable

    from replicator.model.names import TopicPartition
    from replicator.wire.batches.records import Record
    from replicator.wire.cluster import Cluster

_WINDOW_OFFSETS = 200
"""How many offsets are compared at a time; further back, while they hold no record, more and more."""
_WINDOW_FACTOR = 16
_RECORDS_MAX = 1000
"""The most records of one window that are in memory, of each log."""
_AT_ONCE = 16
"""Partitions whose records are compared at the same time."""


@dataclass(frozen=True, slots=True)
class Pair:
    """One partition of a mirror, and the log that it would go on from.

    Attributes:
        theirs: The partition on the other cluster.
        ours: The partition on the flow's target.
        mapped: Whether its offsets are not those of the source.
        compacted: Whether a cleaner may have removed records on either side.
    """

    theirs: TopicPartition
    ours: TopicPartition
    mapped: bool = False
    compacted: bool = True


class _Log(NamedTuple):
    side: Side
    where: TopicPartition
    bounds: Bounds
    isolation: Isolation
    compacted: bool


class _Compared(NamedTuple):
    """What comparing a range of offsets found: whether any record was there on both sides, and the first difference."""

    seen: bool
    difference: Difference | None


async def compare(
    theirs: Cluster, ours: Cluster, pairs: Iterable[Pair], *, isolation: Isolation, seconds: float
) -> list[LogComparison]:
    """Return how each partition of a target compares with its counterpart on another cluster.

    Both clusters' topics were just described. Partitions that cannot be read, or not in time, are unknown; they hold up
    no others.

    Args:
        theirs: The cluster that the flow would copy from.
        ours: The flow's target.
        pairs: The partitions.
        isolation: Which records the flow copies.
        seconds: How long all of it may take.

    Raises:
        KafkaError: A cluster cannot be asked for the bounds of its logs.
    """
    wanted = list(pairs)
    (there, unseen_there), (here, unseen_here) = await asyncio.gather(
        _bounds(theirs, [one.theirs for one in wanted], isolation=isolation),
        _bounds(ours, [one.ours for one in wanted], isolation=Isolation.READ_UNCOMMITTED),
    )
    turns = asyncio.Semaphore(_AT_ONCE)
    sides = Side(theirs, theirs.topic_ids), Side(ours, ours.topic_ids)

    async def one(pair: Pair) -> LogComparison:
        where = pair.theirs.topic, pair.theirs.partition
        their_bounds, our_bounds = there.get(pair.theirs), here.get(pair.ours)
        unseen = unseen_there.get(pair.theirs) or unseen_here.get(pair.ours)
        if unseen is not None:
            return LogComparison(*where, LogStanding.UNKNOWN, our_bounds, their_bounds, why=unseen)
        known = by_bounds(our_bounds, their_bounds, mapped=pair.mapped)
        if known is not None or our_bounds is None or their_bounds is None:
            return LogComparison(*where, known or LogStanding.UNKNOWN, our_bounds, their_bounds)
        logs = (
            _Log(sides[0], pair.theirs, their_bounds, isolation, pair.compacted),
            _Log(sides[1], pair.ours, our_bounds, isolation=Isolation.READ_UNCOMMITTED, compacted=pair.compacted),
        )
        try:
            async with turns:
                found = await _difference(*logs)
        except (KafkaError, CorruptRecords, TooLargeToOpen) as error:
            return LogComparison(*where, LogStanding.UNKNOWN, our_bounds, their_bounds, why=str(error))
        return LogComparison(*where, by_records(our_bounds, their_bounds, found), our_bounds, their_bounds, found)

    return await _in_time([(pair, one(pair)) for pair in wanted], seconds)


async def _in_time(
    work: list[tuple[Pair, Coroutine[None, None, LogComparison]]], seconds: float
) -> list[LogComparison]:
    tasks = [asyncio.create_task(each) for _, each in work]
    try:
        if tasks:
            await asyncio.wait(tasks, timeout=seconds)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    late = f"it was not compared within {seconds:g} s"
    return [
        LogComparison(pair.theirs.topic, pair.theirs.partition, LogStanding.UNKNOWN, why=late)
        if task.cancelled()
        else task.result()
        for (pair, _), task in zip(work, tasks, strict=True)
    ]


async def _bounds(
    cluster: Cluster, wanted: list[TopicPartition], *, isolation: Isolation
) -> tuple[Mapping[TopicPartition, Bounds], Mapping[TopicPartition, str]]:
    """Return the bounds of the logs that exist, and why those of others are unknown."""
    existing = [
        where
        for where in wanted
        if where.topic in cluster.topics and where.partition in cluster.topics[where.topic].leaders
    ]
    starts, no_start = await starts_of(Side(cluster, cluster.topic_ids), existing)
    ends, no_end = await ends_of(cluster, existing, isolation=isolation)
    return {where: Bounds(starts[where], ends[where]) for where in existing if where in starts and where in ends}, {
        **no_start,
        **no_end,
    }


async def _difference(theirs: _Log, ours: _Log) -> Difference | None:
    """Return the first offset at which two logs differ, below the lower of both ends; None if they agree.

    Raises:
        KafkaError: A broker refuses, or does not return what is there.
        CorruptRecords: A log cannot be read.
    """
    start, end = max(theirs.bounds.start, ours.bounds.start), min(theirs.bounds.end, ours.bounds.end)
    last = await _last_compared(theirs, ours, start, end)
    if last is None or last.difference is None:
        return None
    search = Bisection(start, last.difference.offset)
    found = last.difference
    while not search.done:
        first = search.middle
        upper = min(first + _WINDOW_OFFSETS, search.differs_at + 1)
        compared = await _compared(theirs, ours, first, upper)
        if compared.difference is not None and compared.difference.offset <= search.differs_at:
            found = compared.difference
        search.take(first, upper, compared.difference.offset if compared.difference is not None else None)
    return found


async def _last_compared(theirs: _Log, ours: _Log, start: int, end: int) -> _Compared | None:
    """Compare the last records that both logs hold below an offset; None if there are none."""
    size, upper = _WINDOW_OFFSETS, end
    while upper > start:
        lower = max(start, upper - size)
        found = await _compared(theirs, ours, lower, upper)
        if found.seen or found.difference is not None:
            return found
        size, upper = size * _WINDOW_FACTOR, lower
    return None


async def _compared(theirs: _Log, ours: _Log, begin: int, end: int) -> _Compared:
    """Compare the last records between two offsets.

    Where a cleaner works, a record that only one log holds proves nothing: the other's may have been removed.
    """
    there, here = await asyncio.gather(_last_records(theirs, begin, end), _last_records(ours, begin, end))
    # Below what was kept of one log, the other's records prove nothing either.
    first = max(there.first, here.first)
    seen = False
    for offset in sorted(there.by_offset.keys() | here.by_offset.keys()):
        if offset < first:
            continue
        mine, other = here.by_offset.get(offset), there.by_offset.get(offset)
        if mine is None or other is None:
            if ours.compacted:
                continue
            return _Compared(seen, Difference(offset, _time_ms(mine), _time_ms(other)))
        seen = True
        if mine.content != other.content:
            return _Compared(seen, Difference(offset, mine.timestamp, other.timestamp))
    return _Compared(seen, None)


def _time_ms(record: Record | None) -> int | None:
    return None if record is None else record.timestamp


class _Records(NamedTuple):
    """The records of a range of offsets; if they are many, only those from `first` on."""

    by_offset: Mapping[int, Record]
    first: int


async def _last_records(log: _Log, begin: int, end: int) -> _Records:
    kept: deque[Record] = deque(maxlen=_RECORDS_MAX)
    connection = await log.side.cluster.leader_connection(log.where)
    reading = records_between(
        log.side, connection, log.where, begin, end, isolation=log.isolation, compacted=log.compacted
    )
    async with aclosing(reading) as each:
        async for record in each:
            kept.append(record)
    first = kept[0].offset if len(kept) == _RECORDS_MAX else begin
    return _Records({record.offset: record for record in kept}, first)
