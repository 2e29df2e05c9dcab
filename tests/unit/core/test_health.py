"""What readiness and health say of a flow."""

from __future__ import annotations

from typing import Any

import pytest

from replicator.core.status.health import beside, not_ready_because, phases, stopped, unhealthy_because
from replicator.model.status.snapshots import ClusterStatus, FlowStatus, MirrorStatus, PartitionStatus
from replicator.model.status.states import FlowState, MirrorState, PartitionPhase, Reason

COPYING, ATTACHING = PartitionPhase.COPYING, PartitionPhase.ATTACHING
WAITING, STOPPED = PartitionPhase.WAITING, PartitionPhase.STOPPED


def part(
    number: int, phase: PartitionPhase | None, state: MirrorState = MirrorState.ACTIVE, reason: Reason | None = None
) -> PartitionStatus:
    """Return a partition."""
    return PartitionStatus(number, state, reason, phase=phase)


def flow(*partitions: PartitionStatus, **known: Any) -> FlowStatus:
    """Return a flow of one topic."""
    mirrors = known.pop("mirrors", (MirrorStatus("orders", "orders", MirrorState.ACTIVE, partitions=partitions),))
    return FlowStatus("e2w", "uid", "east", "west", known.pop("state", FlowState.ACTIVE), mirrors=mirrors, **known)


def test_ready_means_that_every_partition_is_copied_or_stopped_by_name() -> None:
    """What another daemon copies is its own business; what stands still is counted."""
    seen = flow(
        part(0, COPYING),
        part(1, None, reason=Reason.HELD_ELSEWHERE),
        part(2, STOPPED, MirrorState.FAULTED, Reason.FOREIGN_WRITER),
        part(3, STOPPED, reason=Reason.WAITING_FOR_ACCESS),
    )
    assert not_ready_because(seen) is None
    assert stopped(seen) == "2 of 3 partitions stopped: foreign_writer 1, waiting_for_access 1"
    assert phases(seen) == {ATTACHING: 0, COPYING: 1, WAITING: 0, STOPPED: 2}


def test_what_is_not_copied_yet_is_counted_with_what_it_waits_for() -> None:
    """Also a topic of which nothing is known but that it is meant."""
    seen = flow(
        part(0, COPYING),
        part(1, ATTACHING),
        part(2, ATTACHING, MirrorState.SEEDING),
        part(3, WAITING, reason=Reason.WAITING_FOR_LEADER),
        part(4, WAITING, reason=Reason.WAITING_FOR_LEADER),
    )
    assert not_ready_because(seen) == (
        "4 of 5 partitions of e2w are not copied now: waiting_for_leader 2, attaching 1, seeding 1"
    )
    fresh = flow(mirrors=(MirrorStatus("orders", "orders", MirrorState.PENDING),))
    assert not_ready_because(fresh) == "1 of 1 partitions of e2w are not copied now: attaching 1"


@pytest.mark.parametrize("state", [FlowState.STARTING, FlowState.UNREACHABLE, FlowState.FAULTED])
def test_a_flow_that_is_not_up_is_neither_ready_nor_healthy_and_says_why(state: FlowState) -> None:
    """Whatever its partitions were last seen to do."""
    seen = flow(part(0, COPYING), state=state, reason="west does not answer")
    assert not_ready_because(seen) == f"e2w is {state}: west does not answer"
    assert unhealthy_because(seen, None) == f"the flow is {state}: west does not answer"


@pytest.mark.parametrize("state", [FlowState.SWITCHED_OVER, FlowState.FAILED_OVER, FlowState.FENCED])
def test_what_was_switched_has_nothing_to_copy(state: FlowState) -> None:
    """Its source may be gone."""
    assert not_ready_because(flow(part(0, WAITING, reason=Reason.WAITING_FOR_LEADER), state=state)) is None


def test_a_paused_flow_is_ready_and_not_healthy() -> None:
    """It does what it was told to."""
    seen = flow(part(0, STOPPED, MirrorState.PAUSED), state=FlowState.PAUSED)
    assert not_ready_because(seen) is None
    assert stopped(seen) == "1 of 1 partitions stopped: paused 1"
    assert unhealthy_because(seen, None) == "the flow is PAUSED"


def test_one_broker_that_does_not_answer_makes_a_flow_unhealthy() -> None:
    """Though the cluster is up."""
    trouble = "west broker 2 does not answer, last heard 12.0s ago"
    clusters = (ClusterStatus("east", up=True), ClusterStatus("west", up=True, trouble=trouble))
    seen = flow(part(0, COPYING), clusters=clusters)
    assert unhealthy_because(seen, None) == trouble
    assert (not_ready_because(seen), beside(seen)) == (None, [trouble])
    waits = flow(part(0, COPYING), part(1, WAITING, reason=Reason.WAITING_FOR_LEADER), clusters=clusters)
    told = f"1 of 2 partitions of e2w are not copied now: waiting_for_leader 1; {trouble}"
    assert not_ready_because(waits) == told


def test_what_nobody_works_on_is_not_healthy() -> None:
    """Nobody may ever do."""
    seen = flow(part(0, COPYING), part(1, WAITING, reason=Reason.WAITING_FOR_LEASE))
    assert unhealthy_because(seen, None) == "orders is stopped: waiting_for_lease"


def test_a_flow_that_has_ended_says_so_once() -> None:
    """Its partitions stand still for no reason of their own."""
    seen = flow(part(0, STOPPED, MirrorState.PENDING), state=FlowState.FAULTED, reason="would feed itself")
    assert (stopped(seen), beside(seen)) == (None, [])
    assert not_ready_because(seen) == "e2w is FAULTED: would feed itself"


def test_a_topic_that_lacks_a_right_is_not_healthy() -> None:
    """It stands still as much as one that is faulted."""
    seen = flow(part(0, COPYING), part(1, STOPPED, reason=Reason.WAITING_FOR_ACCESS))
    assert unhealthy_because(seen, None) == "orders is stopped: waiting_for_access"
    switched = flow(part(0, STOPPED, MirrorState.STOPPED, Reason.FENCED))
    assert unhealthy_because(switched, None) is None
