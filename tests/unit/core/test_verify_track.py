"""How far a partition was verified, and how old that is."""

from __future__ import annotations

from replicator.core.verify.record_diff import Kind
from replicator.core.verify.rows import Row
from replicator.core.verify.track import VerifyTrack


def row(offset: int, key: bytes = b"k", value: bytes = b"v") -> Row:
    """Return one record."""
    return (offset, 1000, key, value, None)


def reached(track: VerifyTrack, offset: int, end: int, now: float) -> None:
    """Take a look's end."""
    track.advance(offset)
    track.observe_reached(end, now)


def test_nothing_is_known_before_the_first_look() -> None:
    """Null, not 0."""
    track = VerifyTrack(0)
    track.observe(100, 5.0)
    assert (track.through, track.age_seconds(9.0), track.differences) == (None, None, 0)


def test_the_age_is_unknown_until_the_end_of_then_was_reached() -> None:
    """And goes back to when that end was seen, not to when it was reached."""
    track = VerifyTrack(0)
    reached(track, 40, 100, 5.0)
    track.observe(200, 6.0)
    assert (track.through, track.age_seconds(7.0)) == (40, None)
    reached(track, 100, 200, 8.0)
    assert track.age_seconds(9.0) == 4.0
    reached(track, 200, 200, 10.0)
    assert track.age_seconds(11.0) == 5.0


def test_an_idle_partition_is_as_young_as_its_last_look() -> None:
    """Nothing new is news as well; without looks it ages."""
    track = VerifyTrack(0)
    reached(track, 100, 100, 5.0)
    track.observe(100, 30.0)
    assert track.age_seconds(31.0) == 1.0
    assert track.age_seconds(90.0) == 60.0


def test_a_log_that_shrank_is_verified_anew() -> None:
    """It is another log; what was found stays counted."""
    track = VerifyTrack(0)
    track.diff(compacted=False).feed([row(1)], [row(1, value=b"w")], source_done=True, target_done=True)
    reached(track, 100, 100, 5.0)
    track.observe(50, 6.0)
    assert (track.through, track.age_seconds(7.0), track.differences) == (None, None, 1)
    track.diff(compacted=False).feed([row(1)], [row(1)], source_done=True, target_done=True)
    assert track.differences == 1


def test_a_moving_log_start_takes_offsets() -> None:
    """They are counted; a start that stands below changes nothing."""
    track = VerifyTrack(0)
    reached(track, 40, 100, 5.0)
    track.skip(60)
    assert (track.through, track.take_skipped()) == (60, 20)
    track.skip(10)
    assert (track.through, track.take_skipped()) == (60, 0)


def test_the_first_difference_is_kept_and_all_are_counted() -> None:
    """Over any number of looks."""
    track = VerifyTrack(3)
    for offset in (7, 9):
        track.diff(compacted=False).feed([row(offset)], [row(offset, value=b"w")], source_done=True, target_done=True)
    assert track.first is not None
    assert (track.differences, track.first.offset, track.first.kind, track.first.partition) == (2, 7, Kind.VALUE, 3)


def test_a_one_sided_record_of_a_compacted_partition_is_judged_once_both_ends_of_then_were_passed() -> None:
    """Until then the record that explains it may be on its way to us."""
    track = VerifyTrack(0)
    track.diff(compacted=True).feed([row(1, b"a"), row(2, b"b")], [], source_done=True, target_done=True)
    reached(track, 10, 10, 5.0)
    assert track.wants_ends
    track.ends(20)
    track.settle()
    assert (track.differences, track.wants_ends) == (0, False)

    track.diff(compacted=True).feed([row(15, b"a")], [row(15, b"a")], source_done=True, target_done=True)
    reached(track, 20, 20, 6.0)
    track.settle()
    assert track.differences == 1
    assert track.first is not None
    assert track.first.offset == 2


def test_a_partition_found_to_be_compacted_later_is_compared_as_such() -> None:
    """Its settings may be known only after the first look."""
    track = VerifyTrack(0)
    plain = track.diff(compacted=False)
    assert track.diff(compacted=False) is plain
    track.diff(compacted=True).feed([row(1, b"a")], [], source_done=True, target_done=True)
    assert (track.differences, track.wants_ends) == (0, True)
