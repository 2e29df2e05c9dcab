"""What an attach reads of the model's logs, as `engine.attach` and `engine.walk` do."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from replicator.core.offset_map import OffsetMap, Place
from replicator.core.pairing import Pairing, Span, reading_from, spans_of
from tests.property.model_broker import ABORTED_PRODUCER, SourceBatch, SourcePartition, TargetPartition

SpansOf = Callable[..., Iterator[Span]]
ReadingFrom = Callable[[Place, Sequence[tuple[int, int]]], int]


class Gone(Exception):
    """Retention was faster: the read is refused."""


class View(NamedTuple):
    """As `engine.attach._View`."""

    content: int | None
    epoch: int
    unfilled: int | None


class Bounds(NamedTuple):
    """As `engine.attach._Bounds`; the model has no open transactions."""

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
) -> Iterator[Place | None]:
    """Follow `engine.walk.walk`; a moment passes between the two logs. The last value is the result.

    Raises:
        Gone: What has to be read is gone by now.
    """
    begin = _begin(offsets, bounds.start, target_bounds.end, given_up, start_at)
    if not isinstance(begin, int):
        yield begin
        return
    pairing = Pairing(offsets, target_bounds.end)
    known = offsets.end.target
    if target_bounds.start > known:
        pairing.take_target((known, target_bounds.start - known))
    for batch in target.log:
        placed = batch.produced.header._replace(base_offset=batch.base)
        for span in spans(placed, max(known, target_bounds.start), target_bounds.end, _whole):
            pairing.take_target(span)
    yield None
    if source.start > begin and pairing.lacks_source:
        raise Gone
    for each in source.batches:
        if not pairing.lacks_source:
            break
        for span in spans(each.header, begin, bounds.end, _opener(each), aborted=_is_aborted(each), given_up=given_up):
            pairing.take_source(span)
    yield pairing.place(bounds.end)


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


def _opener(batch: SourceBatch) -> Callable[[object], object]:
    return lambda _: batch.unpack()


def _is_aborted(batch: SourceBatch) -> bool:
    return batch.header.producer_id == ABORTED_PRODUCER


def source_view(
    source: SourcePartition,
    last: int,
    upper: int,
    bounds: Bounds,
    given_up: Sequence[tuple[int, int]],
) -> View:
    """Follow `engine.attach._source_view`.

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
        if header.next_offset <= begin or header.base_offset >= end:
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
