"""Pairs the records of a mapped target with those of its source: the nth copied one with the nth one there.

Pure: spans read in a walk along both logs go in, and a map that reaches the target's end comes out
(`engine.logs.ranges.walking` reads them, and so does the simulation).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from replicator.core.offsets.offset_map import OffsetMap, OffsetPair, Run
from replicator.model.batch import MAGIC_V2

if TYPE_CHECKING:
    from replicator.model.batch import BatchHeader, Unpacked

Span = tuple[int, int]
"""Offsets that hold records to copy: the first, and how many."""
Ranges = Sequence[tuple[int, int]]
"""Offsets, from and to."""


def spans_of(
    header: BatchHeader,
    begin: int,
    end: int,
    unpack: Callable[[BatchHeader], Sequence[Unpacked]],
    *,
    aborted: bool = False,
    given_up: Ranges = (),
) -> Iterator[Span]:
    """Yield the spans of a batch that hold records to copy, from `begin` up to `end`.

    A batch is opened only if its header does not say: a damaged batch that was given up cannot be opened.

    Raises:
        CorruptRecords: A batch that had to be opened is damaged.
    """
    if aborted or header.is_control or header.record_count == 0:
        return
    low, high = max(begin, header.base_offset), min(end, header.next_offset)
    if any(first <= low and high <= last for first, last in given_up):
        return
    if header.magic == MAGIC_V2 and header.record_count == header.last_offset_delta + 1:
        yield from _without((low, high), given_up)
        return
    run: Span | None = None
    for offset in (each.offset for each in unpack(header)):
        if not begin <= offset < end or any(first <= offset < last for first, last in given_up):
            continue
        if run is not None and run[0] + run[1] == offset:
            run = (run[0], run[1] + 1)
            continue
        if run is not None:
            yield run
        run = (offset, 1)
    if run is not None:
        yield run


def _without(span: tuple[int, int], ranges: Ranges) -> Iterator[Span]:
    low, high = span
    for first, end in ranges:
        if end <= low or first >= high:
            continue
        if first > low:
            yield low, first - low
        low = end
    if low < high:
        yield low, high - low


def reading_from(place: OffsetPair, given_up: Ranges) -> int:
    """Return the source offset at which to continue reading after a place, skipping what was given up."""
    offset = place.source
    for first, end in given_up:
        if first <= offset < end:
            offset = end
    return offset


class Pairing:
    """Extends a map to the target's end.

    Args:
        offsets: The known map; it grows.
        target_end: The target's end.

    Attributes:
        last_target: Offset of the last target record that was taken, paired or not; -1 for none.
    """

    __slots__ = ("_offsets", "_source", "_target", "_target_end", "last_target")

    def __init__(self, offsets: OffsetMap, target_end: int) -> None:
        self._offsets = offsets
        self._target_end = target_end
        self._source: deque[Span] = deque()
        self._target: deque[Span] = deque()
        self.last_target = -1

    @property
    def lacks_source(self) -> bool:
        """Whether records of the target wait for those of the source."""
        return bool(self._target)

    def take_source(self, span: Span) -> None:
        """Take the source's next span."""
        self._source.append(span)
        self._pair()

    def take_target(self, span: Span) -> None:
        """Take the target's next span."""
        self.last_target = sum(span) - 1
        self._target.append(span)
        self._pair()

    def _pair(self) -> None:
        while self._source and self._target:
            (there, left), (here, count) = self._source.popleft(), self._target.popleft()
            taken = min(left, count)
            self._offsets.add(Run(there, here, taken))
            if left > taken:
                self._source.appendleft((there + taken, left - taken))
            if count > taken:
                self._target.appendleft((here + taken, count - taken))

    def add_surplus(self, source_end: int) -> None:
        """Map surplus records of the target beyond the source's end, once both logs were read."""
        for here, count in self._target:
            self._offsets.add(Run(max(source_end, self._offsets.end.source), here, count))
        self._target.clear()

    def place(self, source_end: int) -> OffsetPair:
        """Return the place of the target's end, once both logs were read.

        If the target holds more records than the source has, it lies beyond the source's end by as many.
        """
        if self._target:
            return OffsetPair(source_end + sum(count for _, count in self._target), self._target_end)
        place = OffsetPair(self._offsets.end.source, self._target_end)
        self._offsets.pass_over(place)
        return place
