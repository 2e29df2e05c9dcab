"""Runs one flow: identity, claim, topic sync and pump, and the picture of all of it for status."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING

from replicator.admin.topics import TopicAdmin
from replicator.aio.tasks import lasting
from replicator.backoff import Backoff
from replicator.core.copy.producer_memory import SETTINGS, ProducerMemory, producer_memory, spread
from replicator.core.copy.values import Phase
from replicator.core.offsets.resolution import described
from replicator.core.status.whole_flow import elsewhere, has_parts_elsewhere, held_elsewhere, merged, who_resolves
from replicator.core.topics import selection
from replicator.engine.flow.assembly import Ground, Parts, assemble, silence_seconds
from replicator.engine.flow.background import Chores
from replicator.engine.flow.cluster_watch import ClusterWatch
from replicator.engine.flow.copying import PartsCopying
from replicator.engine.flow.ending import why_ended
from replicator.engine.flow.forget import forget_mirror
from replicator.engine.flow.history import History
from replicator.engine.flow.source_ends import intact_below
from replicator.engine.flow.start_findings import StartFindings
from replicator.engine.flow.status import Silent, at_rest, flow_status, told_once
from replicator.engine.offsets import time as translate_time
from replicator.engine.offsets import translate
from replicator.engine.offsets.resolve import Resolver
from replicator.engine.offsets.team import TranslatingTeam
from replicator.engine.preflight.rehearse import rehearse
from replicator.engine.state import records as state
from replicator.engine.state.between import Between
from replicator.engine.state.held_back import held_back_of
from replicator.engine.state.identity import agree_on_shards, ensure_state_topic, establish
from replicator.engine.state.log import StateLog
from replicator.engine.state.shown_markers import Shown, shown_after_one
from replicator.engine.switch.context import Site
from replicator.engine.switch.keeper import SwitchKeeper, way_back_of
from replicator.engine.switch.opening import OpenedLook
from replicator.engine.verify.continuous import verify_continuously
from replicator.engine.work.fence import role_text
from replicator.errors import (
    AuthorizationFailed,
    BugError,
    Conflict,
    DamagedRecord,
    KafkaError,
    ReplicatorError,
    TimedOut,
    WrongCluster,
)
from replicator.model.events import Desired, Event
from replicator.model.names import STATE_TOPIC, TopicPartition
from replicator.model.states import FlowState, Reason
from replicator.model.status import ClusterStatus, FlowStatus
from replicator.obs.logs import get_logger
from replicator.rpc.peers import Asked
from replicator.state_pb import state_pb2 as pb
from replicator.wire.cluster import Cluster

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence

    from replicator.engine.copy.partition import Slot
    from replicator.engine.flow.assembly import Me
    from replicator.engine.state.log import Change
    from replicator.engine.work.shards import Shard
    from replicator.model.acl import Rule
    from replicator.model.forget import Forgotten
    from replicator.model.groups import GroupStatus
    from replicator.model.report import Report
    from replicator.model.resolution import Order, Resolution
    from replicator.model.security import ClusterSpec
    from replicator.model.spec import CoordinatorSpec, FlowSpec
    from replicator.model.switch_status import SwitchStatus
    from replicator.model.translation import OffsetQuestion, TimeQuestion, Translation
    from replicator.rpc.lease_port import LeasePort
    from replicator.rpc.peers import Peers
    from replicator.store.port import Store

_NAMES_EVERY_SECONDS = 5.0
_CONFIGS_EVERY_SECONDS = 30.0
_STALE_PAUSE_SECONDS = 0.5
_START_PAUSE_SECONDS = (0.2, 4.0)
"""The longest is well below `SILENT_SECONDS`: nothing else is asked of a target that was not opened yet."""
_GUARD_MARGIN_MS = 3_600_000
_DRAIN_SECONDS = 4.0
_FOREIGN_SECONDS_MAX = 15.0
_UID_SECONDS = 0.2

log = get_logger(__name__)


class FlowRunner:
    """One flow in one daemon.

    Args:
        flow: Its policy.
        source: How to reach the source.
        target: How to reach the target.
        coordinator: Timing of leases and claims.
        me: This daemon.
        store: Where events are kept.
        leases: Who grants leases.
        peers: How other daemons of the flow are asked.
        reverse: The flow with both clusters swapped, if the file has one.

    Attributes:
        trouble: What its topics, or its start, wait for; None for nothing.
        ended_because: Why it ended by itself; None while it runs.
    """

    def __init__(
        self,
        flow: FlowSpec,
        source: ClusterSpec,
        target: ClusterSpec,
        coordinator: CoordinatorSpec,
        me: Me,
        store: Store,
        leases: LeasePort,
        peers: Peers,
        *,
        reverse: FlowSpec | None = None,
    ) -> None:
        self.flow = flow
        self.trouble: str | None = "starting"
        self.ended_because: str | None = None
        self._source = Cluster(source)
        self._source.concerns = lambda name: name == STATE_TOPIC or selection.means_by_name(flow.topics, name)
        self._target = Cluster(target)
        self._found = StartFindings(flow.name)
        self._opened: OpenedLook | None = None
        self._between = Between(flow, self._source, self._target, store)
        self._admins = (TopicAdmin(source), TopicAdmin(target))
        self._admins[0].prove_with(self._source.prove)
        self._coordinator = coordinator
        self._me = me
        self._leases = leases
        self._peers = peers
        self._reverse = reverse
        self._state_log: StateLog | None = None
        self._switches: SwitchKeeper | None = None
        self._meant: FlowState | None = None
        self._parts: Parts | None = None
        self._history = History(flow.name, store)
        self._stale = False
        self._look = asyncio.Event()
        self._chores: Chores | None = None
        self._resharded = asyncio.Event()
        self._memory: ProducerMemory | None = None
        self._paused = False
        self._passed_once = False
        self._writers_changed = False
        self._bug: BaseException | None = None
        self._met_bug = asyncio.Event()

    # -- what others ask ------------------------------------------------------------------------------------------

    async def status(self) -> FlowStatus:
        """Return the picture of this flow now."""
        parts = self._parts
        now = asyncio.get_running_loop().time()
        clusters = self._clusters(now)
        shown = self._state(clusters)
        picture = await flow_status(
            shown,
            self.flow,
            uid=parts.identity.uid if parts else None,
            mirrors=parts.sync.mirrors if parts else {},
            pump=parts.pump if parts else None,
            paused=self._paused,
            trouble=self._reason(shown, clusters),
            coordinator_answers=parts.leases.answers if parts else None,
            clusters=clusters,
            silent=Silent(self._source.seen.silent(now), self._target.seen.silent(now)),
            chosen=parts.sync.chosen if parts else None,
        )
        return picture if self.ended_because is None else at_rest(picture)

    def _clusters(self, now: float) -> tuple[ClusterStatus, ...]:
        """Return what is known of both clusters; nothing of those that nobody looks at any more."""
        sides = (self._source, self._target)
        if self.ended_because is not None:
            return tuple(ClusterStatus(side.spec.alias, None) for side in sides)
        return tuple(side.seen.status(side.spec.alias, now) for side in sides)

    def _state(self, clusters: Sequence[ClusterStatus]) -> FlowState:
        """Return which state the flow shows: by its switches and its writer's role, and by what answers."""
        if self.ended_because is not None:
            return FlowState.FAULTED
        if self._switches is None:
            meant = FlowState.PAUSED if self._paused else FlowState.ACTIVE
        else:
            try:
                meant = self._meant = self._switches.state(paused=self._paused)
            except DamagedRecord:  # which the reason tells; what is copied goes on, and what stands by stays there
                meant = self._meant or (FlowState.PAUSED if self._paused else FlowState.ACTIVE)
        if meant is not FlowState.ACTIVE:
            return meant
        if any(cluster.up is False for cluster in clusters):
            return FlowState.UNREACHABLE
        return FlowState.ACTIVE if self._parts is not None and self._passed_once else FlowState.STARTING

    def _reason(self, shown: FlowState, clusters: Sequence[ClusterStatus]) -> str | None:
        """Return all that an operator should know of a flow beside the figures."""
        if self.ended_because is not None:
            return self.ended_because
        lost = self._state_log.lost if self._state_log is not None else None
        try:
            under_way = self._switches.under_way if self._switches is not None else None
        except DamagedRecord as error:
            under_way = error.with_next_step()
        told = [lost, *self._found.texts(), under_way]
        told.append(self._opened.untold if self._opened is not None else None)
        beside = len(told)  # none of these explains what the flow waits for
        told += [cluster.trouble for cluster in clusters]
        told += self._throttled()
        parts = self._parts
        if parts is not None:
            down = tuple(f"{cluster.cluster} broker " for cluster in clusters if cluster.up is False)
            troubles = sorted(parts.pump.present_trouble().items())
            told += [f"{place}: {why}" for place, why in troubles if not place.startswith(down)]
            told += [*parts.shards.troubles(), parts.acls.trouble]
        if shown is not FlowState.UNREACHABLE and not any(told[beside:]) and self.trouble != self._found.wrong_cluster:
            told.append(self.trouble)
        return told_once(told, lost, self._state_log.is_gone if self._state_log is not None else "")

    def _throttled(self) -> list[str]:
        """Return which side is slow because it asks for pauses: that is no fault, and waiting is all that helps."""
        now = asyncio.get_running_loop().time()
        sides = (("source", self._source), ("target", self._target))
        told = ((side, cluster.seen.throttled(cluster.spec.alias, now)) for side, cluster in sides)
        return [f"throttled by the {side}: {text}" for side, text in told if text is not None]

    @property
    def switches(self) -> SwitchKeeper:
        """The switches of this flow.

        Raises:
            ReplicatorError: Its state on the target is not known yet.
        """
        if self._switches is None:
            unknown = self._between.unknown(self._state_log.records) if self._state_log is not None else None
            if unknown is not None:
                raise unknown
            raise ReplicatorError(
                f"the switches of flow {self.flow.name!r} are not known yet",
                why=self.trouble or "",
                next_step="replicator flow status",
            )
        return self._switches

    async def way_back(self, why: str) -> SwitchStatus:
        """Open the closed source again, whose target is lost (`way_back_of`)."""
        await self._source.open()
        self._between.check_noted_source()
        return await way_back_of(self._site(StateLog(self._target), ""), self._between.target_id(), why)

    async def whole_status(self) -> FlowStatus:
        """Return the picture of the whole flow, with what the daemons tell that copy other parts of it."""
        return await self.whole_of(await self.status())

    async def whole_of(self, mine: FlowStatus) -> FlowStatus:
        """Return the same, where its own picture is there already."""
        names = sorted(elsewhere(mine) - {self._me.instance})
        parts = self._parts
        if parts is None or not has_parts_elsewhere(mine):
            return mine
        asked = await asyncio.gather(
            *(self._peers.status(parts.presence.address(name), self._asked(parts)) for name in names),
            return_exceptions=True,
        )
        others: list[FlowStatus] = []
        silent: dict[str, str] = {}
        for name, answer in zip(names, asked, strict=True):
            if isinstance(answer, FlowStatus):
                others.append(answer)
            elif isinstance(answer, ReplicatorError):
                silent[name] = str(answer)
            else:
                raise answer
        return await asyncio.to_thread(merged, mine, others, silent)

    async def rehearse(self) -> Report:
        """Look whether the flow could be moved to its other side (`ControlPort.rehearse`)."""
        record = None
        if self._parts is not None:
            record = state.get_flow(self._parts.state_log.records, self._parts.identity.uid)
        ids = (record.source_cluster_id, record.target_cluster_id) if record is not None else (None, None)
        whole = await self.whole_status()
        ours: tuple[Rule, ...] = ()
        if self._parts is not None:
            held = held_back_of(self._parts.state_log.records, self._parts.identity.uid)
            ours = held.opened(None).made
        foreign = await self._foreign()
        return await rehearse(
            self.flow,
            whole,
            self._source.spec,
            self._target.spec,
            ids,
            self.known_groups(),
            ours=ours,
            foreign=foreign,
            shown=await self._markers_shown(),
        )

    async def _markers_shown(self) -> Shown:
        """Return whether the target shows markers of ours: where none is, one is written to the state topic."""
        uid = self._known_uid()
        if uid is None:
            return Shown.UNKNOWN
        try:
            async with asyncio.timeout(_FOREIGN_SECONDS_MAX):
                return await shown_after_one(self._target, self._log().records, uid)
        except (ReplicatorError, TimeoutError) as error:
            log.debug("not known whether markers are shown", flow=self.flow.name, why=str(error))
            return Shown.UNKNOWN

    async def _foreign(self) -> tuple[tuple[str, int, int], ...] | None:
        """Return where somebody else wrote to the mirrors, None where that cannot be told now."""
        if self._switches is None:
            return None
        try:
            async with asyncio.timeout(_FOREIGN_SECONDS_MAX):
                return await self._switches.foreign()
        except (ReplicatorError, TimeoutError) as error:
            log.debug("not looked who else writes", flow=self.flow.name, why=str(error))
            return None

    def events(self, topic: str | None, limit: int) -> Sequence[Event]:
        """Return recent events, newest last."""
        return self._history.recent(topic, limit)

    def _up(self) -> Parts:
        if self._parts is None:
            raise ReplicatorError(
                f"flow {self.flow.name!r} is not up", why=self.trouble or "", next_step="replicator flow status"
            )
        return self._parts

    def _up_chores(self) -> Chores:
        if self._chores is None:
            raise BugError(f"flow {self.flow.name} has no chores before it is up")
        return self._chores

    async def translate(self, questions: Sequence[OffsetQuestion], *, reverse: bool, alone: bool) -> list[Translation]:
        """Translate offsets (`ControlPort.translate`)."""
        parts = self._up()
        if alone:
            return await translate.answers(parts.pump, parts.sync.mirrors, questions, reverse=reverse)
        return await self._team(parts, reverse=reverse).answers(questions)

    async def translate_group(self, group: str, *, reverse: bool) -> list[Translation]:
        """Translate what a consumer group committed (`ControlPort.translate_group`)."""
        parts = self._up()
        questions = await translate.group_questions(parts.pump, parts.sync.mirrors, group, reverse=reverse)
        return await self._team(parts, reverse=reverse).answers(questions)

    async def translate_time(self, question: TimeQuestion) -> list[Translation]:
        """Translate a moment of the source (`ControlPort.translate_time`)."""
        parts = self._up()
        return await translate_time.answers(question, parts.pump, parts.sync.mirrors, self._team(parts, reverse=False))

    def _asked(self, parts: Parts) -> Asked:
        return Asked(self.flow.name, parts.identity.uid)

    def _team(self, parts: Parts, *, reverse: bool) -> TranslatingTeam:
        return TranslatingTeam(
            self._asked(parts), parts.pump, parts.sync.mirrors, self._peers, parts.presence.address, reverse=reverse
        )

    def groups(self) -> tuple[tuple[GroupStatus, ...], str | None]:
        """Return how far each group has followed, and what holds all of them back (`ControlPort.groups`).

        Raises:
            ReplicatorError: Which groups there are is unknown: the flow is not up, or they were not read yet.
        """
        parts = self._up()
        if not parts.groups.looked:
            raise ReplicatorError(
                f"the groups of flow {self.flow.name!r} are not known yet",
                why=parts.groups.trouble or "they are being read for the first time",
                next_step="repeat the command in a few seconds",
            )
        return self.known_groups()

    def known_groups(self) -> tuple[tuple[GroupStatus, ...], str | None]:
        """Return the same as far as it is known, with what the rest waits for."""
        parts = self._parts
        return (parts.groups.statuses(), parts.groups.trouble) if parts is not None else ((), self.trouble)

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

    async def resolve(self, order: Order, *, dry_run: bool, alone: bool) -> Resolution:
        """Resolve a fault of one mirror, or only tell what would be done; return what is done about it.

        Raises:
            HeldElsewhere: Another daemon copies what stands still: it takes the order, of whoever gives it.
            ReplicatorError: The flow is not up, or it cannot be resolved like this.
        """
        parts = self._up()
        other = None if alone else who_resolves(await self.whole_status(), order, self._me.instance)
        if other is not None:
            raise held_elsewhere(self.flow.name, order, other, parts.presence.address(other))
        resolver = Resolver(parts.identity.uid, parts.sync, parts.pump, parts.state_log, self._admins[1], parts.owners)
        plan = await (resolver.plan(order) if dry_run else resolver.carry_out(order))
        told = described(order.how, plan, order.topic)
        if plan is not None and not dry_run:
            self._history.resolved(order, told)
        return told

    @property
    def uid(self) -> str | None:
        """The flow's uid, None while it is not known."""
        return self._known_uid() if self._state_log is not None else None

    async def forget_mirror(self, topic: str, *, dry_run: bool) -> Forgotten:
        """Remove what is recorded of a mirror that is not copied any more (`engine.flow.forget`).

        Raises:
            ReplicatorError: The flow is not known here yet, or the mirror is copied, or may be.
        """
        uid = self.uid
        if uid is None:
            raise ReplicatorError(
                f"what is recorded of flow {self.flow.name!r} is not known yet",
                why=self.trouble or "",
                next_step="replicator flow status",
            )
        site = self._site(self._log(), uid)
        selected = selection.matches(self.flow.topics, topic)
        there: bool | None = None
        if selected:
            with contextlib.suppress(KafkaError):  # then it is not known, which is said
                await site.reach_source()
                there = not await self._source.gone([topic])
        return await forget_mirror(
            self._log(), (self.flow.name, uid), topic, selected=selected, there=there, dry_run=dry_run
        )

    # -- life -----------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Run until cancelled. A cluster that cannot be reached is tried again; a wrong one raises.

        Raises:
            ReplicatorError: Something only an operator can mend.
            Exception: A bug.
        """
        async with asyncio.TaskGroup() as group:
            group.create_task(lasting(self._until_bug))
            await self._patiently(self._open_target)
            group.create_task(lasting(self._watch(self._source, 0).run))
            group.create_task(lasting(self._watch(self._target, 1).run))
            group.create_task(lasting(self._log().follow))
            group.create_task(lasting(self._copy))
            group.create_task(lasting(self._switch))

    def end_over(self, bug: BaseException) -> None:
        """Let `run` raise what a callback or a stray task of this flow met: it belongs to nothing smaller."""
        if self._bug is None:
            self._bug = bug
            self._met_bug.set()

    async def _until_bug(self) -> None:
        await self._met_bug.wait()
        if self._bug is not None:
            raise self._bug

    def ended_over(self, error: BaseException) -> BaseException:
        """Note why `run` has ended by itself; return it."""
        self.ended_because = why_ended(error)
        return error

    def follows(self, before: FlowRunner) -> None:
        """Say until this one is up why the one before it ended."""
        self.trouble = f"begun again; it had ended over: {before.ended_because}"

    def _watch(self, cluster: Cluster, side: int) -> ClusterWatch:
        """Return the watch over the source (0) or the target (1)."""
        kept = TopicPartition(STATE_TOPIC, 0)

        def in_use() -> Collection[int]:
            nodes = self._parts.pump.nodes_in_use()[side] if self._parts is not None else set()
            keeper = cluster.leader(kept) if cluster is self._target else None
            return nodes | {keeper.node} if keeper is not None else nodes

        def leaderless() -> Collection[TopicPartition]:
            parts = self._parts.pump.leaderless()[side] if self._parts is not None else []
            return [*parts, kept] if cluster is self._target and cluster.away(kept) is not None else parts

        def lost() -> None:
            if self._parts is not None:
                self._parts.pump.leaders_stale(source=side == 0, target=side == 1)

        return ClusterWatch(self.flow.name, cluster, in_use, lost, leaderless)

    async def _patiently(self, work: Callable[[], Awaitable[None]]) -> None:
        """Do what a flow starts with, again and again while a cluster cannot be reached."""
        backoff = Backoff(*_START_PAUSE_SECONDS)
        while True:
            try:
                await work()
            except (KafkaError, TimedOut, Conflict) as error:
                if isinstance(error, KafkaError) and not error.retryable and not self._is_of_source(error):
                    raise
                before, self.trouble = self.trouble, self._found.met(error)
                if self.trouble != before:
                    log.warning("flow cannot start yet", flow=self.flow.name, why=str(error), next=error.next_step)
            else:
                return
            await asyncio.sleep(backoff.next_seconds())

    def _is_of_source(self, error: KafkaError) -> bool:
        """Return whether another cluster answers as the source: nothing is copied, but the target can be opened."""
        return isinstance(error, WrongCluster) and error.cluster == self.flow.source

    async def _open_target(self) -> None:
        """Open the target and read what is recorded there; the source may be gone."""
        await self._target.open()
        await ensure_state_topic(self._target, self._admins[1])
        state_log = StateLog(self._target)
        await state_log.read_to_end()
        self._state_log = state_log

    def _log(self) -> StateLog:
        if self._state_log is None:
            raise BugError(f"flow {self.flow.name} has no state yet")
        return self._state_log

    async def _switch(self) -> None:
        """Keep switches going; also while the source is gone, if the flow was ever begun."""
        uid, seen = None, None
        while uid is None:
            now = self._log().position, self._source.cluster_id, self._parts is None
            if now != seen:  # a search of all records, which a source that stays unknown must not repeat for ever
                seen, uid = now, self._known_uid()
            if uid is None:
                await asyncio.sleep(_UID_SECONDS)
        self._switches = SwitchKeeper(self._site(self._log(), uid))
        await self._switches.run()

    def _site(self, state_log: StateLog, uid: str) -> Site:
        self._between.hold_source(state_log.records, uid)
        return Site(
            self.flow,
            self._reverse,
            self._source,
            self._target,
            self._admins,
            state_log,
            uid,
            self._me.instance,
            self.copying,
        )

    def _known_uid(self) -> str | None:
        """Return the flow's uid; None while nothing tells which flow it is, or it was never begun."""
        if self._parts is not None:
            return self._parts.identity.uid
        known = self._between.record(self._log().records)
        return known.uid if known is not None else None

    @property
    def reverse_name(self) -> str:
        """Name of the flow with both clusters swapped, empty where the file has none."""
        return self._reverse.name if self._reverse is not None else ""

    def copying(self) -> PartsCopying | None:
        """Return what the copying tells whoever carries out a switch; None while the flow is not up here."""
        if self._parts is None:
            return None
        return PartsCopying(self._parts, lambda: self._paused, self.whole_status)

    async def _copy(self) -> None:
        await self._patiently(self._start)
        parts = self._up()
        async with asyncio.TaskGroup() as group:
            group.create_task(lasting(parts.pump.run))
            group.create_task(lasting(parts.presence.run))
            group.create_task(lasting(parts.leases.run))
            group.create_task(lasting(parts.shards.run, parts.leases))
            for shard in parts.shards.shards:
                group.create_task(lasting(shard.claim.run))
            group.create_task(lasting(self._stop_when_resharded))
            group.create_task(lasting(self._sync_topics, parts))
            self._up_chores().begin(group)
            group.create_task(lasting(verify_continuously, self.flow, parts.pump))
            group.create_task(lasting(parts.groups.run))

    async def _start(self) -> None:
        await asyncio.gather(self._source.open(), self._read_guard())
        if self._source.cluster_id == self._target.cluster_id:
            raise WrongCluster(
                f"flow {self.flow.name!r} would feed itself",
                cluster=self.flow.target,
                why=f"{self.flow.source} and {self.flow.target} are the same cluster, {self._source.cluster_id}",
                next_step=f"correct the bootstrap of {self.flow.source} or of {self.flow.target}",
            )
        state_log = self._log()
        await state_log.read_to_end()
        self._between.check_source(state_log.records)
        known = self._known_uid()
        if known is not None:
            await self._found.look_at_role(self._site(state_log, known))
        identity = await establish(self.flow, self._source.cluster_id or "", self._target, state_log, self._me.instance)
        silence = silence_seconds(self._coordinator, self._target.spec)
        await agree_on_shards(self.flow, identity.uid, self._target, state_log, silence, self._tell_waiting)
        ground = Ground(
            self.flow,
            self._me,
            self._source,
            self._target,
            self._admins,
            identity,
            state_log,
            self._coordinator,
            self._leases,
        )
        parts = assemble(ground, self, self._drain_shard, self._shards_changed)
        self._chores = Chores(
            self.flow,
            self._me.instance,
            self._target,
            parts,
            lambda: self._copies(parts),
            self.status,
            self._look.set,
        )
        self._between.note()
        await self._found.look_at_switches(self._site(state_log, identity.uid))
        self._parts = parts
        state_log.listen(self._on_record)
        self._follow_desired()
        self.trouble = self._found.wrong_cluster = None
        log.info(
            "flow up", flow=self.flow.name, uid=identity.uid, fresh=identity.fresh, shards=len(parts.shards.shards)
        )

    def _tell_waiting(self, why: str) -> None:
        if self.trouble != why:
            log.warning("flow waits", flow=self.flow.name, why=why)
        self.trouble = why

    async def _read_guard(self) -> None:
        """Read for how long the target's brokers remember producers; Kafka's default counts for who does not tell."""
        try:
            memory = producer_memory(await self._admins[1].each_broker_configs(SETTINGS))
        except AuthorizationFailed as error:
            if self._memory is None:
                log.warning("the guard's setting is not known, 24 h assumed", why=str(error), next=error.next_step)
            memory = ProducerMemory({})
        memory = memory.and_before(self._memory)
        if memory.differs and (self._memory is None or memory.by_broker != self._memory.by_broker):
            log.warning(
                "brokers of the target remember producers for different times, the shortest counts",
                flow=self.flow.name,
                setting=memory.setting,
                why=spread(memory),
                next=f"give all brokers of {self.flow.target} the same {memory.setting}",
            )
        self._memory = memory

    @property
    def _guard_ms(self) -> int:
        """Up to which age of records the target refuses doubles by itself; 0 before it was asked."""
        return 0 if self._memory is None else self._memory.shortest_ms - _GUARD_MARGIN_MS

    async def stop(self, seconds: float) -> bool:
        """Hand off what others can take over, drain the rest; return whether every answer came.

        Call it before `run` is cancelled.
        """
        parts = self._parts
        return True if parts is None else await parts.shards.end(seconds)

    async def close(self) -> None:
        """Close every connection; after `run` has ended."""
        if self._parts is not None:
            self._parts.pump.close()
        self._source.close()
        self._target.close()
        for admin in self._admins:
            await admin.close()

    # -- shards ---------------------------------------------------------------------------------------------------

    async def _drain_shard(self, shard: Shard) -> bool:
        """End the work on a shard's partitions, with what only the holder of its claim can still record."""
        parts = self._up()
        slots = [slot for slot in parts.pump.slots.values() if slot.shard is shard]
        drained = await parts.pump.drain(slots, _DRAIN_SECONDS, "handed over")
        try:
            await self._up_chores().record_ends_once([shard])
        except ReplicatorError as error:
            log.warning("source ends not recorded", flow=self.flow.name, why=str(error))
        parts.lineup.forget(slots)
        return drained

    async def _stop_when_resharded(self) -> None:
        await self._resharded.wait()
        raise Conflict(
            f"flow {self.flow.name!r} has another number of shards by now than the {self.flow.shards} of this file",
            why="another daemon of the flow was started with another file, while this one seemed to be gone",
            next_step="give all daemons of the flow the same `shards`, and start this one again",
        )

    def _shards_changed(self) -> None:
        """Begin with the partitions of shards that became ours."""
        if self._parts is not None and self._passed_once:
            self._parts.pump.start_task(self._line_up(self._parts))

    async def _line_up(self, parts: Parts) -> None:
        await parts.lineup.apply(parts.sync.mirrors.values(), self._guard_ms, lambda: self._paused)

    # -- topics ---------------------------------------------------------------------------------------------------

    async def _sync_topics(self, parts: Parts) -> None:
        loop = asyncio.get_running_loop()
        self._opened = opened = OpenedLook(parts.identity.uid, self._source, self._admins, parts.state_log)
        configs_at = 0.0
        while True:
            configs = loop.time() >= configs_at or self._stale
            self._stale = False
            self._look.clear()
            try:
                await opened.look()
                if self._stands_by(parts):
                    parts.sync.stand_by()
                    self._passed_once = True
                    await self._until_stale()
                    continue
                if configs:
                    await self._read_guard()
                    configs_at = loop.time() + _CONFIGS_EVERY_SECONDS
                if await parts.sync.run_pass(configs=configs):
                    await self._line_up(parts)
                self._passed_once = True
            except ReplicatorError as error:
                before, self.trouble = self.trouble, self._found.met(error)
                if self.trouble != before:
                    log.warning("topics not in step", flow=self.flow.name, why=str(error), next=error.next_step)
            else:
                self.trouble = self._found.wrong_cluster = None
            await self._until_stale()

    async def _until_stale(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_NAMES_EVERY_SECONDS):
                await self._look.wait()
            await asyncio.sleep(_STALE_PAUSE_SECONDS)

    def _copies(self, parts: Parts) -> bool:
        return state.standing_role(parts.state_log.records, parts.identity.uid) is None

    def _stands_by(self, parts: Parts) -> bool:
        """Return whether the target is the open side: then nothing of it is ours to change."""
        role = state.standing_role(parts.state_log.records, parts.identity.uid)
        if role is None:
            return False
        way_back = f"it is the way back of {self.flow.reverse_of}: " if self.flow.reverse_of else ""
        self.trouble = f"stands by, {way_back}{role_text(role)} ({role})"
        return True

    # -- the pump tells -------------------------------------------------------------------------------------------

    def changed(self, slot: Slot, before: Phase, text: str) -> None:
        """A partition changed its phase (`pump.Watcher`)."""
        self._history.changed(slot, before, text)

    def activated(self, slot: Slot) -> None:
        """A partition is copied for the first time (`pump.Watcher`)."""
        slot.active = True
        slot.level_ms = time.time_ns() // 1_000_000
        self._up_chores().unrecorded.set()

    def intact_below(self, slot: Slot, source_end: int) -> int:
        """Return below which source offset nothing may have been cleaned away (`pump.Watcher`)."""
        parts = self._parts
        mirror = parts.sync.mirrors.get(slot.source.topic) if parts is not None else None
        if parts is None or mirror is None:
            return 0
        return intact_below(slot, mirror, source_end, parts.pump.context.now(), parts.pump.context.now_ms())

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
        self._stale = True
        self._look.set()

    # -- the state topic ------------------------------------------------------------------------------------------

    def _on_record(self, key: bytes) -> None:
        if self._parts is None:
            return
        uid = self._parts.identity.uid
        if key == state.flow_key(uid):
            self._follow_desired()
        if key.startswith(state.writer_key(uid)) and not self._writers_changed:
            # Once behind all records of a change: a switch of a thousand topics changes as many.
            self._writers_changed = True
            asyncio.get_running_loop().call_soon(self._follow_writers, self._parts)
        topic = self._parts.sync.note_record(key)
        if topic is not None:
            self._parts.lineup.begin_anew(topic)
            self.topics_stale()

    def _follow_writers(self, parts: Parts) -> None:
        """Stop at once what a fence has begun for; begin anew with what may be copied (again)."""
        self._writers_changed = False
        before, writers = parts.pump.context.writers, state.writers_of(parts.state_log.records, parts.identity.uid)
        if writers is None or writers == before:
            return
        parts.pump.context.writers = writers
        changed = [
            slot for slot in parts.pump.slots.values() if writers.of(slot.target.topic) != before.of(slot.target.topic)
        ]
        names = sorted(topic for topic, own in writers.own.items() if own != before.of(topic))
        writer = writers.flow
        told = {"role": writer.role, "epoch": writer.producer_epoch, "apart": names}
        log.warning("writer changed", flow=self.flow.name, **told, always=True)
        parts.lineup.forget([slot for slot in changed if writers.copies(slot.target.topic)])
        for slot in changed:
            if not writers.copies(slot.target.topic):
                parts.pump.fault(slot, Reason.FENCED, role_text(writers.of(slot.target.topic).role))
        self.topics_stale()

    def _follow_desired(self) -> None:
        """Pause or resume as the state topic says, whoever wrote it."""
        parts = self._parts
        if parts is None:
            return
        record = state.get_flow(parts.state_log.records, parts.identity.uid)
        if state.shards_of(record) != self.flow.shards:
            self._resharded.set()
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
