"""Finds the source position of a mapped target's log end by walking both logs from the last known place.

A mapped copy leaves out what holds no record and keeps the order of what does, so both logs can be paired record by
record (`core.offsets.pairing`). Headers alone are read where they say enough. Where others write to the target, only
our own records there count (`Side.chooser`).
Neither log is ever compacted, or this would not hold.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

from replicator.core.offsets.offset_map import OffsetMap, OffsetPair
from replicator.core.offsets.pairing import Pairing, Ranges, Span, reading_from
from replicator.engine.logs.bounds import offsets_of
from replicator.engine.logs.damage import target_read
from replicator.engine.logs.opening import spans_in
from replicator.engine.logs.reading import batches_between
from replicator.engine.logs.side import Side
from replicator.model.spec import Isolation
from replicator.wire.cluster import Purpose
from replicator.wire.messages import control

if TYPE_CHECKING:
    from replicator.model.names import TopicPartition
    from replicator.wire.transport.connection import Connection


@dataclass(frozen=True, slots=True)
class Log:
    """One log to walk along.

    `isolation` is the level that it is read with, `given_up` what is left out though it may be there, and
    `compacted` whether the cleaner may have removed its last records. `end` is the offset up to which it may be read.
    """

    side: Side
    connection: Connection
    where: TopicPartition
    start: int
    end: int
    isolation: Isolation
    given_up: Ranges = ()
    compacted: bool = False


class Walked(NamedTuple):
    """What a walk found.

    Attributes:
        place: The place of the target's end; None if the logs do not tell. If the target holds more records than the
            source has, it lies beyond the source's end by as many.
        last_target: Target offset of our last record after the end that the map had; -1 for none.
    """

    place: OffsetPair | None
    last_target: int = -1


async def walk(offsets: OffsetMap, source: Log, target: Log) -> Walked:
    """Bring a map up to the target's end.

    Raises:
        KafkaError: A broker refuses, or does not return what is there; retry later.
        CorruptRecords: A log cannot be read.
    """
    others_write = target.side.chooser is not None
    while True:
        if target.end < offsets.end.target:
            offsets.cut(target.end)
        if target.end <= offsets.end.target:
            return Walked(offsets.end if target.end == offsets.end.target else None)
        begin = reading_from(offsets.end, source.given_up)
        if source.start <= begin and not (others_write and target.start > offsets.end.target):
            break
        if others_write and source.start <= begin and not await holds_more(source, begin):
            # What retention removed from the target since then was not ours: there was nothing to copy.
            offsets.pass_over(OffsetPair(offsets.end.source, target.start))
            break
        if not offsets.leap(target.end):
            return Walked(None)
    pairing = await _pair(offsets, source, begin, target)
    return Walked(pairing.place(source.end), pairing.last_target)


async def paired(begin: OffsetPair, source: Log, target: Log) -> OffsetMap:
    """Return the map of two logs from a place on, regardless of any recorded map.

    Surplus records on the target are mapped beyond the source's end.

    Raises:
        KafkaError: A broker refuses, or does not return what is there; retry later.
        CorruptRecords: A log cannot be read.
    """
    offsets = OffsetMap(begin)
    pairing = await _pair(offsets, source, reading_from(begin, source.given_up), target)
    pairing.add_surplus(source.end)
    return offsets


async def _pair(offsets: OffsetMap, source: Log, begin: int, target: Log) -> Pairing:
    there = _spans(source, begin)
    pairing = Pairing(offsets, target.end)
    async for here in _target_spans(target, offsets.end.target):
        pairing.take_target(here)
        while pairing.lacks_source:
            span = await anext(there, None)
            if span is None:
                break
            pairing.take_source(span)
    return pairing


async def holds_more(source: Log, offset: int) -> bool:
    """Return whether the source has a record to copy at or above an offset.

    Raises:
        KafkaError: A broker refuses, or does not return what is there; retry later.
    """
    return await anext(_spans(source, offset), None) is not None


async def holds_record(source: Log, begin: int, end: int) -> bool:
    """Return whether the source has a record to copy between two offsets.

    Raises:
        KafkaError: A broker refuses, or does not return what is there; retry later.
    """
    return await holds_more(replace(source, end=min(end, source.end)), begin)


async def _target_spans(log: Log, begin: int) -> AsyncIterator[Span]:
    if log.start > begin and log.side.chooser is None:
        # What retention removed held a record at each offset: a mapped copy writes nothing else.
        yield begin, log.start - begin
    with target_read(log.side, log.where):
        async for span in _spans(log, max(begin, log.start)):
            yield span


async def _spans(log: Log, begin: int) -> AsyncIterator[Span]:
    async for frame, header, aborted in batches_between(
        log.side, log.connection, log.where, begin, log.end, isolation=log.isolation, compacted=log.compacted
    ):
        for span in await spans_in(frame, header, begin, log.end, aborted=aborted, given_up=log.given_up):
            yield span


async def open_log(
    side: Side, where: TopicPartition, *, isolation: Isolation, given_up: Ranges = (), compacted: bool = False
) -> Log | None:
    """Return a log of a topic that was just described, with its current bounds; None if the partition does not exist.

    Raises:
        KafkaError: The cluster cannot be asked, or refuses.
    """
    cluster = side.cluster
    topic = cluster.topics.get(where.topic)
    if topic is None or where.partition not in topic.leaders:
        return None
    connection = await cluster.connection(topic.leaders[where.partition].node, Purpose.CONTROL)
    start = (await offsets_of(connection, [where], control.EARLIEST))[where]
    end = (await offsets_of(connection, [where], control.LATEST, isolation=isolation))[where]
    side = Side(cluster, cluster.topic_ids, side.chooser)
    return Log(side, connection, where, start, end, isolation, given_up, compacted)
