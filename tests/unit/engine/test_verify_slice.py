"""One piece of a partition: where it ends, and that nothing is compared twice or left out."""

from __future__ import annotations

import threading
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replicator.core.verify.pace import Pace
from replicator.core.verify.record_diff import RecordDiff
from replicator.core.verify.rows import Row, row_size
from replicator.engine.verify.sides import TwoSides
from replicator.engine.verify.slice import Bounds, compare_slice


class Sides:
    """Two logs in memory, handed out in chunks."""

    def __init__(self, source: list[Row], target: list[Row], chunks: tuple[int, int]) -> None:
        self.opened_bytes = 0
        self._logs = source, target
        self._chunks = chunks
        self._at = [0, 0]
        self._ends = [0, 0]

    def open(self, start: int, source_end: int, target_end: int) -> None:
        """Go there."""
        self._at, self._ends = [start, start], [source_end, target_end]

    def _rows(self, side: int) -> list[Row]:
        left = [row for row in self._logs[side] if self._at[side] <= row[0] < self._ends[side]]
        rows = left[: self._chunks[side]]
        self.opened_bytes += row_size(rows)
        self._at[side] = rows[-1][0] + 1 if len(rows) < len(left) else self._ends[side]
        return rows

    def more(self, ours: list[Row], theirs: list[Row]) -> tuple[list[Row], list[Row]]:
        """Return a chunk of each side that has none."""
        return ours or self._rows(0), theirs or self.target_rows()

    def target_rows(self) -> list[Row]:
        """Return a chunk."""
        return self._rows(1)

    @property
    def source_position(self) -> int:
        """Next offset."""
        return self._at[0]

    @property
    def target_position(self) -> int:
        """Next offset."""
        return self._at[1]

    are_inside_a_batch = False

    @property
    def source_done(self) -> bool:
        """Whether all was handed out."""
        return self._at[0] >= self._ends[0]

    @property
    def target_done(self) -> bool:
        """Whether all was handed out."""
        return self._at[1] >= self._ends[1]


def row(offset: int, value: bytes = b"v") -> Row:
    """Return one record."""
    return (offset, 1000 + offset, b"k", value, None)


def compared(
    sides: TwoSides, diff: RecordDiff, bounds: Bounds, stop: threading.Event | None = None
) -> tuple[int, bool]:
    """Compare one slice; return the first offset that was not compared, and whether that was all."""
    told = [bounds.start]
    done = compare_slice(sides, diff, bounds, Pace(None), stop or threading.Event(), told.append)
    assert told == sorted(told)
    return told[-1], done


@given(
    st.sets(st.integers(0, 40)),
    st.sets(st.integers(0, 40), max_size=4),
    st.sets(st.integers(0, 40), max_size=4),
    st.tuples(st.integers(1, 9), st.integers(1, 9)),
    st.integers(1, 400),
)
def test_slices_find_what_one_comparison_finds(
    offsets: set[int], flipped: set[int], lost: set[int], chunks: tuple[int, int], bytes_max: int
) -> None:
    """Whatever the size of slices and chunks: each difference once, all records, and an end."""
    source = [row(at) for at in sorted(offsets)]
    target = [row(at, b"w" if at in flipped else b"v") for at in sorted(offsets) if at not in lost]
    sides = cast("TwoSides", Sides(source, target, chunks))
    diff = RecordDiff(0)
    at, looks = 0, 0
    while at < 41:
        before = at
        at, done = compared(sides, diff, Bounds(at, 41, 41, bytes_max))
        assert at > before
        assert done == (at == 41)
        looks += 1

    assert sorted(found.offset for found in diff.first) == sorted(offsets & (flipped | lost))
    assert diff.records == len(target)
    assert looks <= 41


def test_a_longer_target_is_extra_and_the_end_is_the_lower_one() -> None:
    """It is never told to be verified."""
    sides = cast("TwoSides", Sides([row(0)], [row(0), row(1)], (5, 5)))
    diff = RecordDiff(0)
    assert compared(sides, diff, Bounds(0, 1, 2, 1 << 20)) == (1, True)
    assert [found.offset for found in diff.first] == [1]


def test_a_stop_leaves_what_was_not_compared() -> None:
    """Nothing was fed: an empty chunk may have been cut short, and would look like the end."""
    sides = cast("TwoSides", Sides([row(0)], [row(0)], (5, 5)))
    stop = threading.Event()
    stop.set()
    diff = RecordDiff(0)
    assert compared(sides, diff, Bounds(0, 1, 1, 1 << 20), stop) == (0, False)
    assert diff.records == 0


def test_an_error_in_the_middle_compares_nothing_twice() -> None:
    """What was compared before it counts as compared."""
    source, target = [row(at) for at in range(6)], [row(at, b"w") for at in range(6)]
    logs = Sides(source, target, (2, 2))
    whole = logs.target_rows

    def fail_at_four() -> list[Row]:
        if logs.target_position >= 4:
            raise ConnectionError
        return whole()

    logs.target_rows = fail_at_four  # type: ignore[method-assign]
    sides, diff, told = cast("TwoSides", logs), RecordDiff(0), [0]
    with pytest.raises(ConnectionError):
        compare_slice(sides, diff, Bounds(0, 6, 6, 1 << 20), Pace(None), threading.Event(), told.append)
    logs.target_rows = whole  # type: ignore[method-assign]
    assert compared(sides, diff, Bounds(told[-1], 6, 6, 1 << 20)) == (6, True)
    assert (told[-1], diff.counts.total()) == (4, 6)
