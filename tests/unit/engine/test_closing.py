"""What a switch tells of consumer groups."""

from __future__ import annotations

import pytest

from replicator.engine.switch.closing import noted
from replicator.model.groups import GroupOutcome, GroupPartition, GroupState
from replicator.model.switch import Cut

STANDS = (
    GroupPartition("a", "west.a", 0, GroupState.IN_STEP, 90, 90, 0),
    GroupPartition("a", "west.a", 1, GroupState.WAITING, 50, None),
    GroupPartition("gone", "gone", 0, GroupState.IN_STEP, 7, 7, 0),
)
CUTS = (Cut("a", 0, 1000, 1100, "west.a"), Cut("a", 1, 60, 60, "west.a"))


@pytest.mark.parametrize(
    ("known", "cut", "detail", "expected"),
    [
        (3, 0, None, "g: offsets read again: 3 as far as is known, 1,070 at most"),
        (
            None,
            4,
            "why",
            "g: why, offsets read again: 1,070 at most, 4 offsets of what it had read were never copied",
        ),
    ],
)
def test_a_source_that_cannot_be_asked(known: int | None, cut: int, detail: str | None, expected: str) -> None:
    """A group may have worked on all that was copied since it was seen last: that is told beside what is known."""
    outcome = GroupOutcome(
        "g",
        GroupState.WAITING,
        exact=False,
        reread_records=known,
        cut_records=cut,
        detail=detail,
        partitions=STANDS,
    )
    found = noted([outcome], CUTS)
    assert (found.exact, found.inexact_count, found.inexact) == (0, 1, (expected,))


def test_a_source_that_was_asked() -> None:
    """What is read again is known."""
    some = [
        GroupOutcome("exact", GroupState.IN_STEP, exact=True, partitions=STANDS),
        GroupOutcome("g", GroupState.CHANGED_ON_TARGET, exact=False, reread_records=1200, partitions=STANDS),
    ]
    found = noted(some)
    assert (found.exact, found.inexact) == (1, ("g: changed on target, reads 1,200 offsets again",))
