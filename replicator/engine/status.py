"""Turns what the engine holds into the snapshots everybody reads (`model.status`)."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import TYPE_CHECKING

from replicator.core.answers import ProduceOutcome
from replicator.core.intake import FILL_AHEAD_MAX
from replicator.core.partition_values import Phase
from replicator.core.whole_flow import worst_known, worst_of
from replicator.model.names import TopicPartition
from replicator.model.states import FlowState, MirrorState, PartitionPhase, Reason
from replicator.model.status import ClusterStatus, FlowStatus, FlowTotals, LeftOut, MirrorStatus, PartitionStatus
from replicator.model.units import format_age

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from replicator.engine.chosen import Chosen
    from replicator.engine.mirror import Mirror
    from replicator.engine.pump import Pump
    from replicator.engine.slot import Slot
    from replicator.model.spec import FlowSpec

_LEFT_OUT_MAX = 100
"""Topics that are named of those left out."""
_STATES = {
    Phase.SEEDING: MirrorState.SEEDING,
    Phase.COPYING: MirrorState.ACTIVE,
    Phase.PAUSED: MirrorState.PAUSED,
    Phase.FAULTED: MirrorState.FAULTED,
}


@dataclass(frozen=True, slots=True)
class Silent:
    """The brokers in use that do not answer, on each side, with the reason in words."""

    source: Mapping[int, str] = field(default_factory=dict)
    target: Mapping[int, str] = field(default_factory=dict)


NOBODY = Silent()


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
    clusters: tuple[ClusterStatus, ...] = (),
    silent: Silent = NOBODY,
    chosen: Chosen | None = None,
) -> FlowStatus:
    """Return the picture of one flow."""
    slots: dict[str, list[Slot]] = {}
    if pump is not None:
        for slot in pump.slots.values():
            pump.take_silence(slot)
            slots.setdefault(slot.source.topic, []).append(slot)
    pictures = tuple(
        _mirror(mirror, slots.get(name, ()), pump, paused=paused, silent=silent)
        for name, mirror in sorted(mirrors.items())
    )
    # Of what nobody works on, or has begun with, no figure is known: then a part is not the whole.
    untold = any(
        one.phase is not None and one.source_end is None and one.reason is not Reason.FENCED
        for picture in pictures
        for one in picture.partitions
    )
    # What changed hands is nobody's lag any more.
    everything = [slot for group in slots.values() for slot in group if slot.copy.reason is not Reason.FENCED]
    looked = chosen.choice if chosen else None
    left_out = looked.left_out if looked else {}
    return FlowStatus(
        flow=flow.name,
        flow_uid=uid,
        source=flow.source,
        target=flow.target,
        state=shown,
        reason=trouble,
        epoch=pump.writers.flow.producer_epoch if pump else None,
        lag_records=None if untold else _total_lag(everything, pump),
        rpo_seconds=None if untold else _rpo(everything, pump),
        source_seen_age_seconds=None if untold else _seen_age(everything, pump),
        coordinator_answers=coordinator_answers,
        shards=pump.shards.status() if pump else (),
        clusters=clusters,
        totals=_totals(pump),
        mirrors=pictures,
        left_out=tuple(LeftOut(*one) for one in islice(left_out.items(), _LEFT_OUT_MAX)),
        left_out_total=None if looked is None else len(left_out),
        origins_unknown=chosen.unknown if chosen else None,
    )


def at_rest(picture: FlowStatus) -> FlowStatus:
    """Return the picture of a flow that has ended: nothing of it is copied or held any more."""
    mirrors = tuple(
        replace(
            mirror,
            state=_rested(mirror.state),
            partitions=tuple(
                replace(one, state=_rested(one.state), phase=PartitionPhase.STOPPED) for one in mirror.partitions
            ),
        )
        for mirror in picture.mirrors
    )
    shards = tuple(replace(shard, held=False, holder=None) if shard.held else shard for shard in picture.shards)
    return replace(picture, mirrors=mirrors, shards=shards)


def _rested(state: MirrorState) -> MirrorState:
    return MirrorState.PENDING if state in {MirrorState.ACTIVE, MirrorState.SEEDING} else state


def _mirror(
    mirror: Mirror, slots: Sequence[Slot], pump: Pump | None, *, paused: bool, silent: Silent = NOBODY
) -> MirrorStatus:
    partitions: tuple[PartitionStatus, ...] = ()
    if pump is not None:
        here = [_partition(slot, pump, silent) for slot in slots]
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
        where = TopicPartition(mirror.topic, partition)
        shard = pump.shards.of(where)
        holder = pump.shards.holder(shard)
        if pump.shards.works_on(where):  # ours, and not begun with yet
            yield PartitionStatus(partition, MirrorState.PENDING, holder=holder, phase=PartitionPhase.ATTACHING)
            continue
        yield PartitionStatus(
            partition=partition,
            state=MirrorState.ACTIVE if holder and partition in mirror.active else MirrorState.PENDING,
            reason=Reason.HELD_ELSEWHERE if holder else Reason.WAITING_FOR_LEASE,
            detail=f"copied by {holder}" if holder else f"nobody works on shard {shard.number} now",
            holder=holder,
            phase=None if holder else PartitionPhase.WAITING,
        )


def _partition(slot: Slot, pump: Pump, silent: Silent = NOBODY) -> PartitionStatus:
    copy = slot.copy
    state = _STATES.get(copy.phase, MirrorState.ACTIVE if slot.active else MirrorState.PENDING)
    reason, detail = _reason(slot)
    unanswered = _unanswered(slot, pump, silent) if copy.is_copying() else None
    if unanswered is not None:
        reason, detail = Reason.WAITING_FOR_LEADER, unanswered
    known = copy.episode > 0
    now, now_ms = pump.now(), time.time_ns() // 1_000_000
    return PartitionStatus(
        partition=slot.source.partition,
        state=state,
        reason=reason,
        detail=detail,
        source_start=slot.source_start,
        source_end=slot.lag.observed_end,
        target_start=slot.target_start,
        target_end=copy.target_end if known else None,
        lag_records=slot.lag.lag_records_at(now) if known else None,
        offsets=_offsets(slot),
        guard=("on" if copy.guard_is_on(now_ms) else "off") if known else None,
        holder=pump.shards.holder(slot.shard),
        open_transaction_seconds=_open_seconds(slot, pump),
        verified_through=slot.verified.through if slot.verified else None,
        verified_age_seconds=_verified_age(slot, pump),
        verify_differences=slot.verified.differences if slot.verified else None,
        phase=_phase(slot, reason),
        rpo_seconds=_rounded(slot.lag.rpo_seconds(now)),
        source_seen_age_seconds=_rounded(_age(slot.lag.observed_at, now)),
    )


def _phase(slot: Slot, reason: Reason | None) -> PartitionPhase:
    """Return what is done about a partition for which status gives this reason."""
    phase = slot.copy.phase
    if phase in {Phase.FAULTED, Phase.PAUSED} or reason is Reason.WAITING_FOR_ACCESS:
        return PartitionPhase.STOPPED
    if phase is Phase.COPYING and reason not in {Reason.WAITING_FOR_CLAIM, Reason.WAITING_FOR_LEADER}:
        return PartitionPhase.COPYING
    return PartitionPhase.ATTACHING if reason is None else PartitionPhase.WAITING


def _unanswered(slot: Slot, pump: Pump, silent: Silent) -> str | None:
    """Return which of the brokers that a partition is copied between does not answer."""
    if not silent.source and not silent.target:
        return None
    there, here = pump.leaders_of(slot)
    for side, leader, why in ((pump.source, there, silent.source), (pump.target, here, silent.target)):
        if leader is not None and leader.node in why:
            return f"{side.cluster.spec.alias} broker {leader.node}, its leader, does not answer{why[leader.node]}"
    return None


def _age(moment: float | None, now: float) -> float | None:
    return None if moment is None else max(0.0, now - moment)


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 3)


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


def _total_lag(slots: Iterable[Slot], pump: Pump | None) -> int | None:
    """Return the sum; unknown as soon as one is, since a part is not the sum."""
    if pump is None:
        return None
    now = pump.now()
    lags = [slot.lag.lag_records_at(now) if slot.copy.episode > 0 else None for slot in slots]
    known = [lag for lag in lags if lag is not None]
    return sum(known) if known and len(known) == len(lags) else None


def _rpo(slots: Iterable[Slot], pump: Pump | None) -> float | None:
    """Return the worst partition's figure: the flow is as safe as its least copied partition."""
    if pump is None:
        return None
    now = pump.now()
    return _rounded(worst_known([slot.lag.rpo_seconds(now) for slot in slots]))


def _seen_age(slots: Iterable[Slot], pump: Pump | None) -> float | None:
    """Return the age of the oldest observation; unknown where one was never made."""
    if pump is None:
        return None
    now = pump.now()
    return _rounded(worst_known([_age(slot.lag.observed_at, now) for slot in slots]))


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
