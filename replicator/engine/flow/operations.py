"""The questions that an operator may ask about one flow in this daemon, and the orders to it."""

from __future__ import annotations

import asyncio
import contextlib
import time
import uuid
from typing import TYPE_CHECKING

from replicator.core.lineage.sources import Source
from replicator.core.offsets.resolution import described
from replicator.core.status.whole_flow import held_elsewhere, who_resolves
from replicator.core.topics import selection
from replicator.engine.flow.forget import forget_mirror
from replicator.engine.lineage.follow import lineage_meant
from replicator.engine.lineage.move import Repointing
from replicator.engine.lineage.records import Order as RepointOrder
from replicator.engine.offsets import time as translate_time
from replicator.engine.offsets import translate
from replicator.engine.offsets.resolve import Resolver
from replicator.engine.offsets.team import TranslatingTeam
from replicator.engine.preflight.rehearse import rehearse
from replicator.engine.state import records as state
from replicator.engine.state.held_back import held_back_of
from replicator.engine.state.ownership.shown_markers import Shown, shown_after_one
from replicator.engine.state.topic.log import StateLog
from replicator.engine.switch.keeper import SwitchKeeper
from replicator.engine.switch.way_back import way_back_of
from replicator.errors import ConnectionFailed, KafkaError, PreflightFailed, ReplicatorError
from replicator.model.status.events import Desired, Event
from replicator.obs.logs import get_logger
from replicator.state_pb import state_pb2 as pb
from replicator.wire.cluster import Cluster

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from replicator.engine.flow.assembly.assemble import Assembly
    from replicator.engine.flow.assembly.inputs import FlowInputs
    from replicator.engine.flow.assembly.run_state import RunState
    from replicator.engine.flow.background.following import Following
    from replicator.engine.flow.picture import FlowPicture
    from replicator.engine.state.topic.log import Change
    from replicator.engine.switch.context import SwitchContext
    from replicator.model.acl import Rule
    from replicator.model.operations.forget import Forgotten
    from replicator.model.operations.lineage import RepointReport
    from replicator.model.operations.report import Report
    from replicator.model.operations.resolution import Resolution, ResolutionOrder
    from replicator.model.operations.translation import OffsetQuestion, TimeQuestion, Translation
    from replicator.model.security import ClusterSpec
    from replicator.model.status.groups import GroupStatus
    from replicator.model.switch.status import SwitchStatus

_FOREIGN_SECONDS_MAX = 15.0
_OPEN_SECONDS_MAX = 10.0

log = get_logger(__name__)


class Operations:
    """Questions about one flow, and orders to it.

    Args:
        inputs: What the flow works with.
        run_state: The state of the flow in this daemon.
        picture: The flow's status.
        following: Follows what is recorded about the flow.
    """

    def __init__(self, inputs: FlowInputs, run_state: RunState, picture: FlowPicture, following: Following) -> None:
        self._inputs = inputs
        self._run_state = run_state
        self._picture = picture
        self._following = following

    @property
    def switches(self) -> SwitchKeeper:
        """The switches of this flow.

        Raises:
            ReplicatorError: Its state on the target is not known yet.
        """
        if self._run_state.switches is None:
            state_log = self._run_state.state_log
            unknown = self._inputs.between.unknown(state_log.records) if state_log is not None else None
            if unknown is not None:
                raise unknown
            raise ReplicatorError(
                f"the switches of flow {self._inputs.flow.name!r} are not known yet",
                why=self._run_state.problem or "",
                next_step="replicator flow status",
            )
        return self._run_state.switches

    async def way_back(self, why: str) -> SwitchStatus:
        """Open the closed source again after its target was lost (`way_back_of`)."""
        await self._inputs.source.open()
        self._inputs.between.check_noted_source()
        return await way_back_of(
            self._switch_context(StateLog(self._inputs.target), ""), self._inputs.between.target_id(), why
        )

    async def rehearse(self) -> Report:
        """Check whether the flow could be switched over (`ControlPort.rehearse`)."""
        record = None
        if self._run_state.assembly is not None:
            record = state.get_flow(self._run_state.assembly.state_log.records, self._run_state.assembly.identity.uid)
        ids = (record.source_cluster_id, record.target_cluster_id) if record is not None else (None, None)
        whole = await self._picture.whole_status()
        ours: tuple[Rule, ...] = ()
        if self._run_state.assembly is not None:
            held = held_back_of(self._run_state.assembly.state_log.records, self._run_state.assembly.identity.uid)
            ours = held.opened(None).made
        foreign = await self._foreign()
        return await rehearse(
            self._inputs.flow,
            whole,
            self._inputs.source.spec,
            self._inputs.target.spec,
            ids,
            self.known_groups(),
            ours=ours,
            foreign=foreign,
            shown=await self._markers_shown(),
        )

    async def _markers_shown(self) -> Shown:
        """Return whether the target shows markers of ours; if there is none yet, write one to the state topic."""
        uid = self._run_state.uid
        if uid is None:
            return Shown.UNKNOWN
        try:
            async with asyncio.timeout(_FOREIGN_SECONDS_MAX):
                return await shown_after_one(self._inputs.target, self._run_state.log().records, uid)
        except (ReplicatorError, TimeoutError) as error:
            log.debug("not known whether markers are shown", flow=self._inputs.flow.name, why=str(error))
            return Shown.UNKNOWN

    async def _foreign(self) -> tuple[tuple[str, int, int], ...] | None:
        """Return where somebody else has written to the mirrors; None if that cannot be determined now."""
        if self._run_state.switches is None:
            return None
        try:
            async with asyncio.timeout(_FOREIGN_SECONDS_MAX):
                return await self._run_state.switches.foreign()
        except (ReplicatorError, TimeoutError) as error:
            log.debug("not looked who else writes", flow=self._inputs.flow.name, why=str(error))
            return None

    async def repoint(self, to: ClusterSpec, *, actor: str, reason: str, dry_run: bool) -> RepointReport:
        """Order the flow to copy from another cluster (`ControlPort.repoint`)."""
        inputs, state_log = self._inputs, self._run_state.log()
        lineage = lineage_meant(state_log.records, inputs.flow, inputs.between, inputs.target)
        if lineage is None:
            raise PreflightFailed(
                f"flow {inputs.flow.name!r} is not known yet, or was never started",
                why=self._run_state.problem or "",
                next_step=f"replicator flow status {inputs.flow.name}",
            )
        cluster = Cluster(to)
        try:
            async with asyncio.timeout(_OPEN_SECONDS_MAX):
                await cluster.open()
            moving = Repointing(
                inputs.flow.name, lineage.uid, inputs.target, state_log, cluster, isolation=inputs.flow.isolation
            )
            if dry_run:
                return await moving.plan()
            now_ms = time.time_ns() // 1_000_000
            source = Source(to.alias, cluster.cluster_id or "")
            return await moving.order(RepointOrder(uuid.uuid4().hex[:12], source, actor, reason, now_ms))
        except TimeoutError:
            raise ConnectionFailed(
                f"cluster {to.alias!r} does not answer within {_OPEN_SECONDS_MAX:g} s",
                cluster=to.alias,
                next_step="repeat the command when it answers",
            ) from None
        finally:
            cluster.close()

    def events(self, topic: str | None, limit: int) -> Sequence[Event]:
        """Return recent events, newest last."""
        return self._inputs.history.recent(topic, limit)

    async def translate(self, questions: Sequence[OffsetQuestion], *, reverse: bool, alone: bool) -> list[Translation]:
        """Translate offsets (`ControlPort.translate`)."""
        assembly = self._run_state.up()
        if alone:
            return await translate.answers(assembly.pump, assembly.sync.mirrors, questions, reverse=reverse)
        return await self._team(assembly, reverse=reverse).answers(questions)

    async def translate_group(self, group: str, *, reverse: bool) -> list[Translation]:
        """Translate what a consumer group committed (`ControlPort.translate_group`)."""
        assembly = self._run_state.up()
        questions = await translate.group_questions(assembly.pump, assembly.sync.mirrors, group, reverse=reverse)
        return await self._team(assembly, reverse=reverse).answers(questions)

    async def translate_time(self, question: TimeQuestion) -> list[Translation]:
        """Translate a moment of the source (`ControlPort.translate_time`)."""
        assembly = self._run_state.up()
        return await translate_time.answers(
            question, assembly.pump, assembly.sync.mirrors, self._team(assembly, reverse=False)
        )

    def _team(self, assembly: Assembly, *, reverse: bool) -> TranslatingTeam:
        return TranslatingTeam(
            self._run_state.asked(assembly),
            assembly.pump,
            assembly.sync.mirrors,
            self._inputs.peers,
            assembly.presence.address,
            reverse=reverse,
        )

    def groups(self) -> tuple[tuple[GroupStatus, ...], str | None]:
        """Return how far each group has followed, and what holds them all back (`ControlPort.groups`).

        Raises:
            ReplicatorError: The groups are unknown: the flow is not up, or they have not been read yet.
        """
        assembly = self._run_state.up()
        if not assembly.groups.is_known:
            raise ReplicatorError(
                f"the groups of flow {self._inputs.flow.name!r} are not known yet",
                why=assembly.groups.problem or "they are being read for the first time",
                next_step="repeat the command in a few seconds",
            )
        return self.known_groups()

    def known_groups(self) -> tuple[tuple[GroupStatus, ...], str | None]:
        """Return the groups as far as they are known, and what the rest waits for."""
        assembly = self._run_state.assembly
        return (
            (assembly.groups.statuses(), assembly.groups.problem)
            if assembly is not None
            else ((), self._run_state.problem)
        )

    async def set_desired(self, desired: Desired, *, actor: str, reason: str) -> bool:
        """Record on the target what the operator wants; return whether it differs from before.

        Raises:
            ReplicatorError: The flow is not up, or the target cannot be written to.
        """
        assembly = self._run_state.up()
        uid = assembly.identity.uid
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

        await assembly.state_log.change(uid, decide)
        self._following.desired()
        return changed

    async def resolve(self, order: ResolutionOrder, *, dry_run: bool, alone: bool) -> Resolution:
        """Resolve a fault of one mirror, or only report what would be done; return what it takes.

        Raises:
            HeldElsewhere: Another daemon works on the stopped partitions: the order has to go there.
            ReplicatorError: The flow is not up, or the fault cannot be resolved like this.
        """
        assembly = self._run_state.up()
        other = None if alone else who_resolves(await self._picture.whole_status(), order, self._inputs.me.instance)
        if other is not None:
            raise held_elsewhere(self._inputs.flow.name, order, other, assembly.presence.address(other))
        resolver = Resolver(
            assembly.identity.uid,
            assembly.sync,
            assembly.pump,
            assembly.state_log,
            self._inputs.admins[1],
            assembly.owners,
        )
        plan = await (resolver.plan(order) if dry_run else resolver.carry_out(order))
        resolution = described(order.how, plan, order.topic)
        if plan is not None and not dry_run:
            self._inputs.history.resolved(order, resolution)
        return resolution

    async def forget_mirror(self, topic: str, *, dry_run: bool) -> Forgotten:
        """Remove what is recorded about a mirror that is no longer copied (`engine.flow.forget`).

        Raises:
            ReplicatorError: The flow is not known here yet, or the mirror is copied, or may be.
        """
        uid = self._run_state.uid
        if uid is None:
            raise ReplicatorError(
                f"the records of flow {self._inputs.flow.name!r} are not known yet",
                why=self._run_state.problem or "",
                next_step="replicator flow status",
            )
        context = self._switch_context(self._run_state.log(), uid)
        selected = selection.matches(self._inputs.flow.topics, topic)
        there: bool | None = None
        if selected:
            with contextlib.suppress(KafkaError):  # then it stays None: not known
                await context.reach_source()
                there = not await self._inputs.source.gone([topic])
        return await forget_mirror(
            self._run_state.log(), (self._inputs.flow.name, uid), topic, selected=selected, there=there, dry_run=dry_run
        )

    def _switch_context(self, state_log: StateLog, uid: str) -> SwitchContext:
        return self._run_state.switch_context(state_log, uid, self._picture.copying)
