"""Digests of ranges of offsets."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from replicator.core.verify.range_digest import RangeDigest, RangeDigester, paired
from replicator.core.verify.rows import Row


def rows(*offsets: int, value: bytes = b"v") -> list[Row]:
    """Return records at these offsets."""
    return [(at, 1000 + at, b"k", value, [("h", b"1"), ("h", None)]) for at in offsets]


def digests(of: list[Row], start: int = 0, end: int = 100, size: int = 10, chunk: int = 1000) -> list[RangeDigest]:
    """Digest them, in chunks."""
    digester = RangeDigester(start, size)
    for at in range(0, len(of), chunk):
        digester.feed(of[at : at + chunk])
    digester.finish(end)
    return list(digester.ranges)


def test_ranges_lie_on_the_grid_and_are_cut_at_both_ends() -> None:
    """Also where there is no record: every offset belongs to one range."""
    found = digests(rows(3, 4, 25, 29, 30), start=3, end=34)
    assert [(one.start, one.end, one.records) for one in found] == [(3, 10, 2), (10, 20, 0), (20, 30, 2), (30, 34, 1)]


def test_nothing_to_cover_has_no_range() -> None:
    """An empty log, and one that ends on the grid."""
    assert digests([], start=0, end=0) == []
    assert digests([], start=20, end=20) == []
    assert [(one.start, one.end) for one in digests([], start=5, end=20)] == [(5, 10), (10, 20)]


@given(
    st.lists(st.integers(0, 99), unique=True).map(sorted),
    st.integers(1, 40),
    st.integers(1, 7),
)
def test_chunks_do_not_matter(offsets: list[int], size: int, chunk: int) -> None:
    """However the records arrive, the digests are the same, and together they hold all records."""
    whole = digests(rows(*offsets), size=size)
    assert digests(rows(*offsets), size=size, chunk=chunk) == whole
    assert sum(one.records for one in whole) == len(offsets)
    assert [one.start for one in whole] == list(range(0, 100, size))


@given(st.lists(st.integers(0, 99), unique=True, min_size=1).map(sorted), st.data())
def test_one_changed_record_changes_its_range_only(offsets: list[int], data: st.DataObject) -> None:
    """A range is where to look for it."""
    at = data.draw(st.integers(0, len(offsets) - 1))
    source = rows(*offsets)
    target = [*source[:at], *rows(offsets[at], value=b"w"), *source[at + 1 :]]

    differing = [pair for pair in paired(digests(source), digests(target)) if not pair.equal]

    assert [(pair.start, pair.end) for pair in differing] == [(offsets[at] // 10 * 10, offsets[at] // 10 * 10 + 10)]


def test_a_moved_record_changes_the_digest() -> None:
    """The offset is part of it: the same records one offset further on are not the same."""
    source, target = digests(rows(1, 2)), digests([(at + 1, *row[1:]) for at, row in enumerate(rows(1, 2))])
    assert source == target
    moved = digests([(row[0] + 1, *row[1:]) for row in rows(1, 2)])
    assert source[0].digest != moved[0].digest


def test_a_log_start_that_moves_cuts_a_range() -> None:
    """What was complete below it stays; what is read again is not counted twice."""
    digester = RangeDigester(0, 10)
    digester.feed(rows(1, 11, 21))
    digester.restart(25)
    digester.feed(rows(26))
    digester.finish(30)
    assert [(one.start, one.end, one.records) for one in digester.ranges] == [(0, 10, 1), (10, 20, 1), (25, 30, 1)]

    digester.restart(12)
    digester.finish(20)
    assert [(one.start, one.end, one.records) for one in digester.ranges] == [(0, 10, 1), (12, 20, 0)]


def test_only_the_same_bounds_are_compared() -> None:
    """A range that one side has cut elsewhere says nothing."""
    source, target = digests(rows(5, 15, 25), end=30), digests(rows(5, 15), start=4, end=18)
    assert [(pair.start, pair.end) for pair in paired(source, target)] == []
    target = digests(rows(15), start=7, end=28)
    assert [(pair.start, pair.equal) for pair in paired(source, target)] == [(10, True)]
