"""Finds what the end of a mapped target log stands for, by walking both logs from the last place that is known.

A mapped copy leaves out what holds no record and keeps the order of what does, so record by record both logs go on
together: the nth copied record of the source is the nth of the target. Only headers are read, where they tell.
Neither log is ever compacted, or this would not be so.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from replicator.core.offset_map import OffsetMap, Place, Run
from replicator.engine.look import Side, batches_between
from replicator.model.batch import MAGIC_V2
from replicator.wire.recode import open_batch

if TYPE_CHECKING:
    from replicator.model.batch import BatchHeader
    from replicator.model.names import TopicPartition
    from replicator.wire.connection import Connection
    from replicator.wire.frames import Frame

Span = tuple[int, int]
"""Offsets that hold records to copy: the first, and how many."""


@dataclass(frozen=True, slots=True)
class Log:
    """One log to walk along. `committed` tells how it is read."""

    side: Side
    connection: Connection
    where: TopicPartition
    start: int
    end: int
    committed: bool


async def walk(offsets: OffsetMap, source: Log, target: Log) -> Place | None:
    """Bring a map up to the target's end; return what that end stands for, or None where the logs do not tell.

    Where the target holds more records than the source has, the place lies beyond the source's end by as many.

    Raises:
        KafkaError: A broker refuses.
        CorruptRecords: A log cannot be read.
    """
    if target.end < offsets.end.target:
        offsets.cut(target.end)
    if target.end == offsets.end.target:
        return offsets.end
    if source.start > offsets.end.source:
        return None
    there = _spans(source, offsets.end.source)
    first, left = 0, 0
    async for at, count in _target_spans(target, offsets.end.target):
        done = 0
        while done < count:
            if not left:
                first, left = await anext(there, (source.end, 0))
            if not left:
                return Place(source.end + count - done, target.end)
            taken = min(left, count - done)
            offsets.add(Run(first, at + done, taken))
            first, left, done = first + taken, left - taken, done + taken
    place = Place(offsets.end.source, target.end)
    offsets.pass_over(place)
    return place


async def _target_spans(log: Log, begin: int) -> AsyncIterator[Span]:
    if log.start > begin:
        # What retention took held a record at each offset: a mapped copy writes nothing else.
        yield begin, log.start - begin
    async for span in _spans(log, max(begin, log.start)):
        yield span


async def _spans(log: Log, begin: int) -> AsyncIterator[Span]:
    async for frame, header, aborted in batches_between(
        log.side, log.connection, log.where, begin, log.end, committed=log.committed
    ):
        if aborted or header.is_control or header.record_count == 0:
            continue
        for first, count in _of_batch(frame, header):
            low, high = max(first, begin), min(first + count, log.end)
            if low < high:
                yield low, high - low


def _of_batch(frame: Frame, header: BatchHeader) -> list[Span]:
    if header.magic == MAGIC_V2 and header.record_count == header.last_offset_delta + 1:
        return [(header.base_offset, header.record_count)]
    spans: list[Span] = []
    for record in open_batch(frame.view, header):
        if spans and spans[-1][0] + spans[-1][1] == record.offset:
            spans[-1] = (spans[-1][0], spans[-1][1] + 1)
        else:
            spans.append((record.offset, 1))
    return spans
