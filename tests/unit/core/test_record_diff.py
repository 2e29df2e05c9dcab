"""Comparing two streams of records."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from replicator.core.verify.record_diff import Difference, Kind, Questions, RecordDiff
from replicator.core.verify.rows import Row


def rows(count: int, first: int = 0) -> list[Row]:
    """Return that many different records."""
    return [(at, 1000 + at, b"k%d" % at, b"v%d" % at, [("h", b"1"), ("h", None)]) for at in range(first, first + count)]


def compare(source: list[Row], target: list[Row], *, compacted: bool = False, chunk: int = 1000) -> RecordDiff:
    """Compare in chunks, the target's half as large as the source's."""
    diff = RecordDiff(0, compacted=compacted)
    left, right = iter(_chunks(source, chunk)), iter(_chunks(target, max(1, chunk // 2)))
    ours: list[Row] = []
    theirs: list[Row] = []
    source_done = target_done = False
    while not (source_done and target_done and not ours and not theirs):
        if not ours and not source_done:
            ours = next(left, [])
            source_done = not ours
        if not theirs and not target_done:
            theirs = next(right, [])
            target_done = not theirs
        ours, theirs = diff.feed(ours, theirs, source_done=source_done, target_done=target_done)
    diff.finish()
    return diff


def _chunks(of: list[Row], size: int) -> list[list[Row]]:
    return [of[at : at + size] for at in range(0, len(of), size)]


def test_equal_streams_are_equal_in_any_chunks() -> None:
    """Chunk sizes change neither the result nor the digest."""
    digests = set()
    for chunk in (1, 3, 7, 100):
        diff = compare(rows(50), rows(50), chunk=chunk)
        assert (diff.records, diff.counts, diff.first) == (50, {}, ())
        digests.add((diff.digest, diff.bytes))
    assert len(digests) == 1


def test_one_changed_byte_is_found_with_its_place() -> None:
    """A single byte of a value."""
    target = rows(50)
    target[20] = (20, 1020, b"k20", b"v2X", target[20][4])

    diff = compare(rows(50), target)

    assert diff.counts == {Kind.VALUE: 1}
    assert (diff.first[0].offset, diff.first[0].kind) == (20, Kind.VALUE)
    assert "from byte 2" in diff.first[0].detail


def test_every_field_counts() -> None:
    """Time, key, headers (value, order, absence) and null against empty are all differences."""
    row = rows(1)[0]
    changed: list[tuple[Row, Kind]] = [
        ((0, 1001, *row[2:]), Kind.TIMESTAMP),
        ((0, 1000, None, *row[3:]), Kind.KEY),
        ((0, 1000, b"", *row[3:]), Kind.KEY),
        ((0, 1000, b"k0", None, row[4]), Kind.VALUE),
        ((0, 1000, b"k0", b"v0", [("h", None), ("h", b"1")]), Kind.HEADERS),
        ((0, 1000, b"k0", b"v0", [("h", b"1"), ("h", b"")]), Kind.HEADERS),
        ((0, 1000, b"k0", b"v0", [("h", b"1")]), Kind.HEADERS),
        ((0, 1000, b"k0", b"v0", None), Kind.HEADERS),
    ]
    for other, kind in changed:
        assert compare([row], [other]).counts == {kind: 1}


def test_payload_never_shows() -> None:
    """A difference tells sizes and digests, not what is in the record."""
    secret = b"card 4111"
    diff = compare([(0, 1, secret, secret, [("h", secret)])], [(0, 1, b"x", b"x", [("h", b"x")])])
    assert "4111" not in diff.first[0].detail


def test_records_on_one_side_only() -> None:
    """A gap, a surplus, and tails on either side."""
    source, target = rows(30), rows(30)
    del target[10:12]
    del source[20]
    assert compare(source, target).counts == {Kind.MISSING: 2, Kind.EXTRA: 1}
    assert compare(rows(30), rows(25)).counts == {Kind.MISSING: 5}
    assert compare(rows(25), rows(30)).counts == {Kind.EXTRA: 5}


def test_offsets_that_fall_are_reported() -> None:
    """A log never goes back; a side that does is named."""
    target = rows(10)
    target[5], target[6] = target[6], target[5]
    assert Kind.ORDER in compare(rows(10), target).counts


def test_only_the_first_are_kept_and_all_are_counted() -> None:
    """Memory does not grow with the number of differences."""
    target = [(offset, when + 1, key, value, headers) for offset, when, key, value, headers in rows(1000)]
    diff = compare(rows(1000), target)
    assert diff.counts == {Kind.TIMESTAMP: 1000}
    assert [found.offset for found in diff.first] == list(range(10))


def test_compaction_excuses_superseded_records_and_tombstones() -> None:
    """A cleaner may have run on one side only."""
    source: list[Row] = [
        (0, 1, b"a", b"1", None),
        (1, 1, b"b", b"1", None),
        (2, 1, b"c", None, None),
        (3, 1, b"a", b"2", None),
    ]
    target = [source[1], source[3]]

    diff = compare(source, target, compacted=True)

    assert (diff.counts, diff.excused) == ({}, 2)
    assert compare(source, target).counts == {Kind.MISSING: 2}


def test_compaction_never_excuses_the_last_record_of_a_key() -> None:
    """Cleaners keep it, so its absence is a loss."""
    source: list[Row] = [(0, 1, b"a", b"1", None), (1, 1, b"b", b"1", None)]
    diff = compare(source, source[1:], compacted=True)
    assert diff.counts == {Kind.MISSING: 1}


@given(st.sets(st.integers(0, 60)), st.sets(st.integers(0, 60)), st.sets(st.integers(0, 60)), st.integers(1, 20))
def test_counts_are_those_of_sets(source_gaps: set[int], target_gaps: set[int], changed: set[int], chunk: int) -> None:
    """Whatever is missing, extra or changed is counted exactly once, in any chunks."""
    source = [row for row in rows(60) if row[0] not in source_gaps]
    target = [
        (row[0], row[1], row[2], b"other", row[4]) if row[0] in changed else row
        for row in rows(60)
        if row[0] not in target_gaps
    ]
    ours, theirs = {row[0] for row in source}, {row[0] for row in target}

    diff = compare(source, target, chunk=chunk)

    assert diff.counts[Kind.MISSING] == len(ours - theirs)
    assert diff.counts[Kind.EXTRA] == len(theirs - ours)
    assert diff.counts[Kind.VALUE] == len(ours & theirs & changed)
    assert diff.records == len(ours & theirs)


def keyed(offset: int, key: bytes) -> Row:
    """Return a record of a compacted topic."""
    return (offset, 1000, key, b"v", None)


def test_a_question_stays_open_from_chunk_to_chunk_until_it_is_settled() -> None:
    """A later record of its key explains it; one below the mark that none explained is a difference."""
    told: list[Difference] = []
    diff = RecordDiff(0, compacted=True, report=told.append)
    diff.feed([keyed(1, b"a"), keyed(2, b"b")], [keyed(3, b"c")], source_done=True, target_done=True)
    assert (diff.open_questions, told) == (3, [])

    diff.feed([keyed(9, b"a")], [keyed(9, b"a")], source_done=True, target_done=True)
    assert (diff.open_questions, diff.excused) == (2, 1)

    diff.settle(3)
    assert [(found.offset, found.kind) for found in told] == [(2, Kind.MISSING)]
    assert diff.open_questions == 1
    diff.finish()
    assert diff.counts == {Kind.MISSING: 1, Kind.EXTRA: 1}


def test_questions_are_bounded() -> None:
    """Beyond the bound they are called different, or nothing is said of them."""
    rows = [keyed(at, b"%d" % at) for at in range(5)]
    for beyond_differ, expected in ((True, (3, 0)), (False, (0, 3))):
        diff = RecordDiff(0, compacted=True, questions=Questions(2, beyond_differ=beyond_differ))
        diff.feed(rows, [], source_done=True, target_done=True)
        assert (sum(diff.counts.values()), diff.unjudged, diff.open_questions) == (*expected, 2)
