"""The picture of a flow that several daemons copy."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from replicator.core.status.whole_flow import elsewhere, has_parts_elsewhere, merged, who_resolves
from replicator.errors import Conflict
from replicator.model.operations.resolution import How, ResolutionOrder
from replicator.model.status.snapshots import FlowStatus, FlowTotals, MirrorStatus, PartitionStatus
from replicator.model.status.states import FlowState, MirrorState, Reason


def copied(partition: int, **known: Any) -> PartitionStatus:
    """Return a partition as the daemon tells that copies it."""
    return PartitionStatus(partition, known.pop("state", MirrorState.ACTIVE), **known)


def held(partition: int, holder: str) -> PartitionStatus:
    """Return a partition as another daemon tells."""
    return PartitionStatus(partition, MirrorState.ACTIVE, Reason.HELD_ELSEWHERE, f"copied by {holder}", holder=holder)


def flow(*partitions: PartitionStatus, **known: Any) -> FlowStatus:
    """Return a flow of one mirror."""
    state = known.pop("mirror_state", MirrorState.ACTIVE)
    mirrors = (MirrorStatus("orders", "orders", state, partitions=partitions),)
    return FlowStatus("f", "uid", "east", "west", FlowState.ACTIVE, mirrors=mirrors, **known)


def test_each_partition_is_told_by_who_copies_it() -> None:
    """And figures are those of all of them."""
    mine = flow(
        copied(0, lag_records=3),
        held(1, "b"),
        lag_records=3,
        rpo_seconds=1.0,
        totals=FlowTotals(10, last_progress_ms=7),
    )
    other = flow(
        held(0, "a"), copied(1, lag_records=4), lag_records=4, rpo_seconds=2.5, totals=FlowTotals(5, last_progress_ms=9)
    )
    assert elsewhere(mine) == {"b"}
    whole = merged(mine, [other], {})
    assert [one.lag_records for one in whole.mirrors[0].partitions] == [3, 4]
    assert (whole.lag_records, whole.rpo_seconds, whole.reason) == (7, 2.5, None)
    assert whole.totals is not None
    assert (whole.totals.records_total, whole.totals.last_progress_ms) == (15, 9)
    assert merged(mine, [], {"b": "no daemon answers"}).totals is None
    assert merged(mine, [replace(other, totals=None)], {}).totals is None
    assert whole.mirrors[0].reason is None


def test_a_fault_of_the_other_one_is_the_mirrors() -> None:
    """Whoever is asked."""
    broken = copied(1, state=MirrorState.FAULTED, reason=Reason.FOREIGN_WRITER, detail="someone")
    whole = merged(flow(copied(0), held(1, "b")), [flow(held(0, "a"), broken)], {})
    assert (whole.mirrors[0].state, whole.mirrors[0].reason) == (MirrorState.FAULTED, Reason.FOREIGN_WRITER)


def test_one_that_does_not_answer_is_named() -> None:
    """What it copies stays as it is known here, and the data at risk is unknown."""
    mine = flow(copied(0), held(1, "b"), lag_records=3, rpo_seconds=1.0)
    whole = merged(mine, [], {"b": "no daemon answers"})
    assert (whole.rpo_seconds, whole.lag_records, whole.source_seen_age_seconds) == (None, None, None)
    assert whole.reason is not None
    assert "daemon b" in whole.reason
    assert whole.mirrors[0].partitions[1].holder == "b"
    assert whole.mirrors[0].reason is Reason.HELD_ELSEWHERE


@pytest.mark.parametrize("others", [(), ("b",)])
def test_of_what_nobody_tells_of_nothing_is_known(others: tuple[str, ...]) -> None:
    """A shard that nobody works on, or whose holder has just started, is as old as nobody knows."""
    nobodys = PartitionStatus(1, MirrorState.PENDING, Reason.WAITING_FOR_LEASE)
    known = {"lag_records": 0, "rpo_seconds": 0.3, "source_seen_age_seconds": 0.1}
    mine = flow(copied(0), held(1, "b") if others else nobodys, **known)
    whole = merged(mine, [FlowStatus("f", "uid", "east", "west", FlowState.STARTING) for _ in others], {})
    assert (whole.lag_records, whole.rpo_seconds, whole.source_seen_age_seconds) == (None, None, None)


def test_whoever_copies_nothing_adds_no_unknown() -> None:
    """The figures are those of the daemons that copy; one whose figure is unknown makes the whole unknown."""
    idle = flow(held(0, "b"), held(1, "b"))
    busy = flow(copied(0), copied(1), lag_records=3, rpo_seconds=1.0, source_seen_age_seconds=0.2)
    whole = merged(idle, [busy], {})
    assert (whole.lag_records, whole.rpo_seconds, whole.source_seen_age_seconds) == (3, 1.0, 0.2)
    unsure = flow(held(0, "a"), copied(1), lag_records=None, rpo_seconds=None)
    whole = merged(flow(copied(0), held(1, "b"), lag_records=3, rpo_seconds=1.0), [unsure], {})
    assert (whole.lag_records, whole.rpo_seconds) == (None, None)


def test_a_part_that_reaches_a_cluster_no_more_is_the_flows() -> None:
    """Whoever is asked."""
    away = replace(flow(held(0, "a"), copied(1)), state=FlowState.UNREACHABLE, reason="west does not answer")
    whole = merged(flow(copied(0), held(1, "b")), [away], {})
    assert (whole.state, whole.reason) == (FlowState.UNREACHABLE, "west does not answer")


def test_a_part_that_nobody_knows_the_holder_of_is_no_part_of_the_figures() -> None:
    """Nobody can be asked for it, and what this daemon copies is not the whole."""
    nobody = PartitionStatus(1, MirrorState.PENDING, Reason.HELD_ELSEWHERE, "not known who works on it")
    mine = flow(copied(0), nobody, lag_records=0, rpo_seconds=0.1, source_seen_age_seconds=0.1)
    assert (has_parts_elsewhere(mine), elsewhere(mine)) == (True, set())
    whole = merged(mine, [], {})
    assert (whole.lag_records, whole.rpo_seconds, whole.source_seen_age_seconds) == (None, None, None)


def test_a_paused_mirror_stays_paused() -> None:
    """Its own state says more than its partitions."""
    mine = flow(copied(0, state=MirrorState.PAUSED), held(1, "b"), mirror_state=MirrorState.PAUSED)
    assert merged(mine, [], {}).mirrors[0].state is MirrorState.PAUSED


def stopped(partition: int, holder: str) -> PartitionStatus:
    """Return a partition that stands still."""
    return copied(partition, state=MirrorState.FAULTED, reason=Reason.FOREIGN_WRITER, holder=holder)


def test_who_resolves_a_fault() -> None:
    """Whoever copies it; of several each for its own; a topic that is made anew is anybody's."""
    order = ResolutionOrder("orders", How.ACCEPT)
    assert who_resolves(flow(copied(0, holder="a")), order, "a") is None
    assert who_resolves(flow(stopped(0, "a"), copied(1, holder="b")), order, "a") is None
    assert who_resolves(flow(copied(0, holder="a"), stopped(1, "b")), order, "a") == "b"
    both = flow(stopped(0, "a"), stopped(1, "b"), stopped(2, "b"))
    with pytest.raises(Conflict, match="2 daemons") as told:
        who_resolves(both, order, "a")
    assert "-p 0" in told.value.next_step
    assert who_resolves(both, replace(order, partitions=(1, 2)), "a") == "b"
    assert who_resolves(both, replace(order, how=How.RECREATE), "a") is None
    assert who_resolves(both, replace(order, how=How.RECREATE), "c") == "a"
