"""Finds by comparing records what a target log stands for, where neither a map nor our own batches tell it.

Three questions, for `mirror resolve --how accept`:

- where do both logs part (the source was truncated)?
- where does our own last batch end (someone else wrote behind it)?
- of which source record is the target's last one a copy (a topic that somebody else filled)?
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from replicator.core.offset_map import Place
from replicator.engine.look import batches_between
from replicator.wire import control
from replicator.wire.records import decode

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from replicator.engine.walk import Log
    from replicator.wire.records import Record

_COMPARED_RECORDS = 50
"""Of the target's last ones: all of them, in order, prove a place."""
_SEARCHED_RECORDS_MAX = 500_000
"""Of the source, from the first with the time of the target's last record on."""
_BACKWARD_OFFSETS = 2_000
_BACKWARD_STEPS_MAX = 500


@dataclass(frozen=True, slots=True)
class Found:
    """A place, or why there is none."""

    place: Place | None
    why: str = ""


async def common_end(source: Log, target: Log, to_source: Callable[[int], int]) -> Found:
    """Return the place behind the last record that both logs have, looking back from the target's end.

    Raises:
        KafkaError: A broker refuses.
        CorruptRecords: A log cannot be read.
    """
    upper = target.end
    for _ in range(_BACKWARD_STEPS_MAX):
        lower = max(target.start, upper - _BACKWARD_OFFSETS)
        if lower >= upper:
            return Found(Place(max(source.start, to_source(target.start)), target.end))
        here = [record async for record in _records(target, lower, upper)]
        low, high = max(source.start, to_source(lower)), min(source.end, to_source(upper - 1) + 1)
        there = {record.offset: record.content async for record in _records(source, low, high)} if low < high else {}
        for record in reversed(here):
            if there.get(to_source(record.offset)) == record.content:
                return Found(Place(to_source(record.offset) + 1, target.end))
        upper = lower
    return Found(None, f"none of the last {_BACKWARD_OFFSETS * _BACKWARD_STEPS_MAX} offsets holds the same on both")


async def behind_ours(source: Log, target: Log, producer_id: int, to_source: Callable[[int], int]) -> Found:
    """Return the place behind our own last record on the target, whatever stands behind it.

    It stands where the map says, unless it landed behind another's record: then it is looked for by its content.

    Raises:
        KafkaError: A broker refuses.
        CorruptRecords: A log cannot be read.
    """
    ours = await _last_records(target, producer_id)
    if not ours:
        return Found(None, "no record of this flow was found on the target")
    last = ours[-1]
    at = to_source(last.offset)
    if source.start <= at < source.end:
        async for record in _records(source, at, at + 1):
            if record.content == last.content:
                return Found(Place(at + 1, target.end))
    return await _place_of(source, target, ours)


async def copied_end(source: Log, target: Log) -> Found:
    """Return the place of a target that somebody else filled from the same source, proven by its last records.

    Offsets may differ in any way; the records must be the same, in the same order, and found once.

    Raises:
        KafkaError: A broker refuses.
        CorruptRecords: A log cannot be read.
    """
    wanted = await _last_records(target)
    if not wanted:
        return Found(None, "the target holds no record to look for")
    return await _place_of(source, target, wanted)


async def _place_of(source: Log, target: Log, wanted: list[Record]) -> Found:
    """Return where the source has the wanted records, in their order and only once."""
    begin = await _by_time(source, wanted)
    if begin is None:
        return Found(None, "the source has no record of the time of the target's last ones")
    contents = [record.content for record in wanted]
    window: deque[tuple[object, ...]] = deque(maxlen=len(contents))
    matches: list[int] = []
    searched = 0
    async for record in _records(source, begin, source.end):
        window.append(record.content)
        searched += 1
        if record.content == contents[-1] and _proves(window, contents, from_start=begin <= source.start):
            matches.append(record.offset)
        if searched >= _SEARCHED_RECORDS_MAX:
            break
    if len(matches) == 1:
        return Found(Place(matches[0] + 1, target.end))
    if not matches:
        return Found(None, f"its last {len(contents)} records do not stand in this order on the source")
    return Found(None, f"its last {len(contents)} records stand {len(matches)} times on the source")


def _proves(window: deque[tuple[object, ...]], contents: list[tuple[object, ...]], *, from_start: bool) -> bool:
    """Return whether the source's last records read are the target's; fewer do where the source begins there."""
    seen = list(window)
    if len(seen) < len(contents):
        return from_start and seen == contents[-len(seen) :]
    return seen == contents


async def _last_records(log: Log, producer_id: int | None = None) -> list[Record]:
    """Return the last records of a log, in order; of one producer if it is given."""
    found: deque[Record] = deque()
    upper = log.end
    for _ in range(_BACKWARD_STEPS_MAX):
        lower = max(log.start, upper - _BACKWARD_OFFSETS)
        if lower >= upper or len(found) >= _COMPARED_RECORDS:
            break
        found.extendleft(reversed([record async for record in _records(log, lower, upper, producer_id)]))
        upper = lower
    return list(found)[-_COMPARED_RECORDS:]


async def _by_time(source: Log, wanted: list[Record]) -> int | None:
    """Return a source offset at or below that of the first wanted record, by the records' times."""
    offsets: list[int] = []
    for timestamp in {min(record.timestamp for record in wanted), wanted[-1].timestamp}:
        if timestamp < 0:
            return source.start
        answers = await control.list_offsets(source.connection, [source.where], timestamp, committed=False)
        answer = answers[source.where]
        if not answer.error and answer.value >= 0:
            offsets.append(answer.value)
    if not offsets:
        return None
    return max(source.start, min(offsets) - _COMPARED_RECORDS)


async def _records(log: Log, begin: int, end: int, producer_id: int | None = None) -> AsyncIterator[Record]:
    async for frame, header, aborted in batches_between(
        log.side, log.connection, log.where, begin, end, committed=log.committed
    ):
        if aborted or header.is_control or header.record_count == 0:
            continue
        if producer_id is not None and header.producer_id != producer_id:
            continue
        for record in decode(frame.buffer, header):
            if begin <= record.offset < end:
                yield record
