"""What exists once a flow is up in one daemon, and how it is put together."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from replicator.core.copy.attaching.facts import Writers
from replicator.core.topics.ownership import DOUBTS
from replicator.core.work.claim import Timing
from replicator.engine.copy.partitions.fill_route import FillRoute
from replicator.engine.copy.partitions.live_maps import OffsetMaps
from replicator.engine.copy.partitions.producer_state import PROVEN_SECONDS_MAX, Guard, ShardProducer
from replicator.engine.copy.ports import Watcher
from replicator.engine.copy.pump import Pump
from replicator.engine.copy.watching.log_starts import LogStarts
from replicator.engine.copy.watching.open_transactions import OpenTransactions
from replicator.engine.copy.watching.target_ends import TargetEnds
from replicator.engine.flow.assembly.reconcile import Reconciler
from replicator.engine.flow.assembly.source_ends import SourceEnds
from replicator.engine.groups.positions import PumpPositions
from replicator.engine.groups.sync import GroupSync
from replicator.engine.logs.choosing import OnlyOurs
from replicator.engine.logs.side import Side
from replicator.engine.state import records as state
from replicator.engine.state.ownership.origins import Origins
from replicator.engine.state.ownership.owners import Owners
from replicator.engine.state.topic.source import SourceState
from replicator.engine.topics.acls import AclSync
from replicator.engine.topics.sync import TopicSync
from replicator.engine.work.claim import ClaimKeeper
from replicator.engine.work.leases import LeaseKeeper
from replicator.engine.work.presence import Presence
from replicator.engine.work.shards import OnShard, Shard, Shards
from replicator.model.lease import LeaseCaller
from replicator.model.names import fill_route_transactional_id

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping

    from replicator.engine.copy.copier import Copier
    from replicator.engine.flow.assembly.inputs import FlowInputs
    from replicator.engine.state.ownership.identity import FlowIdentity
    from replicator.engine.state.topic.log import StateLog
    from replicator.model.security import ClusterSpec
    from replicator.model.spec import CoordinatorSpec
    from replicator.model.status.states import Reason


@dataclass(frozen=True, slots=True)
class PeriodicChecks:
    """What this way of copying checks from time to time, beside the copy."""

    log_starts: LogStarts
    target_ends: TargetEnds
    open_transactions: OpenTransactions


@dataclass(frozen=True, slots=True)
class Assembly:
    """The parts of one flow."""

    identity: FlowIdentity
    state_log: StateLog
    presence: Presence
    shards: Shards
    leases: LeaseKeeper
    sync: TopicSync
    pump: Copier
    checks: PeriodicChecks
    source_ends: SourceEnds
    reconciler: Reconciler
    groups: GroupSync
    positions: PumpPositions
    acls: AclSync
    owners: Owners


def silence_seconds(coordinator: CoordinatorSpec, target: ClusterSpec) -> float:
    """Return how long after its last sign of life a daemon may still write to the target."""
    return coordinator.lease_ttl_seconds + PROVEN_SECONDS_MAX + target.doubt_seconds


def assemble(
    inputs: FlowInputs,
    identity: FlowIdentity,
    state_log: StateLog,
    watcher: Watcher,
    drain: Callable[[Shard], Awaitable[bool]],
    on_change: Callable[[], None],
    during: Callable[[Shard], Iterable[Callable[[], Awaitable[None]]]],
) -> Assembly:
    """Return the parts of a flow, not running yet.

    Args:
        inputs: What they work with; both clusters are open.
        identity: The flow's identity on the target.
        state_log: What is recorded there.
        watcher: Learns what happens to partitions.
        drain: See `Shards`.
        on_change: Called when a shard has started or stopped.
        during: See `Shards`.
    """
    flow, uid = inputs.flow, identity.uid
    now = asyncio.get_running_loop().time
    silence = silence_seconds(inputs.coordinator, inputs.target.spec)
    timing = Timing(inputs.coordinator.lease_ttl_seconds, inputs.coordinator.lease_margin_seconds)
    presence = _presence(inputs, uid, state_log, timing, silence)

    def on_known() -> None:
        pump.wake_writers()

    producers = dict(
        _shard(inputs, identity, state_log, number, presence, timing, on_known) for number in range(flow.shards)
    )
    shards = _shards(inputs, uid, state_log, presence, list(producers), drain, on_change, during)
    there = SourceState(inputs.source)
    pump = _pump(inputs, identity, state_log, shards, producers, watcher, Origins(there) if flow.both_ways else None)
    source_ends = SourceEnds(uid, state_log)
    owners = Owners(flow, uid, state_log, silence, now)
    sides = inputs.source, inputs.target
    doubted = partial(_doubted, pump)
    sync = TopicSync(flow, uid, *sides, inputs.admins, state_log, owners, there=there, doubted=doubted)
    positions = PumpPositions(pump, sync, state_log, uid, flow.shards)
    may_write = partial(_lets_groups_follow, state_log, uid, shards.shards[0])
    asking = inputs.leases, _caller(inputs, uid, identity.lineage_epoch), timing
    return Assembly(
        identity=identity,
        state_log=state_log,
        presence=presence,
        shards=shards,
        leases=LeaseKeeper(*asking, shards.floors, shards.busy, shards.kick, now=now),
        sync=sync,
        pump=pump,
        checks=PeriodicChecks(
            LogStarts(flow, pump), TargetEnds(pump, inputs.me.instance), OpenTransactions(flow.name, pump)
        ),
        source_ends=source_ends,
        reconciler=Reconciler(flow, pump, source_ends),
        groups=GroupSync(flow, uid, *sides, positions, state_log=state_log, may_write=may_write),
        positions=positions,
        acls=AclSync(flow, uid, *sides, inputs.admins, state_log),
        owners=owners,
    )


def _presence(inputs: FlowInputs, uid: str, state_log: StateLog, timing: Timing, silence: float) -> Presence:
    me = inputs.me
    return Presence(
        state_log,
        uid,
        me.instance,
        me.address,
        inputs.flow.shards,
        timing,
        silence,
        me.predecessor,
        now=asyncio.get_running_loop().time,
    )


def _shards(
    inputs: FlowInputs,
    uid: str,
    state_log: StateLog,
    presence: Presence,
    each: list[Shard],
    drain: Callable[[Shard], Awaitable[bool]],
    on_change: Callable[[], None],
    during: Callable[[Shard], Iterable[Callable[[], Awaitable[None]]]],
) -> Shards:
    shards = Shards(
        inputs.flow.name,
        inputs.me.instance,
        each,
        presence,
        stops_on_loss=inputs.coordinator.stops_on_loss,
        catch_up=state_log.read_to_end,
        drain=drain,
        on_change=on_change,
        during=during,
    )

    def on_record(key: bytes) -> None:
        if state.presence_of(key, uid) is not None:
            shards.kick()

    state_log.listen(on_record)
    return shards


def _pump(
    inputs: FlowInputs,
    identity: FlowIdentity,
    state_log: StateLog,
    shards: Shards,
    producers: Mapping[Shard, ShardProducer],
    watcher: Watcher,
    origins: Origins | None,
) -> Pump:
    return Pump(
        inputs.flow,
        Side(inputs.source, {}, origins),
        Side(inputs.target, {}, OnlyOurs(identity.writer.producer_id) if inputs.flow.both_ways else None),
        state.writers_of(state_log.records, identity.uid) or Writers(identity.writer),
        shards,
        producers=producers,
        watcher=watcher,
        maps=OffsetMaps(identity.uid, state_log),
        origins=origins,
    )


def _doubted(pump: Copier, topic: str) -> Reason | None:
    """Return why it is doubtful that a topic's partitions continue from their place; None if it is not."""
    reasons = (slot.copy.reason for slot in pump.partitions.values() if slot.source.topic == topic)
    return next((reason for reason in reasons if reason in DOUBTS), None)


def _lets_groups_follow(state_log: StateLog, uid: str, first: Shard) -> bool:
    """Return whether this daemon lets groups follow: the one that works on the first shard does, if the flow copies."""
    copies = state.standing_role(state_log.records, uid) is None
    return copies and first.works and first.claim.effective_since() is not None


def _caller(inputs: FlowInputs, uid: str, lineage_epoch: int) -> LeaseCaller:
    me = inputs.me
    return LeaseCaller(
        uid,
        inputs.flow.name,
        me.instance,
        me.address,
        inputs.flow.shards,
        source_cluster_id=inputs.source.cluster_id or "",
        target_cluster_id=inputs.target.cluster_id or "",
        lineage_epoch=lineage_epoch,
    )


def _shard(
    inputs: FlowInputs,
    identity: FlowIdentity,
    state_log: StateLog,
    number: int,
    presence: Presence,
    timing: Timing,
    on_known: Callable[[], None],
) -> tuple[Shard, ShardProducer]:
    now = asyncio.get_running_loop().time
    uid, doubt_seconds = identity.uid, inputs.target.spec.doubt_seconds
    claim = ClaimKeeper(
        state_log, uid, number, inputs.me.instance, timing, doubt_seconds, inputs.me.predecessor, now=now
    )
    if identity.fresh:
        claim.first_claim(identity.minted_at)
    return Shard(number, claim), ShardProducer(
        Guard(claim, OnShard(presence, number), doubt_seconds, now, _now_ms, on_known),
        FillRoute(inputs.target, fill_route_transactional_id(uid, number), identity.writer.fill_id, now),
    )


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
