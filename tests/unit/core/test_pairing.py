"""Both logs walked along record by record, and what becomes of the map on the way."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import pytest

from replicator.core.copy.track import Track
from replicator.core.offsets.offset_map import OffsetMap, OffsetPair, Run
from replicator.core.offsets.pairing import Pairing, reading_from, spans_of
from replicator.errors import BugError
from replicator.model.batch import CONTROL_BIT, BatchHeader


class Record(NamedTuple):
    """A record of an opened batch."""

    offset: int


def header(base: int, span: int, **changes: int) -> BatchHeader:
    """Return a header of a batch over `span` offsets, full unless changed."""
    return BatchHeader(base, 88, 0, 2, 0, 0, span - 1, 50, 50, 5, 0, 0, span, 0)._replace(**changes)


def never(_: BatchHeader) -> Sequence[Record]:
    """Fail: the header tells."""
    raise AssertionError("a batch was opened whose header tells")


def test_a_full_batch_is_not_opened() -> None:
    """Cut to what is asked for, and without what was given up."""
    assert list(spans_of(header(10, 10), 12, 18, never)) == [(12, 6)]
    assert list(spans_of(header(10, 10), 0, 99, never, given_up=[(12, 14), (19, 30)])) == [(10, 2), (14, 5)]
    assert list(spans_of(header(10, 10), 0, 99, never, given_up=[(5, 12)])) == [(12, 8)]
    assert list(spans_of(header(10, 10), 30, 40, never)) == []


def test_what_is_never_copied_holds_no_span() -> None:
    """Markers, aborted batches, empty ones, and a batch that was given up, damaged perhaps."""
    assert list(spans_of(header(10, 1, attributes=CONTROL_BIT), 0, 99, never)) == []
    assert list(spans_of(header(10, 5), 0, 99, never, aborted=True)) == []
    assert list(spans_of(header(10, 5, record_count=0), 0, 99, never)) == []
    assert list(spans_of(header(10, 5, record_count=3), 0, 99, never, given_up=[(10, 15)])) == []


def test_a_batch_with_holes_is_opened() -> None:
    """Its records in runs."""
    records = [Record(offset) for offset in (10, 11, 13, 15, 16)]

    found = spans_of(header(10, 7, record_count=5), 11, 99, lambda _: records, given_up=[(15, 16)])

    assert list(found) == [(11, 1), (13, 1), (16, 1)]


def test_the_nth_record_is_the_nth() -> None:
    """Whatever the spans are cut to."""
    offsets = OffsetMap(OffsetPair(0, 100))
    pairing = Pairing(offsets, 107)
    pairing.take_target((100, 4))
    waited = [pairing.lacks_source]
    pairing.take_source((2, 3))
    pairing.take_source((7, 9))
    waited.append(pairing.lacks_source)
    pairing.take_target((105, 2))

    assert waited == [True, False]
    assert pairing.place(50) == OffsetPair(10, 107)
    assert list(offsets.runs()) == [Run(2, 100, 3), Run(7, 103, 1), Run(8, 105, 2)]


def test_records_without_a_counterpart_lie_beyond_the_source() -> None:
    """By as many as there are: the caller then names a truncated source."""
    pairing = Pairing(OffsetMap(OffsetPair(0, 0)), 5)
    pairing.take_target((0, 5))
    pairing.take_source((0, 3))

    assert pairing.place(3) == OffsetPair(5, 5)


def test_a_gap_that_was_given_up_is_leapt() -> None:
    """Over several ranges, in order."""
    assert reading_from(OffsetPair(10, 4), [(3, 10), (10, 20), (20, 25)]) == 25
    assert reading_from(OffsetPair(9, 4), [(10, 20)]) == 9


# -- blocks behind a gap, and maps that were not proven -----------------------------------------------------------


def test_blocks_behind_a_gap_are_kept_for_when_the_logs_do_not_tell() -> None:
    """The map begins anew behind the gap; what is below is not known."""
    first, third = OffsetMap.of(OffsetPair(0, 0), [Run(0, 0, 4)]), OffsetMap.of(OffsetPair(20, 14), [Run(21, 14, 4)])
    offsets = OffsetMap(OffsetPair(0, 0))
    offsets.restore([third.open_block(), first.open_block()])
    assert offsets.end == OffsetPair(4, 4)
    assert offsets.known_beyond == OffsetPair(25, 18)

    assert [offsets.leap(13), offsets.leap(18)] == [False, True]
    assert (offsets.begin, offsets.end) == (OffsetPair(20, 14), OffsetPair(25, 18))
    assert [offsets.leap(18)] == [False]


def test_a_map_steps_back_to_where_it_is_sure() -> None:
    """What was left out behind the last record is looked at again; never what was copied."""
    track = Track(OffsetMap.of(OffsetPair(0, 0), [Run(0, 0, 4)]), mapped=True)
    track.begin(OffsetPair(4, 4))
    track.skip(9, 5)
    assert (track.offsets.end, track.sure) == (OffsetPair(9, 4), OffsetPair(4, 4))

    track.forget_skips()
    assert track.offsets.end == OffsetPair(4, 4)
    with pytest.raises(BugError, match="lies within the runs"):
        track.offsets.step_back(OffsetPair(3, 3))


def test_a_walk_that_did_not_match_is_forgotten() -> None:
    """The runs it found are no facts."""
    track = Track(OffsetMap.of(OffsetPair(0, 0), [Run(0, 0, 4)]), mapped=True)
    track.offsets.add(Run(6, 4, 3))

    track.forget_walk()

    assert list(track.offsets.runs()) == [Run(0, 0, 4)]
    assert track.offsets.end == OffsetPair(4, 4)
