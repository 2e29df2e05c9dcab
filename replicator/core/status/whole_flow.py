"""Merges the pictures of a flow from several daemons, each of which knows its own partitions best."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import TYPE_CHECKING

from replicator.errors import Conflict, HeldElsewhere
from replicator.model.operations.resolution import FROM_SCRATCH
from replicator.model.status.snapshots import FlowStatus, FlowTotals, MirrorStatus, PartitionStatus
from replicator.model.status.states import FlowState, MirrorState, Reason
from replicator.model.text import command

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from replicator.model.operations.resolution import ResolutionOrder

_WORST_FIRST = (MirrorState.FAULTED, MirrorState.SEEDING, MirrorState.PENDING, MirrorState.PAUSED, MirrorState.ACTIVE)
_GOES_ON = frozenset({Reason.FILLING, Reason.HELD_ELSEWHERE})
_NOT_OURS = frozenset({Reason.HELD_ELSEWHERE, Reason.WAITING_FOR_LEASE})


def worst_of(partitions: Sequence[PartitionStatus]) -> tuple[MirrorState, Reason | None, str | None]:
    """Return the state of a mirror with these partitions, and the most informative reason and detail."""
    states = {partition.state for partition in partitions}
    state = next((worst for worst in _WORST_FIRST if worst in states), MirrorState.PENDING)
    # A waiting partition says more about a mirror than its neighbours in the same state, which continue.
    waiting = [one for one in partitions if one.state is state and one.reason is not None]
    # A partition that continues by itself must not hide another one that waits for somebody.
    worst = min(waiting, key=lambda one: one.reason in _GOES_ON, default=None)
    return (state, worst.reason, worst.detail) if worst is not None else (state, None, None)


def has_parts_elsewhere(flow: FlowStatus) -> bool:
    """Return whether another daemon copies a part of this picture's flow, known by name or not."""
    return any(one.reason is Reason.HELD_ELSEWHERE for mirror in flow.mirrors for one in mirror.partitions)


def elsewhere(flow: FlowStatus) -> set[str]:
    """Return the daemons that copy what the daemon of this picture does not."""
    return {
        partition.holder
        for mirror in flow.mirrors
        for partition in mirror.partitions
        if partition.reason is Reason.HELD_ELSEWHERE and partition.holder is not None
    }


def merged(mine: FlowStatus, others: Sequence[FlowStatus], silent: Mapping[str, str]) -> FlowStatus:
    """Return the picture of a whole flow.

    Args:
        mine: What the daemon that was asked knows.
        others: What other daemons of the flow know.
        silent: Daemons that did not answer, and why.
    """
    theirs = {
        (mirror.topic, partition.partition): partition
        for other in others
        for mirror in other.mirrors
        for partition in mirror.partitions
        if partition.reason not in _NOT_OURS
    }
    every = [mine, *others]
    copying = [flow for flow in every if _works(flow)]
    mirrors = tuple(_mirror(mirror, theirs) for mirror in mine.mirrors)
    # If nobody works on a partition, or its holder does not answer, its figures are unknown.
    is_incomplete = bool(silent) or any(one.reason in _NOT_OURS for mirror in mirrors for one in mirror.partitions)
    reasons = [flow.reason for flow in every if flow.reason]
    reasons += [f"daemon {name}, which copies a part of it, does not answer: {why}" for name, why in silent.items()]
    lags = [flow.lag_records for flow in copying]
    return replace(
        mine,
        state=_state(mine, others),
        reason="; ".join(dict.fromkeys(reasons)) or None,
        # A part is not the whole, and the flow is only as safe as its least copied partition: if one daemon does not
        # report its part, the figure is unknown for the whole.
        lag_records=None if is_incomplete else total_known(lags),
        rpo_seconds=None if is_incomplete else worst_known([flow.rpo_seconds for flow in copying]),
        source_seen_age_seconds=None
        if is_incomplete
        else worst_known([flow.source_seen_age_seconds for flow in copying]),
        totals=_sum([flow.totals for flow in every]) if not silent else None,
        mirrors=mirrors,
    )


def who_resolves(whole: FlowStatus, order: ResolutionOrder, me: str) -> str | None:
    """Return the other daemon that copies a mirror's stopped partitions; None if it is this one, or any will do.

    Raises:
        Conflict: Several daemons copy them: each has to be asked for its own.
    """
    still = [
        part
        for mirror in whole.mirrors
        if mirror.topic == order.topic
        for part in mirror.partitions
        if part.state is MirrorState.FAULTED and (not order.partitions or part.partition in order.partitions)
    ]
    holders = {part.holder for part in still if part.holder is not None}
    if not holders or holders == {me} or (me in holders and order.how in FROM_SCRATCH):
        return None
    if order.how in FROM_SCRATCH or len(holders) == 1:
        return min(holders)
    parts = {holder: [str(part.partition) for part in still if part.holder == holder] for holder in sorted(holders)}
    shown = "; ".join(f"{', '.join(numbers)} by {holder}" for holder, numbers in parts.items())
    options = " ".join(f"-p {number}" for number in next(iter(parts.values())))
    raise Conflict(
        f"the stopped partitions of {order.topic} are copied by {len(holders)} daemons",
        why=f"partitions {shown}",
        next_step=f"replicator mirror resolve {whole.flow} {order.topic} --how {order.how} {options}, then the others",
    )


def held_elsewhere(flow: str, order: ResolutionOrder, holder: str, address: str) -> HeldElsewhere:
    """Return the error for an order that is another daemon's: forwarded by this one, it would count as its order."""
    words = ("replicator", "mirror", "resolve", flow, order.topic, "--how", order.how)
    return HeldElsewhere(
        f"the stopped partitions of {order.topic} are copied by daemon {holder}",
        address=address,
        why=f"it answers at {address}" if address else "its address is not known",
        next_step=command(*words, "--address", address) if address else f"repeat it there: {command(*words)}",
    )


def _mirror(mirror: MirrorStatus, theirs: Mapping[tuple[str, int], PartitionStatus]) -> MirrorStatus:
    partitions = tuple(
        theirs.get((mirror.topic, one.partition), one) if one.reason in _NOT_OURS else one for one in mirror.partitions
    )
    whole = mirror.state is MirrorState.PAUSED or (
        mirror.state is MirrorState.FAULTED and all(one.state is not MirrorState.FAULTED for one in mirror.partitions)
    )
    if whole:
        return replace(mirror, partitions=partitions)
    state, reason, detail = worst_of(partitions)
    return replace(mirror, state=state, reason=reason, detail=detail, partitions=partitions)


def _works(flow: FlowStatus) -> bool:
    """Return whether a daemon copies any part of the flow: it knows figures only for what it copies."""
    return any(one.reason not in _NOT_OURS for mirror in flow.mirrors for one in mirror.partitions)


def _state(mine: FlowStatus, others: Sequence[FlowStatus]) -> FlowState:
    """Return the state to show: if a cluster does not answer a daemon that copies a part, it is UNREACHABLE."""
    unreachable = any(flow.state is FlowState.UNREACHABLE for flow in others)
    return FlowState.UNREACHABLE if unreachable and mine.state is FlowState.ACTIVE else mine.state


def total_known(figures: Sequence[int | None]) -> int | None:
    """Return the sum; None if a summand is unknown, since a part is not the sum, or if there are none."""
    known = [figure for figure in figures if figure is not None]
    return sum(known) if known and len(known) == len(figures) else None


def worst_known(figures: Sequence[float | None]) -> float | None:
    """Return the largest; None if one is unknown."""
    known = [figure for figure in figures if figure is not None]
    return max(known) if known and len(known) == len(figures) else None


def _sum(every: Sequence[FlowTotals | None]) -> FlowTotals | None:
    """Return the sum of all counters; None if one of them is unknown."""
    known = [totals for totals in every if totals is not None]
    if len(known) < len(every):
        return None
    names = [field.name for field in fields(FlowTotals) if field.name != "last_progress_ms"]
    progress = [totals.last_progress_ms for totals in known if totals.last_progress_ms is not None]
    return FlowTotals(
        **{name: sum(getattr(totals, name) for totals in known) for name in names},
        last_progress_ms=max(progress, default=None),
    )
