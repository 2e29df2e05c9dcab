"""Finds the position of a target log on the source by comparing records, where neither a map nor our batches tell it.

Questions for `mirror resolve --how accept`:

- Where do the two logs diverge (the source was truncated)?
- Where does our own last batch end (another producer wrote after it)?
- Which source record is the target's last one a copy of (another tool filled the topic)?
- With how many of the records that the target already holds does a re-created source topic start?
- From which offset on do both logs hold the same records at the same offsets?
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from replicator.core.offsets.alike import equal_down_to, place_after, place_without_records
from replicator.core.offsets.offset_map import OffsetPair
from replicator.engine.logs.bounds import offsets_of
from replicator.engine.logs.reading import records_between
from replicator.model.spec import Isolation
from replicator.wire.messages import control

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from replicator.engine.logs.ranges.walking import Log
    from replicator.wire.batches.records import Record

_COMPARED_RECORDS = 50
"""The target's last records: if all of them match, in order, the place is proven."""
_SEARCHED_RECORDS_MAX = 500_000
"""Source records, from the first one with the time of the target's last record."""
_BACKWARD_OFFSETS = 2_000
_BACKWARD_STEPS_MAX = 500
_EQUAL_STEPS_MAX = 250
_CANDIDATES_MAX = 5


@dataclass(frozen=True, slots=True)
class Match:
    """A place, or why there is none; `ambiguous` if there is more than one."""

    place: OffsetPair | None
    why: str = ""
    ambiguous: bool = False


async def settled(log: Log) -> Log:
    """Return a log up to its last stable offset: records above it may still be committed or aborted.

    Raises:
        KafkaError: A broker refuses.
    """
    ends = await offsets_of(log.connection, [log.where], control.LATEST, isolation=Isolation.READ_COMMITTED)
    return replace(log, end=min(log.end, ends[log.where]), isolation=Isolation.READ_COMMITTED)


async def common_end(source: Log, target: Log, to_source: Callable[[int], int]) -> Match:
    """Return the place after the last record that both logs have, searching back from the target's end.

    Raises:
        KafkaError: A broker refuses.
        CorruptRecords: A log cannot be read.
    """
    upper = target.end
    for _ in range(_BACKWARD_STEPS_MAX):
        lower = max(target.start, upper - _BACKWARD_OFFSETS)
        if lower >= upper:
            return Match(OffsetPair(max(source.start, to_source(target.start)), target.end))
        here = [record async for record in _records(target, lower, upper)]
        low, high = max(source.start, to_source(lower)), min(source.end, to_source(upper - 1) + 1)
        there = {record.offset: record.content async for record in _records(source, low, high)} if low < high else {}
        for record in reversed(here):
            if there.get(to_source(record.offset)) == record.content:
                return Match(await _place_at_end(source, target, OffsetPair(to_source(record.offset), record.offset)))
        upper = lower
    return Match(None, f"the last {_BACKWARD_OFFSETS * _BACKWARD_STEPS_MAX} offsets hold no equal record on both sides")


async def after_ours(source: Log, target: Log, producer_id: int, to_source: Callable[[int], int]) -> Match:
    """Return the place after our own last record on the target, whatever comes after it.

    It is where the map says, unless our record landed after another producer's: then it is searched by its content.

    Raises:
        KafkaError: A broker refuses.
        CorruptRecords: A log cannot be read.
    """
    ours = await _last_records(target, producer_id)
    if not ours:
        return Match(None, "no record of this flow was found on the target")
    last = ours[-1]
    at = to_source(last.offset)
    if source.start <= at < source.end:
        async for record in _records(source, at, at + 1):
            if record.content == last.content:
                return Match(await _place_at_end(source, target, OffsetPair(at, last.offset)))
    return await _place_of(source, target, ours)


async def copied_end(source: Log, target: Log) -> Match:
    """Return the place of a target that another tool filled from the same source, proven by its last records.

    Offsets may differ in any way; the records must be the same, in the same order, and occur only once.

    Raises:
        KafkaError: A broker refuses.
        CorruptRecords: A log cannot be read.
    """
    wanted = await _last_records(target)
    if not wanted:
        following = await _next_record(source, source.start)
        place = place_without_records(source.start, following, target.start, target.end)
        return Match(place, "" if place is not None else "the target holds no record to search for")
    return await _place_of(source, target, wanted)


async def repeated_start(source: Log, target: Log) -> Match:
    """Return the place after the records that a re-created source topic starts with and the target already holds.

    A topic that was deleted and filled again, from a backup or by its applications, starts with what was copied before:
    appended as a whole, it would be on the target twice. If it starts with none of that, all of it is new.

    Raises:
        KafkaError: A broker refuses.
        CorruptRecords: A log cannot be read.
    """
    first = await anext(_records(source, source.start, source.end), None)
    if first is None:
        place = place_without_records(source.start, source.end, 0, target.end)
        return Match(place)
    candidates: list[int] = []
    begin = await _by_time(target, [first])
    searched = 0
    async for record in _records(target, target.end if begin is None else begin, target.end):
        searched += 1
        if record.content == first.content:
            candidates.append(record.offset)
        if searched >= _SEARCHED_RECORDS_MAX or len(candidates) > _CANDIDATES_MAX:
            return Match(
                None,
                "the source's first record occurs too often on the target, or too far from its end",
                ambiguous=True,
            )
    if not candidates:
        return Match(OffsetPair(source.start, target.end))
    runs = [await _run_of_equals(source, target, at) for at in candidates]
    longest = max(length for length, _ in runs)
    last = [place for length, place in runs if length == longest]
    if len(last) > 1 or longest >= _SEARCHED_RECORDS_MAX:
        why = f"the first {longest} records of the source occur {len(last)} times on the target"
        return Match(None, why, ambiguous=True)
    return Match(await _place_at_end(source, target, last[0]))


async def _run_of_equals(source: Log, target: Log, begin: int) -> tuple[int, OffsetPair]:
    """Return how many records both logs hold in step, the source's from its first one, and the place of the last."""
    length, last = 0, OffsetPair(source.start, begin)
    there = _records(source, source.start, source.end)
    async for here in _records(target, begin, target.end):
        record = await anext(there, None)
        if record is None or record.content != here.content or length >= _SEARCHED_RECORDS_MAX:
            break
        length, last = length + 1, OffsetPair(record.offset, here.offset)
    await there.aclose()
    return length, last


async def equal_from(source: Log, target: Log, end: int) -> int:
    """Return the offset from which both logs hold the same records at the same offsets, up to `end`.

    The search back is bounded; nothing is claimed below the offset it reached.

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


async def _place_at_end(source: Log, target: Log, last: OffsetPair) -> OffsetPair:
    """Return the place of the target's end, given the place of a record that is in both logs and the target's last."""
    return place_after(last, target.end, await _next_record(source, last.source + 1))


async def _next_record(log: Log, begin: int) -> int:
    """Return the offset of the first record at or above an offset; the log's end if there is none."""
    async for record in _records(log, begin, log.end):
        return record.offset
    return max(begin, log.end)


async def _place_of(source: Log, target: Log, wanted: list[Record]) -> Match:
    """Return where the source has the wanted records, in their order and only once."""
    begin = await _by_time(source, wanted)
    if begin is None:
        return Match(None, "the source has no record with the time of the target's last ones")
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
        return Match(await _place_at_end(source, target, OffsetPair(matches[0], wanted[-1].offset)))
    if not matches:
        return Match(None, f"its last {len(contents)} records are not on the source in this order")
    return Match(None, f"its last {len(contents)} records occur {len(matches)} times on the source", ambiguous=True)


def _proves(window: deque[tuple[object, ...]], contents: list[tuple[object, ...]], *, from_start: bool) -> bool:
    """Return whether the source records read last are the target's; where the source starts there, fewer are enough."""
    seen = list(window)
    if len(seen) < len(contents):
        return from_start and seen == contents[-len(seen) :]
    return seen == contents


async def _last_records(log: Log, producer_id: int | None = None) -> list[Record]:
    """Return the last records of a log, in order; only those of `producer_id` if it is given."""
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
    """Return a source offset at or below that of the first wanted record, found by the records' timestamps."""
    offsets: list[int] = []
    for timestamp in {min(record.timestamp for record in wanted), wanted[-1].timestamp}:
        if timestamp < 0:
            return source.start
        answers = await control.list_offsets(
            source.connection, [source.where], timestamp, isolation=Isolation.READ_UNCOMMITTED
        )
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
        isolation=log.isolation,
        compacted=log.compacted,
        producer_id=producer_id,
    )
