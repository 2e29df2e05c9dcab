"""Where a copy goes on in two logs that hold the same records."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replicator.core.offsets.alike import equal_down_to, place_after, place_without_records
from replicator.core.offsets.offset_map import OffsetPair


@pytest.mark.parametrize(
    ("last", "target_end", "next_record", "place"),
    [
        (OffsetPair(34, 34), 42, 42, OffsetPair(42, 42)),  # both end with the same hole
        (OffsetPair(34, 34), 42, 60, OffsetPair(42, 42)),  # the source's hole is longer: the rest of it is filled
        (OffsetPair(34, 34), 42, 38, OffsetPair(38, 42)),  # the source goes on before: four markers too many
        (OffsetPair(34, 34), 35, 35, OffsetPair(35, 35)),  # no hole at all
        (OffsetPair(34, 14), 20, 50, OffsetPair(40, 20)),  # mapped: the difference stays
        (OffsetPair(14, 34), 40, 15, OffsetPair(15, 40)),
    ],
)
def test_behind_the_last_record(last: OffsetPair, target_end: int, next_record: int, place: OffsetPair) -> None:
    """A hole at the end of both logs changes no difference; no record of the source is passed over."""
    assert place_after(last, target_end, next_record) == place


@given(st.integers(0, 99), st.integers(0, 99), st.integers(0, 99), st.integers(0, 99))
def test_no_record_is_passed_over(source: int, target: int, markers: int, hole: int) -> None:
    """Whatever the logs look like, the place lies between the record and the next one."""
    place = place_after(OffsetPair(source, target), target + 1 + markers, source + 1 + hole)
    assert source < place.source <= source + 1 + hole
    assert place.target == target + 1 + markers


@pytest.mark.parametrize(
    ("source_start", "next_record", "target_start", "target_end", "place"),
    [
        (0, 7, 0, 7, OffsetPair(7, 7)),  # markers on both
        (0, 3, 0, 7, OffsetPair(3, 7)),  # markers that nobody needs
        (500, 500, 500, 500, OffsetPair(500, 500)),  # emptied by retention on both
        (0, 3, 500, 500, None),  # emptied by retention on the target alone: what was copied nothing tells
        (20, 30, 0, 10, OffsetPair(20, 10)),
    ],
)
def test_a_target_without_records(
    source_start: int, next_record: int, target_start: int, target_end: int, place: OffsetPair | None
) -> None:
    """It goes on where the source's next record shows that nothing is passed over, or not at all."""
    assert place_without_records(source_start, next_record, target_start, target_end) == place


def test_equal_ranges() -> None:
    """Down to the last offset at which one side holds something else, or nothing."""
    assert equal_down_to({5: "a", 7: "b"}, {5: "a", 7: "b"}, 5) == 5
    assert equal_down_to({5: "a", 7: "b"}, {5: "x", 7: "b"}, 5) == 6
    assert equal_down_to({5: "a", 7: "b"}, {5: "a", 6: "c", 7: "b"}, 5) == 7
    assert equal_down_to({5: "a"}, {}, 0) == 6
    assert equal_down_to({}, {}, 3) == 3
