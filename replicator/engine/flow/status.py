"""Turns what the engine holds into the snapshots that everybody reads (`model.status.snapshots`)."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import TYPE_CHECKING

from replicator.aio.turns import Turns
from replicator.core.copy.reading.pieces import FILL_AHEAD_MAX
from replicator.core.copy.values import Phase
from replicator.core.copy.writing.answers import ProduceOutcome
from replicator.core.status.whole_flow import total_known, worst_known, worst_of
from replicator.model.names import TopicPartition
from replicator.model.status.snapshots import (
    ClusterStatus,
    FlowStatus,
    FlowTotals,
    LeftOut,
    MirrorStatus,
    PartitionStatus,
)
from replicator.model.status.states import FlowState, MirrorState, PartitionPhase, Reason
from replicator.model.units import format_age

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from replicator.engine.copy.copier import Copier
    from replicator.engine.copy.partitions.view import PartitionView
    from replicator.engine.topics.chosen import ChosenTopics
    from replicator.engine.topics.mirror import Mirror
    from replicator.model.spec import FlowSpec

_LEFT_OUT_MAX = 100
"""How many of the topics that are left out are named."""

_WAITS = frozenset({Reason.WAITING_FOR_CLAIM, Reason.WAITING_FOR_LEADER, Reason.WAITING_FOR_BROKER, Reason.STATE_LOST})
"""Reasons for which a partition is shown as waiting, whatever phase its state machine is in."""
_NOBODYS = frozenset({Reason.FENCED, Reason.SOURCE_MISSING})
_STATES = {
    Phase.SEEDING: MirrorState.SEEDING,
    Phase.COPYING: MirrorState.ACTIVE,
    Phase.PAUSED: MirrorState.PAUSED,
    Phase.FAULTED: MirrorState.FAULTED,
}


@dataclass(frozen=True, slots=True)
class SilentBrokers:
    """The brokers in use that do not respond, on each side, with the reason in words."""

    source: Mapping[int, str] = field(default_factory=dict)
    target: Mapping[int, str] = field(default_factory=dict)


NOBODY = SilentBrokers()


async def flow_status(
    shown: FlowState,
    flow: FlowSpec,
    *,
    uid: str | None,
    mirrors: Mapping[str, Mirror],
    pump: Copier | None,
    paused: bool,
    reason: str | None,
    coordinator_answers: bool | None = None,
    clusters: tuple[ClusterStatus, ...] = (),
    silent: SilentBrokers = NOBODY,
    chosen: ChosenTopics | None = None,
) -> FlowStatus:
    """Return the status of one flow; everything else runs meanwhile, so only each partition's part is consistent."""
    turns = Turns()
    slots: dict[str, list[PartitionView]] = {}
    if pump is not None:
        for slot in list(pump.partitions.values()):
            pump.sightings.take_silence(slot)
            slots.setdefault(slot.source.topic, []).append(slot)
            await turns.give()
    pictures = tuple(
        [
            await _mirror(mirror, slots.get(name, ()), pump, turns, paused=paused, silent=silent)
            for name, mirror in sorted(mirrors.items())
        ]
    )
    # Partitions that a switch fenced have no lag any more, a deleted topic has nothing at risk, and another daemon
    # reports the partitions that it copies. For a partition that nobody works on, or has started yet, no figure is
    # known; then the flow has no total, because a part is not the whole.
    counted = [
        one
        for picture in pictures
        for one in picture.partitions
        if one.reason not in _NOBODYS and one.phase is not None
    ]
    choice = chosen.choice if chosen else None
    left_out = choice.left_out if choice else {}
    return FlowStatus(
        flow=flow.name,
        flow_uid=uid,
        source=flow.source,
        target=flow.target,
        state=shown,
        reason=reason,
        epoch=pump.context.writers.flow.producer_epoch if pump else None,
        lag_records=total_known([one.lag_records for one in counted]),
        rpo_seconds=worst_known([one.rpo_seconds for one in counted]),
        source_seen_age_seconds=worst_known([one.source_seen_age_seconds for one in counted]),
        coordinator_answers=coordinator_answers,
        shards=pump.shards.status() if pump else (),
        clusters=clusters,
        totals=_totals(pump),
        mirrors=pictures,
        left_out=tuple(LeftOut(*one) for one in islice(left_out.items(), _LEFT_OUT_MAX)),
        left_out_total=None if choice is None else len(left_out),
        origins_unknown=chosen.unknown if chosen else None,
    )


def at_rest(picture: FlowStatus) -> FlowStatus:
    """Return the status of a flow that has ended here: this daemon copies, holds and watches nothing of it.

    Partitions that another daemon copies are shown as last heard; for those that nobody worked on, it is not known
    whether anybody does now.
    """
    mirrors = tuple(_mirror_at_rest(mirror) for mirror in picture.mirrors)
    shards = tuple(
        replace(shard, held=False, holder=None, epoch=None) if shard.held else shard for shard in picture.shards
    )
    return replace(picture, mirrors=mirrors, shards=shards, coordinator_answers=None)


def _mirror_at_rest(mirror: MirrorStatus) -> MirrorStatus:
    partitions = tuple(_partition_at_rest(one) for one in mirror.partitions)
    ours = not partitions or any(one.phase is PartitionPhase.STOPPED for one in partitions)
    return replace(mirror, state=_rested(mirror.state) if ours else mirror.state, partitions=partitions)


def _partition_at_rest(one: PartitionStatus) -> PartitionStatus:
    if one.reason is Reason.HELD_ELSEWHERE:
        return one
    if one.reason is Reason.WAITING_FOR_LEASE:
        return replace(one, reason=Reason.HELD_ELSEWHERE, detail="not known who works on it now", phase=None)
    return replace(
        one, state=_rested(one.state), phase=PartitionPhase.STOPPED, holder=None, open_transaction_seconds=None
    )


def _rested(state: MirrorState) -> MirrorState:
    return MirrorState.PENDING if state in {MirrorState.ACTIVE, MirrorState.SEEDING} else state


async def _mirror(
    mirror: Mirror,
    slots: Sequence[PartitionView],
    pump: Copier | None,
    turns: Turns,
    *,
    paused: bool,
    silent: SilentBrokers = NOBODY,
) -> MirrorStatus:
    partitions: tuple[PartitionStatus, ...] = ()
    if pump is not None:
        found: list[PartitionStatus] = []
        for slot in slots:
            found.append(_partition(slot, pump, silent))
            await turns.give()
        for one in _elsewhere(mirror, slots, pump):
            found.append(one)
            await turns.give()
        partitions = tuple(sorted(found, key=lambda one: one.partition))
    state, reason, detail = worst_of(partitions)
    if mirror.fault is not None:
        state, reason, detail = MirrorState.FAULTED, mirror.fault.reason, mirror.fault.text
        if reason is Reason.FENCED:
            # It was ordered: the target is the open side, or is becoming it.
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


def _elsewhere(mirror: Mirror, slots: Sequence[PartitionView], pump: Copier) -> Iterator[PartitionStatus]:
    """Return what is known about the partitions that another daemon copies, or nobody yet."""
    here = {slot.source.partition for slot in slots}
    for partition in range(mirror.partitions):
        if partition in here or mirror.fault is not None:
            continue
        where = TopicPartition(mirror.topic, partition)
        shard = pump.shards.of(where)
        holder = pump.shards.holder(shard)
        if pump.shards.works_on(where):  # ours, and not started yet
            yield PartitionStatus(partition, MirrorState.PENDING, holder=holder, phase=PartitionPhase.ATTACHING)
            continue
        detail = f"copied by {holder}" if holder else f"nobody works on shard {shard.number} now"
        unheard = None if holder else pump.shards.unheard_seconds()
        if holder is None:  # if nobody can be heard, the last holder may still be working on it
            holder = pump.shards.last_holder(shard)
            if holder is not None:
                detail = f"copied by {holder} when other daemons were last heard"
            if unheard is not None:
                detail = f"{detail if holder else 'not known who works on it'}: nothing for {format_age(unheard)}"
        somebody = holder is not None or unheard is not None
        yield PartitionStatus(
            partition=partition,
            state=MirrorState.ACTIVE if holder and partition in mirror.active else MirrorState.PENDING,
            reason=Reason.HELD_ELSEWHERE if somebody else Reason.WAITING_FOR_LEASE,
            detail=detail,
            holder=holder,
            phase=None if somebody else PartitionPhase.WAITING,
        )


def _partition(slot: PartitionView, pump: Copier, silent: SilentBrokers = NOBODY) -> PartitionStatus:
    copy = slot.copy
    state = _STATES.get(copy.phase, MirrorState.ACTIVE if slot.recorded.active else MirrorState.PENDING)
    reason, detail = _reason(slot)
    unanswered = _unanswered(slot, pump, silent)
    if unanswered is not None and (copy.is_copying() or reason in {None, Reason.WAITING_FOR_LEADER}):
        reason, detail = Reason.WAITING_FOR_LEADER, unanswered
    known = copy.episode > 0 and reason is not Reason.FENCED  # after a fence, old figures say nothing about now
    now, now_ms = pump.context.now(), time.time_ns() // 1_000_000
    lag = slot.lag.lag_records_at(now) if known else None
    return PartitionStatus(
        partition=slot.source.partition,
        state=state,
        reason=reason,
        detail=detail,
        source_start=slot.seen.source_start,
        source_end=None if reason is Reason.FENCED else slot.lag.observed_end,
        target_start=slot.seen.target_start,
        target_end=copy.target_end if known else None,
        # If nobody responds for one of its logs, nothing proves that both hold the same.
        lag_records=None if lag == 0 and unanswered is not None else lag,
        offsets=_offsets(slot),
        guard=("on" if copy.sending.guard_is_on(now_ms) else "off") if known else None,
        holder=pump.shards.holder(slot.shard),
        open_transaction_seconds=_open_seconds(slot, pump),
        verified_through=slot.verified.through if slot.verified else None,
        verified_age_seconds=_verified_age(slot, pump),
        verify_differences=slot.verified.differences if slot.verified else None,
        phase=_phase(slot, reason),
        rpo_seconds=_rounded(slot.lag.rpo_seconds(now)),
        source_seen_age_seconds=_rounded(_age(slot.lag.observed_at, now)),
    )


def _phase(slot: PartitionView, reason: Reason | None) -> PartitionPhase:
    """Return what is being done about a partition for which status shows this reason."""
    phase = slot.copy.phase
    if phase in {Phase.FAULTED, Phase.PAUSED} or reason is Reason.WAITING_FOR_ACCESS:
        return PartitionPhase.STOPPED
    if phase is Phase.COPYING and reason not in _WAITS:
        return PartitionPhase.COPYING
    return PartitionPhase.ATTACHING if reason is None else PartitionPhase.WAITING


def _unanswered(slot: PartitionView, pump: Copier, silent: SilentBrokers) -> str | None:
    """Return which of a partition's two leaders does not respond, or that there is none; None if both respond."""
    there, here = pump.context.leaders_of(slot)
    for side, where, leader, why in (
        (pump.source, slot.source, there, silent.source),
        (pump.target, slot.target, here, silent.target),
    ):
        if leader is None:
            if side.cluster.away(where) is not None:
                return side.cluster.leaderless_because(where)
        elif leader.node in why:
            return f"{side.cluster.spec.alias} broker {leader.node}, its leader, does not answer{why[leader.node]}"
    return None


def _age(moment: float | None, now: float) -> float | None:
    return None if moment is None else max(0.0, now - moment)


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 3)


def _offsets(slot: PartitionView) -> str:
    """Return how the target's offsets relate to the source's."""
    track = slot.copy.track
    if track is None:
        return "identical"
    if track.mapped:
        return "mapped"
    surplus = track.acked.target - track.acked.source
    return f"identical+{surplus}" if surplus else "identical"


def _reason(slot: PartitionView) -> tuple[Reason | None, str | None]:
    """Return why a partition moves no records: its machine's reason, or else what it waits for although all is well."""
    copy = slot.copy
    if copy.sending.waits_for_claim:
        return Reason.WAITING_FOR_CLAIM, copy.detail
    if copy.reason is not None or not copy.is_copying():
        return copy.reason, copy.detail
    held_up_by, fill = slot.seen.held_up_by, copy.sending.head_fill
    if held_up_by is not None:
        return Reason.OPEN_TRANSACTION, held_up_by.detail
    if fill is not None and fill.length > FILL_AHEAD_MAX:
        seconds = slot.fill_pace.seconds_left(fill, copy.episode)
        left = "" if seconds is None else f", about {format_age(seconds)} left"
        return Reason.FILLING, f"filling {fill.length:,} offsets without a record{left}"
    return None, copy.detail


def _open_seconds(slot: PartitionView, pump: Copier) -> float | None:
    """Return how long a transaction was *seen* to be open; while the source is unseen, nobody knows."""
    if slot.seen.open_since is None or slot.seen.held_up_by is None:
        return None
    seen_at = slot.lag.observed_at
    until = pump.context.now() if seen_at is None else min(pump.context.now(), max(seen_at, slot.seen.open_since))
    return round(until - slot.seen.open_since, 3)


def _verified_age(slot: PartitionView, pump: Copier) -> float | None:
    age = slot.verified.age_seconds(pump.context.now()) if slot.verified is not None else None
    return None if age is None else round(age, 3)


def _totals(pump: Copier | None) -> FlowTotals:
    if pump is None:
        return FlowTotals()
    totals, outcomes = pump.context.counters.totals, pump.context.counters.outcomes
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
        progress_ms = int(time.time() * 1000 - (pump.context.now() - totals.last_progress) * 1000)
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


def joined_problems(texts: Iterable[str | None], lost: str | None, gone: str) -> str | None:
    """Return the problems of a flow as one text, each of them once; None if there are none.

    Args:
        texts: The problems, the most important first.
        lost: A text saying that the state topic is lost, with what helps; None while it is not.
        gone: The words that any text about this loss contains.
    """
    problems = list(dict.fromkeys(one for one in texts if one))
    if lost is not None:  # whatever cannot use the state topic reports the same in its own words
        problems = [one for one in problems if one == lost or gone not in one]
    return "; ".join(one for one in problems if not any(one in other for other in problems if other != one)) or None
