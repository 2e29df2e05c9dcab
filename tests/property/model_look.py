"""What an attach reads of the model's logs, as `engine.copy.facts` and `engine.logs.walking` do."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from replicator.core.copy.attach_facts import Tail
from replicator.core.copy.track import Track
from replicator.core.offsets.offset_map import OffsetMap, Place
from replicator.core.offsets.pairing import Pairing, Span, reading_from, spans_of
from replicator.engine.logs.walking import Walked
from tests.property.model_broker import (
    ABORTED_PRODUCER,
    FLOW_PRODUCER,
    SourceBatch,
    SourcePartition,
    SourceRecord,
    TargetPartition,
)

SpansOf = Callable[..., Iterator[Span]]
ReadingFrom = Callable[[Place, Sequence[tuple[int, int]]], int]


class Gone(Exception):
    """Retention was faster: the read is refused."""


class View(NamedTuple):
    """As `engine.copy.facts._View`."""

    content: int | None
    epoch: int
    unfilled: int | None


class Bounds(NamedTuple):
    """As `engine.copy.facts._Bounds`; the model has no open transactions."""

    start: int
    end: int


def walk(
    offsets: OffsetMap,
    source: SourcePartition,
    target: TargetPartition,
    bounds: Bounds,
    target_bounds: Bounds,
    given_up: Sequence[tuple[int, int]],
    spans: SpansOf = spans_of,
    start_at: ReadingFrom = reading_from,
    *,
    ours: int | None = None,
) -> Iterator[Walked]:
    """Follow `engine.logs.walking.walk`; a moment passes between the two logs. The last value is the result.

    Where others write to the target, only batches of the producer `ours` count there.

    Raises:
        Gone: What has to be read is gone by now.
    """
    if ours is not None and not _reaches_the_log(offsets, source, bounds, target_bounds, given_up):
        yield Walked(None)
        return
    begin = _begin(offsets, bounds.start, target_bounds.end, given_up, start_at)
    if not isinstance(begin, int):
        yield Walked(begin)
        return
    pairing = Pairing(offsets, target_bounds.end)
    known = offsets.end.target
    for here in _target_spans(target, known, target_bounds, spans, ours):
        pairing.take_target(here)
    yield Walked(None)
    if source.start > begin and pairing.lacks_source:
        raise Gone
    for each in source.batches:
        if not pairing.lacks_source:
            break
        for span in spans(each.header, begin, bounds.end, _opener(each), aborted=_is_aborted(each), given_up=given_up):
            pairing.take_source(span)
    yield Walked(pairing.place(bounds.end), pairing.last_target)


def _target_spans(
    target: TargetPartition, known: int, bounds: Bounds, spans: SpansOf, ours: int | None
) -> Iterator[Span]:
    if bounds.start > known and ours is None:
        yield known, bounds.start - known
    for batch in target.log:
        if ours is None or batch.produced.header.producer_id == ours:
            placed = batch.produced.header._replace(base_offset=batch.base)
            yield from spans(placed, max(known, bounds.start), bounds.end, _whole)


def _reaches_the_log(
    offsets: OffsetMap,
    source: SourcePartition,
    bounds: Bounds,
    target_bounds: Bounds,
    given_up: Sequence[tuple[int, int]],
) -> bool:
    """Follow `engine.logs.walking.walk` where retention took what of the target lies behind the map."""
    if target_bounds.start <= offsets.end.target:
        return True
    begin = reading_from(offsets.end, given_up)
    if bounds.start <= begin < source.start:
        raise Gone
    more = any(
        True
        for each in source.batches
        for _ in spans_of(each.header, begin, bounds.end, _opener(each), aborted=_is_aborted(each), given_up=given_up)
    )
    if bounds.start <= begin and not more:
        offsets.pass_over(Place(offsets.end.source, target_bounds.start))
        return True
    return offsets.leap(target_bounds.end)


def own_tail(target: TargetPartition, track: Track | None, bounds: Bounds, last_walked: int, ours: int) -> Tail | None:
    """Follow `engine.copy.facts._own_tail`."""
    below = [batch for batch in target.log if bounds.start < batch.next_offset <= bounds.end]
    if track is None:
        found = [batch for batch in below if batch.produced.header.producer_id == ours][-1:]
        last = found[0].next_offset - 1 if found else -1
    else:
        recorded = track.offsets.last_run_end.target - 1 if len(track.offsets) else -1
        last = recorded if last_walked < 0 else last_walked
        found = [batch for batch in below if batch.base <= last < batch.next_offset] if last >= bounds.start else []
    if not found:
        return None
    header = found[0].produced.header
    return Tail(
        last,
        header.producer_id,
        header.producer_epoch,
        header.last_sequence,
        header.max_timestamp,
        found[0].produced.records[last - found[0].base],
    )


def _begin(
    offsets: OffsetMap, source_start: int, target_end: int, given_up: Sequence[tuple[int, int]], start_at: ReadingFrom
) -> int | Place | None:
    """Return where on the source the walk begins; a place or None where there is nothing to walk along."""
    while True:
        if target_end < offsets.end.target:
            offsets.cut(target_end)
        if target_end <= offsets.end.target:
            return offsets.end if target_end == offsets.end.target else None
        begin = start_at(offsets.end, given_up)
        if source_start <= begin:
            return begin
        if not offsets.leap(target_end):
            return None


def _whole(_header: object) -> list[object]:
    raise AssertionError("a batch of ours never has to be opened")


def _opener(batch: SourceBatch) -> Callable[[object], Sequence[SourceRecord]]:
    return lambda _: batch.unpack()


def _is_aborted(batch: SourceBatch) -> bool:
    return batch.header.producer_id in {ABORTED_PRODUCER, FLOW_PRODUCER}


def source_view(
    source: SourcePartition,
    last: int,
    upper: int,
    bounds: Bounds,
    given_up: Sequence[tuple[int, int]],
) -> View:
    """Follow `engine.copy.facts._source_view`.

    Raises:
        Gone: What has to be read is gone by now.
    """
    begin, end = max(last, bounds.start), min(upper, bounds.end)
    content: int | None = None
    epoch, reached = -1, begin
    if begin < end and source.start > begin:
        raise Gone
    for batch in source.batches:
        header = batch.header
        if begin >= end or header.next_offset <= begin or header.base_offset >= end:
            continue
        epoch, reached = header.leader_epoch, header.next_offset
        if _is_aborted(batch) or header.is_control or not header.record_count:
            continue
        content = next((record for offset, record in batch.records if offset == last), content)
        behind = [
            offset
            for offset, _ in batch.records
            if last < offset < end and not any(first <= offset < stop for first, stop in given_up)
        ]
        if behind:
            return View(content, epoch, behind[0])
    return View(content, epoch if reached >= end else -1, None)
