"""Which source a flow copies from, whether it may be moved, and where two logs of one lineage differ."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replicator.core.lineage.comparison import Bisection, by_bounds, by_records
from replicator.core.lineage.sources import Lineage, RepointFacts, Source, check_repoint, moved_from
from replicator.errors import Conflict, PreflightFailed
from replicator.model.operations.lineage import GOES_ON, Bounds, Difference, LogComparison, LogStanding

A, B, C, UNKNOWN = Source("a", "A"), Source("b", "B"), Source("c", "C"), Source("a", "")
FLOW = Lineage("uid", 0, A)
FACTS = RepointFacts("f", C, copies=True)


def test_an_unknown_cluster_is_no_other() -> None:
    """Neither that of the same alias, nor another unknown one."""
    assert A.is_same(Source("other", "A"))
    assert not any(UNKNOWN.is_same(one) for one in (A, UNKNOWN))


def test_a_moved_flow_is_found_by_its_earlier_source() -> None:
    """Only if it is one: two of that name from there are two sites, and one that came back copies from it again."""
    moved = Lineage("uid", 1, B, (A,))
    assert moved_from(A, [moved]) is moved
    assert moved_from(C, [moved]) is None
    assert moved_from(UNKNOWN, [moved]) is None
    assert moved_from(A, [moved, replace(moved, uid="2")]) is None
    assert moved_from(A, [Lineage("uid", 2, A, (A, B))]) is None


def test_what_there_is_to_do() -> None:
    """Nothing where it copies from there or is about to; a topic that was created again is a reason of its own."""
    assert check_repoint(FLOW, B, FACTS)
    assert not check_repoint(FLOW, A, FACTS)
    assert check_repoint(FLOW, A, replace(FACTS, recreated=True))
    assert not check_repoint(replace(FLOW, ordered=B), B, FACTS)


@pytest.mark.parametrize(
    ("facts", "lineage", "to", "kind", "said"),
    [
        (FACTS, replace(FLOW, ordered=C), B, Conflict, "is being moved to c"),
        (FACTS, FLOW, C, PreflightFailed, "its own target"),
        (replace(FACTS, running="failover 1 is running"), FLOW, B, Conflict, "while failover 1 is running"),
        (replace(FACTS, apart=("t",)), FLOW, B, PreflightFailed, "was switched by itself"),
        (replace(FACTS, copies=False), FLOW, B, PreflightFailed, "is the open side"),
        (replace(FACTS, circle="t is copied back"), FLOW, B, PreflightFailed, "t is copied back"),
    ],
)
def test_what_cannot_be_moved(
    facts: RepointFacts, lineage: Lineage, to: Source, kind: type[Exception], said: str
) -> None:
    """Each with the next step."""
    with pytest.raises(kind, match=said) as caught:
        check_repoint(lineage, to, facts)
    assert getattr(caught.value, "next_step", "")


@given(st.data())
def test_the_first_difference_is_found(data: st.DataObject) -> None:
    """Whatever is compared at a time, and however far both logs go on after it."""
    start = data.draw(st.integers(0, 50))
    first = data.draw(st.integers(start, 400))
    search = Bisection(start, data.draw(st.integers(first, 400)))
    for _ in range(20):
        if search.done:
            break
        at = search.middle
        upper = min(at + data.draw(st.integers(1, 60)), search.differs_at + 1)
        found = max(at, first) if max(at, first) < upper else None
        search.take(at, upper, found)
        assert search.equal_to <= first <= search.differs_at
    assert search.done
    assert search.differs_at == first


def test_where_a_log_stands() -> None:
    """By its bounds where these decide, else by its records."""
    ours, theirs = Bounds(0, 10), Bounds(0, 10)
    assert by_bounds(ours, None, mapped=False) is LogStanding.MISSING
    assert by_bounds(None, theirs, mapped=False) is LogStanding.EMPTY
    assert by_bounds(ours, theirs, mapped=True) is LogStanding.MAPPED
    assert by_bounds(ours, Bounds(11, 20), mapped=False) is LogStanding.OVERTAKEN
    assert by_bounds(ours, Bounds(10, 20), mapped=False) is None
    assert by_records(ours, theirs, None) is LogStanding.EQUAL
    assert by_records(ours, Bounds(0, 12), None) is LogStanding.BEHIND
    assert by_records(ours, Bounds(0, 8), None) is LogStanding.AHEAD
    assert by_records(ours, theirs, Difference(4, 1, 2)) is LogStanding.DIFFERENT
    assert LogStanding.AHEAD not in GOES_ON
    assert LogComparison("t", 0, LogStanding.BEHIND, ours, Bounds(0, 12)).records == 2
    assert LogComparison("t", 0, LogStanding.MAPPED, ours, theirs).records is None
    assert LogComparison("t", 0, LogStanding.UNKNOWN).records is None
