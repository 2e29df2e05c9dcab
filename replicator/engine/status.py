"""Turns what the engine holds into the snapshots everybody reads (`model.status`)."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

from replicator.core.answers import ProduceOutcome
from replicator.core.intake import FILL_AHEAD_MAX
from replicator.core.partition_values import Phase
from replicator.core.whole_flow import worst_of
from replicator.model.names import TopicPartition
from replicator.model.states import FlowState, MirrorState, Reason
from replicator.model.status import FlowStatus, FlowTotals, MirrorStatus, PartitionStatus
from replicator.model.units import format_age

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from replicator.engine.mirror import Mirror
    from replicator.engine.pump import Pump
    from replicator.engine.slot import Slot
    from replicator.model.spec import FlowSpec

_STATES = {
    Phase.SEEDING: MirrorState.SEEDING,
    Phase.COPYING: MirrorState.ACTIVE,
    Phase.PAUSED: MirrorState.PAUSED,
    Phase.FAULTED: MirrorState.FAULTED,
}


def flow_status(
    shown: FlowState,
    flow: FlowSpec,
    *,
    uid: str | None,
    mirrors: Mapping[str, Mirror],
    pump: Pump | None,
    paused: bool,
    trouble: str | None,
    coordinator_answers: bool | None = None,
) -> FlowStatus:
    """Return the picture of one flow."""
    slots: dict[str, list[Slot]] = {}
    for slot in pump.slots.values() if pump else ():
        slot.lag.reach(slot.copy.acked_offset)
        slots.setdefault(slot.source.topic, []).append(slot)
    pictures = tuple(
        _mirror(mirror, slots.get(name, ()), pump, paused=paused) for name, mirror in sorted(mirrors.items())
    )
    # What changed hands is nobody's lag any more.
    everything = [slot for group in slots.values() for slot in group if slot.copy.reason is not Reason.FENCED]
    return FlowStatus(
        flow=flow.name,
        flow_uid=uid,
        source=flow.source,
        target=flow.target,
        state=shown,
        reason=trouble,
        epoch=pump.writers.flow.producer_epoch if pump else None,
        lag_records=_total_lag(everything),
        rpo_seconds=_rpo(everything, pump),
        source_seen_age_seconds=_seen_age(everything, pump),
        coordinator_answers=coordinator_answers,
        shards=pump.shards.status() if pump else (),
        totals=_totals(pump),
        mirrors=pictures,
    )


def _mirror(mirror: Mirror, slots: Sequence[Slot], pump: Pump | None, *, paused: bool) -> MirrorStatus:
    partitions: tuple[PartitionStatus, ...] = ()
    if pump is not None:
        here = [_partition(slot, pump) for slot in slots]
        partitions = tuple(sorted([*here, *_elsewhere(mirror, slots, pump)], key=lambda one: one.partition))
    state, reason, detail = worst_of(partitions)
    if mirror.fault is not None:
        state, reason, detail = MirrorState.FAULTED, mirror.fault.reason, mirror.fault.text
        if reason is Reason.FENCED:
            # As it was ordered: the target is the open side, or becomes it.
            state = MirrorState.STOPPED
            partitions = tuple(
                replace(one, state=state) if one.state is MirrorState.FAULTED and one.reason is reason else one
                for one in partitions
            )
    elif paused and state is not MirrorState.FAULTED:
        state = MirrorState.PAUSED
    etas = [slot.seed_eta_seconds for slot in slots if slot.seed_eta_seconds is not None]
    return MirrorStatus(
        topic=mirror.topic,
        target_topic=mirror.target_topic,
        state=state,
        reason=reason,
        detail=detail,
        seed_eta_seconds=max(etas) if etas else None,
        partitions=partitions,
    )


def _elsewhere(mirror: Mirror, slots: Sequence[Slot], pump: Pump) -> Iterator[PartitionStatus]:
    """Return what is known of the partitions that another daemon copies, or nobody does yet."""
    here = {slot.source.partition for slot in slots}
    for partition in range(mirror.partitions):
        if partition in here or mirror.fault is not None:
            continue
        shard = pump.shards.of(TopicPartition(mirror.topic, partition))
        holder = pump.shards.holder(shard)
        yield PartitionStatus(
            partition=partition,
            state=MirrorState.ACTIVE if holder and partition in mirror.active else MirrorState.PENDING,
            reason=Reason.HELD_ELSEWHERE if holder else Reason.WAITING_FOR_LEASE,
            detail=f"copied by {holder}" if holder else f"nobody works on shard {shard.number} now",
            holder=holder,
        )


def _partition(slot: Slot, pump: Pump) -> PartitionStatus:
    copy = slot.copy
    state = _STATES.get(copy.phase, MirrorState.ACTIVE if slot.active else MirrorState.PENDING)
    reason, detail = _reason(slot)
    known = copy.episode > 0
    now_ms = time.time_ns() // 1_000_000
    return PartitionStatus(
        partition=slot.source.partition,
        state=state,
        reason=reason,
        detail=detail,
        source_start=slot.source_start,
        source_end=slot.lag.observed_end,
        target_start=slot.target_start,
        target_end=copy.target_end if known else None,
        lag_records=slot.lag.lag_records() if known else None,
        offsets=_offsets(slot),
        guard=("on" if copy.guard_is_on(now_ms) else "off") if known else None,
        holder=pump.shards.holder(slot.shard),
        open_transaction_seconds=_open_seconds(slot, pump),
        verified_through=slot.verified.through if slot.verified else None,
        verified_age_seconds=_verified_age(slot, pump),
        verify_differences=slot.verified.differences if slot.verified else None,
    )


def _offsets(slot: Slot) -> str:
    """Return how the target's offsets stand to the source's."""
    track = slot.copy.track
    if track is None:
        return "identical"
    if track.mapped:
        return "mapped"
    surplus = track.acked.target - track.acked.source
    return f"identical+{surplus}" if surplus else "identical"


def _reason(slot: Slot) -> tuple[Reason | None, str | None]:
    """Return why a partition moves no records: what its machine says, else what it waits for although all is well."""
    copy = slot.copy
    if copy.waits_for_claim:
        return Reason.WAITING_FOR_CLAIM, copy.detail
    if copy.reason is not None or not copy.is_copying():
        return copy.reason, copy.detail
    held_up_by, fill = slot.held_up_by, copy.head_fill
    if held_up_by is not None:
        return Reason.OPEN_TRANSACTION, held_up_by.detail
    if fill is not None and fill.length > FILL_AHEAD_MAX:
        seconds = slot.fill_pace.seconds_left(fill, copy.episode)
        left = "" if seconds is None else f", about {format_age(seconds)} left"
        return Reason.FILLING, f"filling {fill.length:,} offsets without a record{left}"
    return None, copy.detail


def _open_seconds(slot: Slot, pump: Pump) -> float | None:
    if slot.open_since is None or slot.held_up_by is None:
        return None
    return round(pump.now() - slot.open_since, 3)


def _verified_age(slot: Slot, pump: Pump) -> float | None:
    age = slot.verified.age_seconds(pump.now()) if slot.verified is not None else None
    return None if age is None else round(age, 3)


def _total_lag(slots: Iterable[Slot]) -> int | None:
    lags = [slot.lag.lag_records() for slot in slots if slot.copy.episode > 0]
    known = [lag for lag in lags if lag is not None]
    return sum(known) if known else None


def _rpo(slots: Iterable[Slot], pump: Pump | None) -> float | None:
    """Return the worst partition's figure: the flow is as safe as its least copied partition."""
    if pump is None:
        return None
    now = pump.now()
    worst: float | None = None
    for slot in slots:
        seen = pump.seen_at(slot)
        if slot.lag.lag_records() == 0 and seen is not None:
            mine: float | None = now - seen
        else:
            mine = slot.lag.rpo_seconds(now)
        if mine is None:
            return None
        worst = mine if worst is None else max(worst, mine)
    return None if worst is None else round(worst, 3)


def _seen_age(slots: Iterable[Slot], pump: Pump | None) -> float | None:
    if pump is None:
        return None
    moments = [pump.seen_at(slot) for slot in slots]
    known = [moment for moment in moments if moment is not None]
    return round(pump.now() - min(known), 3) if known else None


def _totals(pump: Pump | None) -> FlowTotals:
    if pump is None:
        return FlowTotals()
    totals, outcomes = pump.totals, pump.outcomes
    refused = (
        ProduceOutcome.OUT_OF_ORDER,
        ProduceOutcome.MOVED,
        ProduceOutcome.TOO_LARGE,
        ProduceOutcome.CORRUPT,
        ProduceOutcome.MISSING,
        ProduceOutcome.DENIED,
        ProduceOutcome.REJECTED,
    )
    progress_ms = None
    if totals.last_progress is not None:
        progress_ms = int(time.time() * 1000 - (pump.now() - totals.last_progress) * 1000)
    return FlowTotals(
        records_total=totals.records,
        bytes_total=totals.bytes,
        batches_total=totals.batches,
        appends_accepted_total=outcomes[ProduceOutcome.ACCEPTED],
        appends_duplicate_total=outcomes[ProduceOutcome.DUPLICATE],
        appends_refused_total=sum(outcomes[outcome] for outcome in refused),
        appends_fenced_total=outcomes[ProduceOutcome.FENCED],
        appends_unknown_total=outcomes[ProduceOutcome.UNKNOWN],
        reattach_total=totals.reattached,
        last_progress_ms=progress_ms,
        filled_offsets_total=totals.filled,
    )
