"""Whether a flow does what it should, judged from its status: readiness, health and counts of partitions."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from replicator.model.status.states import FlowState, MirrorState, PartitionPhase, Reason

if TYPE_CHECKING:
    from collections.abc import Iterator

    from replicator.model.status.snapshots import FlowStatus, MirrorStatus, PartitionStatus

_NOTHING_TO_COPY = frozenset({FlowState.FENCED, FlowState.SWITCHED_OVER, FlowState.FAILED_OVER})
_NOT_UP = frozenset({FlowState.STARTING, FlowState.UNREACHABLE, FlowState.FAULTED})


def phases(flow: FlowStatus) -> dict[PartitionPhase, int]:
    """Return how many partitions of a flow are in each phase, among those that this daemon is responsible for.

    A topic whose partitions are unknown counts as one.
    """
    found = Counter(phase for phase, _ in _partitions(flow))
    return {phase: found[phase] for phase in PartitionPhase}


def stopped(flow: FlowStatus) -> str | None:
    """Return a text about partitions that are stopped without affecting readiness; None if there are none.

    For a flow that has ended, the flow's own reason says more.
    """
    if flow.state is FlowState.FAULTED:
        return None
    reasons = Counter(why for phase, why in _partitions(flow) if phase is PartitionPhase.STOPPED)
    if not reasons:
        return None
    return f"{_of(reasons.total(), flow)} stopped: {_counted(reasons)}"


def not_ready_because(flow: FlowStatus) -> str | None:
    """Return why some partition is neither copied nor stopped by name; None if there is none."""
    if flow.remote or flow.state in _NOTHING_TO_COPY:
        return None
    if flow.state in _NOT_UP:
        return f"{flow.flow} is {_with_reason(flow)}"
    under_way = Counter(
        why for phase, why in _partitions(flow) if phase in {PartitionPhase.ATTACHING, PartitionPhase.WAITING}
    )
    if not under_way:
        return None
    waits = f"{_of(under_way.total(), flow)} of {flow.flow} are not copied now: {_counted(under_way)}"
    return "; ".join([waits, *_problems(flow)])


def beside(flow: FlowStatus) -> list[str]:
    """Return what an operator should know besides readiness: what is stopped, and which brokers do not answer."""
    still = stopped(flow)
    return ([] if still is None else [still]) + ([] if flow.remote else _problems(flow))


def _problems(flow: FlowStatus) -> list[str]:
    return [cluster.trouble for cluster in flow.clusters if cluster.trouble is not None]


def unhealthy_because(flow: FlowStatus, rpo_seconds_max: float | None) -> str | None:
    """Return why a flow is not healthy, or None.

    A healthy flow is ACTIVE here, each broker that it needs answers, nothing is stopped, and the RPO is within limits.
    """
    if flow.remote:
        return "another daemon runs this flow"
    if flow.state is not FlowState.ACTIVE:
        return f"the flow is {_with_reason(flow) if flow.state in _NOT_UP else flow.state}"
    silent = _problems(flow)
    if silent:
        return "; ".join(silent)
    still = next((why for mirror in flow.mirrors if (why := _still_because(mirror)) is not None), None)
    if still is not None:
        return still
    return _late(flow, rpo_seconds_max) if rpo_seconds_max is not None else None


def _late(flow: FlowStatus, rpo_seconds_max: float) -> str | None:
    if flow.rpo_seconds is None:
        return "the RPO is not known yet"
    late = flow.rpo_seconds > rpo_seconds_max
    return f"the RPO is {flow.rpo_seconds:.1f}s, more than {rpo_seconds_max:g}s" if late else None


def _with_reason(flow: FlowStatus) -> str:
    return f"{flow.state}: {flow.reason}" if flow.reason else flow.state


def _still_because(mirror: MirrorStatus) -> str | None:
    """Return that a topic is stopped without an order, as a whole or in part; None if it is not."""
    if MirrorState.FAULTED in {mirror.state, *(partition.state for partition in mirror.partitions)}:
        return f"{mirror.topic} is {MirrorState.FAULTED}"
    for one in mirror.partitions:
        stands = one.phase is PartitionPhase.STOPPED and one.state not in {MirrorState.PAUSED, MirrorState.STOPPED}
        if stands or one.reason is Reason.WAITING_FOR_LEASE:
            return f"{mirror.topic} is stopped: {_why(one)}"
    return None


def _partitions(flow: FlowStatus) -> Iterator[tuple[PartitionPhase, str]]:
    """Yield the phase of each partition, with the reason to report."""
    for mirror in flow.mirrors:
        if mirror.partitions:
            yield from ((one.phase, _why(one)) for one in mirror.partitions if one.phase is not None)
        elif mirror.state in {MirrorState.FAULTED, MirrorState.STOPPED, MirrorState.PAUSED}:
            yield PartitionPhase.STOPPED, mirror.reason or mirror.state.lower()
        else:
            yield PartitionPhase.ATTACHING, PartitionPhase.ATTACHING


def _why(partition: PartitionStatus) -> str:
    if partition.reason is not None:
        return partition.reason
    named = partition.state in {MirrorState.SEEDING, MirrorState.PAUSED, MirrorState.STOPPED}
    return partition.state.lower() if named or partition.phase is None else partition.phase


def _of(count: int, flow: FlowStatus) -> str:
    total = sum(phases(flow).values())
    return f"{count} of {total} partitions"


def _counted(reasons: Counter[str]) -> str:
    often_first = sorted(reasons.items(), key=lambda entry: (-entry[1], entry[0]))
    return ", ".join(f"{reason} {count:,}" for reason, count in often_first)
