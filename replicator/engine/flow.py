"""Runs one flow: identity, claim, topic sync and pump, and the picture of all of it for status."""

from __future__ import annotations

import asyncio
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from replicator.admin.topics import TopicAdmin
from replicator.core.attach_facts import Role
from replicator.core.claim import Timing
from replicator.core.partition_values import Phase
from replicator.core.progress import CatchingUp, Progress
from replicator.core.resolution import described
from replicator.engine import state, translate
from replicator.engine.claim_keeper import ClaimKeeper
from replicator.engine.fill_route import FillRoute
from replicator.engine.group_sync import GroupSync
from replicator.engine.guard import PROVEN_SECONDS_MAX
from replicator.engine.history import History
from replicator.engine.identity import Identity, ensure_state_topic, establish
from replicator.engine.lineup import Lineup
from replicator.engine.log_starts import LogStarts
from replicator.engine.look import Side
from replicator.engine.maps import OffsetMaps
from replicator.engine.open_transactions import OpenTransactions
from replicator.engine.positions import PumpPositions
from replicator.engine.presence import Presence
from replicator.engine.pump import Pump
from replicator.engine.resolve import Resolver
from replicator.engine.source_ends import SourceEnds, intact_below
from replicator.engine.state_log import StateLog
from replicator.engine.status import flow_status
from replicator.engine.topic_sync import TopicSync
from replicator.engine.verify_continuous import verify_continuously
from replicator.errors import (
    AuthorizationFailed,
    Conflict,
    KafkaError,
    ReplicatorError,
    TimedOut,
    WrongCluster,
)
from replicator.model.events import Desired, Event
from replicator.model.names import TopicPartition, fill_route_transactional_id
from replicator.obs.logs import get_logger
from replicator.state_pb import state_pb2 as pb
from replicator.wire.cluster import Cluster

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from replicator.engine.slot import Slot
    from replicator.engine.state_log import Change
    from replicator.model.groups import GroupOutcome, GroupStatus
    from replicator.model.resolution import Order, Resolution
    from replicator.model.security import ClusterSpec
    from replicator.model.spec import CoordinatorSpec, FlowSpec
    from replicator.model.status import FlowStatus, PartitionStatus
    from replicator.model.translation import OffsetQuestion, Translation
    from replicator.store.port import Store

_NAMES_EVERY_SECONDS = 5.0
_CONFIGS_EVERY_SECONDS = 30.0
_STALE_PAUSE_SECONDS = 0.5
_SOURCE_ENDS_EVERY_SECONDS = 5.0
_FOLLOW_EVERY_SECONDS = 5.0
_LOG_STARTS_EVERY_SECONDS = 30.0
_OPEN_TRANSACTIONS_EVERY_SECONDS = 5.0
_RECORD_PAUSE_SECONDS = 0.2
_START_PAUSE_SECONDS = (0.2, 10.0)
_GUARD_MARGIN_MS = 3_600_000
_EXPIRATION = "producer.id.expiration.ms"
_EXPIRATION_DEFAULT_MS = 86_400_000
_PROGRESS_EVERY_SECONDS = 5.0

log = get_logger(__name__)


@dataclass(slots=True)
class _Parts:
    """What exists once a flow is up."""

    identity: Identity
    state_log: StateLog
    claim: ClaimKeeper
    presence: Presence
    sync: TopicSync
    pump: Pump
    source_ends: SourceEnds
    lineup: Lineup
    groups: GroupSync


class FlowRunner:
    """One flow in one daemon.

    Args:
        flow: Its policy.
        source: How to reach the source.
        target: How to reach the target.
        timing: Of claims.
        me: This daemon's name, new with every start.
        store: Where events are kept.
    """

    def __init__(
        self,
        flow: FlowSpec,
        source: ClusterSpec,
        target: ClusterSpec,
        timing: CoordinatorSpec,
        me: str,
        store: Store,
    ) -> None:
        self.flow = flow
        self.trouble: str | None = "starting"
        self._source = Cluster(source)
        self._target = Cluster(target)
        self._admins = (TopicAdmin(source), TopicAdmin(target))
        self._timing = Timing(timing.lease_ttl_seconds, timing.lease_margin_seconds)
        self._me = me
        self._parts: _Parts | None = None
        self._history = History(flow.name, store)
        self._stale = asyncio.Event()
        self._unrecorded = asyncio.Event()
        self._guard_ms: int | None = None
        self._paused = False
        self._passed_once = False

    # -- what others ask ------------------------------------------------------------------------------------------

    @property
    def ready(self) -> bool:
        """Whether every topic was looked at once and nothing is still being seeded (fillers are visible till then)."""
        parts = self._parts
        return (
            parts is not None
            and self._passed_once
            and not any(slot.copy.phase is Phase.SEEDING for slot in parts.pump.slots.values())
        )

    def status(self) -> FlowStatus:
        """Return the picture of this flow now."""
        parts = self._parts
        trouble = self.trouble
        if parts is not None and parts.pump.trouble:
            trouble = "; ".join(f"{place}: {why}" for place, why in sorted(parts.pump.trouble.items()))
        return flow_status(
            self.flow,
            uid=parts.identity.uid if parts else None,
            mirrors=parts.sync.mirrors if parts else {},
            pump=parts.pump if parts else None,
            paused=self._paused,
            trouble=trouble,
        )

    def events(self, topic: str | None, limit: int) -> Sequence[Event]:
        """Return recent events, newest last."""
        return self._history.recent(topic, limit)

    def _up(self) -> _Parts:
        if self._parts is None:
            raise ReplicatorError(
                f"flow {self.flow.name!r} is not up", why=self.trouble or "", next_step="replicator flow status"
            )
        return self._parts

    async def translate(self, questions: Sequence[OffsetQuestion], *, reverse: bool) -> list[Translation]:
        """Translate offsets (`ControlPort.translate`)."""
        parts = self._up()
        return await translate.answers(parts.pump, parts.sync.mirrors, questions, reverse=reverse)

    async def translate_group(self, group: str, *, reverse: bool) -> list[Translation]:
        """Translate what a consumer group committed (`ControlPort.translate_group`)."""
        parts = self._up()
        return await translate.group_answers(parts.pump, parts.sync.mirrors, group, reverse=reverse)

    def groups(self) -> tuple[tuple[GroupStatus, ...], str | None]:
        """Return how far each group has followed, and what holds all of them back (`ControlPort.groups`)."""
        parts = self._parts
        return (parts.groups.statuses(), parts.groups.trouble) if parts is not None else ((), self.trouble)

    async def final_group_sync(
        self, ends: Mapping[TopicPartition, int] | None, *, timeout_seconds: float
    ) -> tuple[GroupOutcome, ...]:
        """Bring groups to where they stay when the target takes over (`GroupSync.final_sync`).

        Raises:
            ReplicatorError: The flow is not up, the ends were not passed in time, or a cluster cannot be asked.
        """
        return await self._up().groups.final_sync(ends, timeout_seconds=timeout_seconds)

    async def forget_groups(self) -> None:
        """Let what stands on the target be its consumers' own (`GroupSync.forget`).

        Raises:
            ReplicatorError: The flow is not up, or the target cannot be written to.
        """
        await self._up().groups.forget()

    async def set_desired(self, desired: Desired, *, actor: str, reason: str) -> bool:
        """Record what the operator wants on the target; return whether it differs from before.

        Raises:
            ReplicatorError: The flow is not up, or the target cannot be written to.
        """
        parts = self._up()
        uid = parts.identity.uid
        wanted = pb.DESIRED_PAUSED if desired is Desired.PAUSED else pb.DESIRED_ACTIVE
        changed = False

        def decide(records: Mapping[bytes, bytes]) -> list[Change]:
            nonlocal changed
            record = state.get_flow(records, uid)
            changed = (record.desired or pb.DESIRED_ACTIVE) != wanted
            if not changed:
                return []
            record.desired = wanted
            record.desired_actor = actor
            record.desired_reason = reason
            record.desired_changed_ms = time.time_ns() // 1_000_000
            return [state.put(state.flow_key(uid), record)]

        await parts.state_log.change(uid, decide)
        self._follow_desired()
        return changed

    async def resolve(self, order: Order, *, dry_run: bool) -> Resolution:
        """Resolve a fault of one mirror, or only tell what would be done; return what is done about it.

        Raises:
            ReplicatorError: The flow is not up, or it cannot be resolved like this.
        """
        parts = self._up()
        resolver = Resolver(parts.identity.uid, parts.sync, parts.pump, parts.state_log, self._admins[1])
        plan = await (resolver.plan(order) if dry_run else resolver.carry_out(order))
        told = described(order.how, plan, order.topic)
        if plan is not None and not dry_run:
            self._history.resolved(order, told)
        return told

    # -- life -----------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Run until cancelled. A cluster that cannot be reached is tried again; a wrong one raises.

        Raises:
            ReplicatorError: Something only an operator can mend.
        """
        pause, longest = _START_PAUSE_SECONDS
        while True:
            try:
                await self._start()
                break
            except (KafkaError, TimedOut, Conflict) as error:
                if isinstance(error, KafkaError) and not error.retryable:
                    raise
                self.trouble = str(error)
                log.warning("flow cannot start yet", flow=self.flow.name, why=str(error), next=error.next_step)
            await asyncio.sleep(pause)
            pause = min(longest, pause * 2)
        parts = self._parts
        if parts is None:
            return
        async with asyncio.TaskGroup() as group:
            group.create_task(parts.pump.run())
            group.create_task(parts.state_log.follow())
            group.create_task(parts.claim.run())
            group.create_task(parts.presence.run())
            group.create_task(self._sync_topics(parts))
            group.create_task(self._record(parts))
            group.create_task(self._record_source_ends(parts))
            group.create_task(self._watch_log_starts(parts))
            group.create_task(self._watch_open_transactions(parts))
            group.create_task(self._tell_progress(parts))
            group.create_task(verify_continuously(self.flow, parts.pump))
            group.create_task(parts.groups.run())

    async def _start(self) -> None:
        await asyncio.gather(self._source.open(), self._target.open(), self._read_guard())
        if self._source.cluster_id == self._target.cluster_id:
            raise WrongCluster(
                f"flow {self.flow.name!r} would feed itself",
                cluster=self.flow.target,
                why=f"{self.flow.source} and {self.flow.target} are the same cluster, {self._source.cluster_id}",
                next_step=f"correct the bootstrap of {self.flow.source} or of {self.flow.target}",
            )
        await ensure_state_topic(self._target, self._admins[1])
        state_log = StateLog(self._target)
        began = asyncio.get_running_loop().time()
        identity = await establish(self.flow, self._source.cluster_id or "", self._target, state_log, self._me)
        claim = ClaimKeeper(state_log, identity.uid, 0, self._me, self._timing, self._target.spec.doubt_seconds)
        if identity.fresh:
            claim.first_claim(began)
        silence_seconds = self._timing.ttl_seconds + PROVEN_SECONDS_MAX + self._target.spec.doubt_seconds
        presence = Presence(state_log, identity.uid, self._me, self._timing, silence_seconds)
        await presence.announce()
        sync = TopicSync(self.flow, identity.uid, self._source, self._target, self._admins, state_log)
        route = FillRoute(
            self._target,
            fill_route_transactional_id(identity.uid),
            identity.writer.fill_id,
            asyncio.get_running_loop().time,
        )
        sides = Side(self._source, {}), Side(self._target, {})
        maps = OffsetMaps(identity.uid, state_log, claim)
        pump = Pump(self.flow, *sides, identity.writer, claim, presence, watcher=self, fill_route=route, maps=maps)
        source_ends = SourceEnds(identity.uid, state_log)
        lineup = Lineup(self.flow, pump, source_ends)
        groups = GroupSync(
            self.flow,
            identity.uid,
            self._source,
            self._target,
            PumpPositions(pump, sync, state_log, identity.uid, self.flow.shards),
            state_log=state_log,
            may_write=lambda: claim.effective_since() is not None and _is_copying(state_log, identity.uid),
        )
        self._parts = _Parts(identity, state_log, claim, presence, sync, pump, source_ends, lineup, groups)
        state_log.listen(self._on_record)
        self._follow_desired()
        self.trouble = None
        log.info("flow up", flow=self.flow.name, uid=identity.uid, fresh=identity.fresh)

    async def _read_guard(self) -> None:
        """Read for how long the target remembers producers; where that is refused, Kafka's default is assumed."""
        try:
            found = await self._admins[1].broker_configs([_EXPIRATION])
        except AuthorizationFailed as error:
            if self._guard_ms is None:
                log.warning("the guard's setting is not known, 24 h assumed", why=str(error), next=error.next_step)
            found = {}
        self._guard_ms = int(found.get(_EXPIRATION) or _EXPIRATION_DEFAULT_MS) - _GUARD_MARGIN_MS

    async def stop(self, seconds: float) -> bool:
        """Drain, give the claim back, close; return whether every answer came.

        Call it before `run` is cancelled.
        """
        parts = self._parts
        drained = True
        if parts is not None:
            drained = await parts.pump.drain(seconds)
            try:
                async with asyncio.timeout(max(0.5, seconds)):
                    await self._record_ends_once(parts)
                    await parts.claim.give_back(drained=drained)
                    if drained:
                        await parts.presence.withdraw()
            except (ReplicatorError, TimeoutError) as error:
                log.warning("claim not given back", flow=self.flow.name, why=str(error))
        return drained

    async def close(self) -> None:
        """Close every connection; after `run` has ended."""
        if self._parts is not None:
            self._parts.pump.close()
        self._source.close()
        self._target.close()
        for admin in self._admins:
            await admin.close()

    # -- topics ---------------------------------------------------------------------------------------------------

    async def _sync_topics(self, parts: _Parts) -> None:
        loop = asyncio.get_running_loop()
        configs_at = 0.0
        while True:
            configs = loop.time() >= configs_at or self._stale.is_set()
            self._stale.clear()
            try:
                if configs:
                    await self._read_guard()
                    configs_at = loop.time() + _CONFIGS_EVERY_SECONDS
                if await parts.sync.run_pass(configs=configs):
                    parts.lineup.apply(parts.sync.mirrors.values(), self._guard_ms or 0, paused=self._paused)
                self._passed_once = True
            except ReplicatorError as error:
                self.trouble = str(error)
                log.warning("topics not in step", flow=self.flow.name, why=str(error), next=error.next_step)
            else:
                self.trouble = None
            try:
                async with asyncio.timeout(_NAMES_EVERY_SECONDS):
                    await self._stale.wait()
                await asyncio.sleep(_STALE_PAUSE_SECONDS)
            except TimeoutError:
                continue

    # -- the pump tells -------------------------------------------------------------------------------------------

    def changed(self, slot: Slot, before: Phase, text: str) -> None:
        """A partition changed its phase (`pump.Watcher`)."""
        self._history.changed(slot, before, text)

    def activated(self, slot: Slot) -> None:
        """A partition is copied for the first time (`pump.Watcher`)."""
        slot.active = True
        slot.level_ms = time.time_ns() // 1_000_000
        self._unrecorded.set()

    def intact_below(self, slot: Slot, source_end: int) -> int:
        """Return below which source offset nothing may have been cleaned away (`pump.Watcher`)."""
        parts = self._parts
        mirror = parts.sync.mirrors.get(slot.source.topic) if parts is not None else None
        if parts is None or mirror is None:
            return 0
        return intact_below(slot, mirror, source_end, parts.pump.now(), parts.pump.now_ms())

    async def seeding(self, slot: Slot, offset: int) -> None:
        """A partition is going to be seeded (`pump.Watcher`)."""
        parts = self._parts
        if parts is None:
            return
        mirror = parts.sync.mirrors[slot.source.topic]
        mirror.seeded[slot.source.partition] = max(offset, mirror.seeded.get(slot.source.partition, 0))
        await parts.sync.record_now()

    def topics_stale(self) -> None:
        """A topic may be gone (`pump.Watcher`)."""
        self._stale.set()

    # -- the state topic ------------------------------------------------------------------------------------------

    def _on_record(self, key: bytes) -> None:
        if self._parts is None:
            return
        if key == state.flow_key(self._parts.identity.uid):
            self._follow_desired()
        topic = self._parts.sync.note_record(key)
        if topic is not None:
            self._parts.lineup.begin_anew(topic)
            self._stale.set()

    def _follow_desired(self) -> None:
        """Pause or resume as the state topic says, whoever wrote it."""
        parts = self._parts
        if parts is None:
            return
        record = state.get_flow(parts.state_log.records, parts.identity.uid)
        paused = record.desired == pb.DESIRED_PAUSED
        if paused == self._paused:
            return
        self._paused = paused
        log.info("flow paused" if paused else "flow resumed", flow=self.flow.name, actor=record.desired_actor)
        for slot in parts.pump.slots.values():
            if paused:
                parts.pump.pause(slot)
            elif slot.copy.phase is Phase.PAUSED:
                parts.pump.resume(slot)

    async def _record(self, parts: _Parts) -> None:
        """Write newly active partitions and leader epochs, many at a time."""
        while True:
            await self._unrecorded.wait()
            await asyncio.sleep(_RECORD_PAUSE_SECONDS)
            self._unrecorded.clear()
            for slot in parts.pump.slots.values():
                mirror = parts.sync.mirrors.get(slot.source.topic)
                if mirror is None:
                    continue
                if slot.active:
                    mirror.active.add(slot.source.partition)
                if slot.copy.last_epoch >= 0:
                    mirror.epochs[slot.source.partition] = slot.copy.last_epoch
            try:
                await parts.sync.record_now()
            except ReplicatorError as error:
                log.warning("state not recorded", flow=self.flow.name, why=str(error))
                await asyncio.sleep(1.0)
                self._unrecorded.set()

    async def _record_source_ends(self, parts: _Parts) -> None:
        while True:
            await asyncio.sleep(_SOURCE_ENDS_EVERY_SECONDS)
            try:
                await self._record_ends_once(parts)
            except ReplicatorError as error:
                log.debug("source ends not recorded", flow=self.flow.name, why=str(error))

    async def _record_ends_once(self, parts: _Parts) -> None:
        """Append what only the claim's holder knows for certain, and see to what only it may do."""
        if parts.claim.holder != self._me:
            return
        await parts.pump.maps.persist(list(parts.pump.slots.values()))
        await parts.source_ends.record(parts.pump)
        if any(
            slot.copy.last_epoch > parts.sync.mirrors[slot.source.topic].epochs.get(slot.source.partition, -1)
            for slot in parts.pump.slots.values()
            if slot.source.topic in parts.sync.mirrors
        ):
            self._unrecorded.set()

    async def _watch_log_starts(self, parts: _Parts) -> None:
        starts = LogStarts(self.flow, parts.pump)
        while True:
            await asyncio.sleep(_FOLLOW_EVERY_SECONDS if self.flow.follow_log_start else _LOG_STARTS_EVERY_SECONDS)
            await starts.look()

    async def _watch_open_transactions(self, parts: _Parts) -> None:
        if not parts.pump.committed_only:  # whoever copies uncommitted records waits for no transaction
            return
        watch = OpenTransactions(self.flow.name, parts.pump)
        while True:
            await asyncio.sleep(_OPEN_TRANSACTIONS_EVERY_SECONDS)
            await watch.look()

    async def _tell_progress(self, parts: _Parts) -> None:
        """Log one line per flow while it is catching up, and one each time that other partitions stand still."""
        loop = asyncio.get_running_loop()
        progress = Progress(loop.time())
        name = self.flow.name
        while True:
            await asyncio.sleep(_PROGRESS_EVERY_SECONDS)
            pump = parts.pump
            moved, lag = pump.totals.records + pump.totals.filled, pump.lag_records()
            partitions: list[PartitionStatus] = []
            if lag or progress.is_stopped or not pump.all_copying():
                # Not while all is well: the whole status of a thousand idle partitions is most of what they cost.
                partitions = [one for mirror in self.status().mirrors for one in mirror.partitions]
            for said in progress.look(partitions, moved, lag, loop.time()):
                if isinstance(said, CatchingUp):
                    log.info("catching up", flow=name, **asdict(said))
                else:
                    log.warning(str(said), flow=name, next=f"replicator mirror list {name}")


def _is_copying(state_log: StateLog, uid: str) -> bool:
    """Return whether the target is still a copy: once it is being promoted, its groups are its own."""
    writer = state.get_writer(state_log.records, uid)
    return writer is not None and writer.role is Role.COPYING
