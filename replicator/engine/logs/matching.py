"""Finds by comparing records what a target log stands for, where neither a map nor our own batches tell it.

Questions for `mirror resolve --how accept`:

- where do both logs part (the source was truncated)?
- where does our own last batch end (someone else wrote behind it)?
- of which source record is the target's last one a copy (a topic that somebody else filled)?
- with how many records that the target holds does a source topic begin that was made anew?
- from where on do both logs hold the same at the same offsets?
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from replicator.core.offsets.alike import equal_down_to, place_behind, place_without_records
from replicator.core.offsets.offset_map import Place
from replicator.engine.logs.bounds import offsets_of
from replicator.engine.logs.reading import records_between
from replicator.wire.messages import control

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from replicator.engine.logs.walking import Log
    from replicator.wire.batches.records import Record

_COMPARED_RECORDS = 50
"""Of the target's last ones: all of them, in order, prove a place."""
_SEARCHED_RECORDS_MAX = 500_000
"""Of the source, from the first with the time of the target's last record on."""
_BACKWARD_OFFSETS = 2_000
_BACKWARD_STEPS_MAX = 500
_EQUAL_STEPS_MAX = 250
_CANDIDATES_MAX = 5


@dataclass(frozen=True, slots=True)
class Found:
    """A place, or why there is none; `ambiguous` where there is more than one."""

    place: Place | None
    why: str = ""
    ambiguous: bool = False


async def settled(log: Log) -> Log:
    """Return a log up to its last stable offset: records behind it may still be committed, or not.

    Raises:
        KafkaError: A broker refuses.
    """
    stable = (await offsets_of(log.connection, [log.where], control.LATEST, committed=True))[log.where]
    return replace(log, end=min(log.end, stable), committed=True)


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
                return Found(await _behind(source, target, Place(to_source(record.offset), record.offset)))
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
                return Found(await _behind(source, target, Place(at, last.offset)))
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
        following = await _next_record(source, source.start)
        place = place_without_records(source.start, following, target.start, target.end)
        return Found(place, "" if place is not None else "the target holds no record to look for")
    return await _place_of(source, target, wanted)


async def begins_alike(source: Log, target: Log) -> Found:
    """Return the place behind the records with which a topic that was made anew begins, and which the target holds.

    A topic that was deleted and filled again, from a backup or by its applications, begins with what was copied before:
    appended as a whole, it would stand on the target twice. Where it begins with nothing of that, all of it is new.

    Raises:
        KafkaError: A broker refuses.
        CorruptRecords: A log cannot be read.
    """
    first = await anext(_records(source, source.start, source.end), None)
    if first is None:
        place = place_without_records(source.start, source.end, 0, target.end)
        return Found(place)
    candidates: list[int] = []
    begin = await _by_time(target, [first])
    searched = 0
    async for record in _records(target, target.end if begin is None else begin, target.end):
        searched += 1
        if record.content == first.content:
            candidates.append(record.offset)
        if searched >= _SEARCHED_RECORDS_MAX or len(candidates) > _CANDIDATES_MAX:
            return Found(
                None,
                "the source's first record stands on the target too often, or too far from its end",
                ambiguous=True,
            )
    if not candidates:
        return Found(Place(source.start, target.end))
    runs = [await _run_of_equals(source, target, at) for at in candidates]
    longest = max(length for length, _ in runs)
    last = [place for length, place in runs if length == longest]
    if len(last) > 1 or longest >= _SEARCHED_RECORDS_MAX:
        why = f"the first {longest} records of the source stand on the target {len(last)} times"
        return Found(None, why, ambiguous=True)
    return Found(await _behind(source, target, last[0]))


async def _run_of_equals(source: Log, target: Log, begin: int) -> tuple[int, Place]:
    """Return how many records both logs hold in step, the source's from its first on; and the place of the last."""
    length, last = 0, Place(source.start, begin)
    there = _records(source, source.start, source.end)
    async for here in _records(target, begin, target.end):
        record = await anext(there, None)
        if record is None or record.content != here.content or length >= _SEARCHED_RECORDS_MAX:
            break
        length, last = length + 1, Place(record.offset, here.offset)
    await there.aclose()
    return length, last


async def equal_from(source: Log, target: Log, end: int) -> int:
    """Return the offset from which both logs hold the same records at the same offsets, up to `end`.

    Looks back as far as records are searched for; below that nothing is said.

    Raises:
        KafkaError: A broker refuses.
        CorruptRecords: A log cannot be read.
    """
    floor, upper = max(source.start, target.start), end
    for _ in range(_EQUAL_STEPS_MAX):
        if upper <= floor:
            break
        lower = max(floor, upper - _BACKWARD_OFFSETS)
        here = {record.offset: record.content async for record in _records(target, lower, upper)}
        there = {record.offset: record.content async for record in _records(source, lower, upper)}
        equal = equal_down_to(here, there, lower)
        if equal > lower:
            return equal
        upper = lower
    return upper


async def _behind(source: Log, target: Log, last: Place) -> Place:
    """Return what the target's end stands for, by a record that stands in both logs and is the target's last."""
    return place_behind(last, target.end, await _next_record(source, last.source + 1))


async def _next_record(log: Log, begin: int) -> int:
    """Return the offset of the first record from an offset on, the log's end where there is none."""
    async for record in _records(log, begin, log.end):
        return record.offset
    return max(begin, log.end)


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
        return Found(await _behind(source, target, Place(matches[0], wanted[-1].offset)))
    if not matches:
        return Found(None, f"its last {len(contents)} records do not stand in this order on the source")
    return Found(None, f"its last {len(contents)} records stand {len(matches)} times on the source", ambiguous=True)


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
        answer = control.answer_for(answers, source.where, source.connection.cluster, "ListOffsets")
        if not answer.error and answer.value >= 0:
            offsets.append(answer.value)
    if not offsets:
        return None
    return max(source.start, min(offsets) - _COMPARED_RECORDS)


def _records(log: Log, begin: int, end: int, producer_id: int | None = None) -> AsyncGenerator[Record, None]:
    return records_between(
        log.side,
        log.connection,
        log.where,
        begin,
        end,
        committed=log.committed,
        compacted=log.compacted,
        producer_id=producer_id,
    )
