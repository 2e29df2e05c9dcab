"""Digests of ranges of offsets, so that two sides can be compared without carrying records between them.

Ranges lie on a grid: range n holds the offsets from n * size up to, not including, (n + 1) * size. The first and the
last range of a side are cut to what that side covers, and only ranges with the same bounds on both sides can be
compared.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from operator import itemgetter

from replicator.core.verify.rows import DIGEST_BYTES, Row, row_bytes

RANGE_OFFSETS_DEFAULT = 100_000
_OFFSET = itemgetter(0)


@dataclass(frozen=True, slots=True)
class RangeDigest:
    """One range of one side: offsets [start, end), the records in it, and their digest in hexadecimal digits."""

    start: int
    end: int
    records: int
    digest: str


@dataclass(frozen=True, slots=True)
class RangePair:
    """The same offsets on both sides."""

    source: RangeDigest
    target: RangeDigest

    @property
    def start(self) -> int:
        """First offset."""
        return self.source.start

    @property
    def end(self) -> int:
        """End of the range."""
        return self.source.end

    @property
    def equal(self) -> bool:
        """Whether both sides hold the same records."""
        return self.source == self.target


class RangeDigester:
    """Digests one side of one partition; fed in the order of offsets, in chunks of any size.

    Args:
        start: First offset covered.
        range_offsets: Size of the grid.
    """

    def __init__(self, start: int, range_offsets: int) -> None:
        self._size = range_offsets
        self._done: list[RangeDigest] = []
        self._begin(start)

    @property
    def ranges(self) -> tuple[RangeDigest, ...]:
        """The complete ranges, in order; with a hole where a log start moved during the read."""
        return tuple(self._done)

    def feed(self, rows: list[Row]) -> None:
        """Add the next records."""
        while rows:
            here = len(rows) if rows[-1][0] < self._end else bisect_left(rows, self._end, key=_OFFSET)
            if here:
                for blob in row_bytes(rows[:here]):
                    self._hash.update(blob)
                self._records += here
            rows = rows[here:]
            if rows:
                self.reach(rows[0][0])

    def reach(self, offset: int) -> None:
        """Complete every range that ends at or below `offset`: all records below it were added."""
        while self._end <= offset:
            self._complete(self._end)

    def finish(self, end: int) -> None:
        """Complete the last range: nothing from `end` on is covered."""
        self.reach(end)
        if self._start < end:
            self._complete(end)

    def restart(self, offset: int) -> None:
        """Continue at a higher log start: complete ranges below it stay, the rest is read again or gone."""
        self._done = [done for done in self._done if done.end <= offset]
        self._begin(offset)

    def _begin(self, start: int) -> None:
        self._start = start
        self._end = (start // self._size + 1) * self._size
        self._records = 0
        self._hash = hashlib.blake2b(digest_size=DIGEST_BYTES)

    def _complete(self, end: int) -> None:
        self._done.append(RangeDigest(self._start, end, self._records, self._hash.hexdigest()))
        self._begin(end)


def paired(source: Sequence[RangeDigest], target: Sequence[RangeDigest]) -> tuple[RangePair, ...]:
    """Return the ranges that both sides cover with the same bounds, in order."""
    others = {(found.start, found.end): found for found in target}
    both = ((found, others.get((found.start, found.end))) for found in source)
    return tuple(RangePair(found, other) for found, other in both if other is not None)
