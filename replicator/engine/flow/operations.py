"""What an operator may ask of one flow in this daemon, and order."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING

from replicator.core.offsets.resolution import described
from replicator.core.status.whole_flow import held_elsewhere, who_resolves
from replicator.core.topics import selection
from replicator.engine.flow.forget import forget_mirror
from replicator.engine.offsets import time as translate_time
from replicator.engine.offsets import translate
from replicator.engine.offsets.resolve import Resolver
from replicator.engine.offsets.team import TranslatingTeam
from replicator.engine.preflight.rehearse import rehearse
from replicator.engine.state import records as state
from replicator.engine.state.held_back import held_back_of
from replicator.engine.state.log import StateLog
from replicator.engine.state.ownership.shown_markers import Shown, shown_after_one
from replicator.engine.switch.keeper import SwitchKeeper
from replicator.engine.switch.way_back import way_back_of
from replicator.errors import KafkaError, ReplicatorError
from replicator.model.events import Desired, Event
from replicator.obs.logs import get_logger
from replicator.state_pb import state_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from replicator.engine.flow.assembly import Parts
    from replicator.engine.flow.following import Following
    from replicator.engine.flow.inputs import FlowInputs
    from replicator.engine.flow.picture import FlowPicture
    from replicator.engine.flow.standing import Standing
    from replicator.engine.state.log import Change
    from replicator.engine.switch.context import Site
    from replicator.model.acl import Rule
    from replicator.model.forget import Forgotten
    from replicator.model.groups import GroupStatus
    from replicator.model.report import Report
    from replicator.model.resolution import Order, Resolution
    from replicator.model.switch.status import SwitchStatus
    from replicator.model.translation import OffsetQuestion, TimeQuestion, Translation

_FOREIGN_SECONDS_MAX = 15.0

log = get_logger(__name__)


class Operations:
    """Questions about one flow, and orders to it.

    Args:
        inputs: What it works with.
        standing: How it stands.
        picture: What it shows.
        following: Follows what is recorded of it.
    """

    def __init__(self, inputs: FlowInputs, standing: Standing, picture: FlowPicture, following: Following) -> None:
        self._inputs = inputs
        self._standing = standing
        self._picture = picture
        self._following = following

    @property
    def switches(self) -> SwitchKeeper:
        """The switches of this flow.

        Raises:
            ReplicatorError: Its state on the target is not known yet.
        """
        if self._standing.switches is None:
            state_log = self._standing.state_log
            unknown = self._inputs.between.unknown(state_log.records) if state_log is not None else None
            if unknown is not None:
                raise unknown
            raise ReplicatorError(
                f"the switches of flow {self._inputs.flow.name!r} are not known yet",
                why=self._standing.trouble or "",
                next_step="replicator flow status",
            )
        return self._standing.switches

    async def way_back(self, why: str) -> SwitchStatus:
        """Open the closed source again, whose target is lost (`way_back_of`)."""
        await self._inputs.source.open()
        self._inputs.between.check_noted_source()
        return await way_back_of(self._site(StateLog(self._inputs.target), ""), self._inputs.between.target_id(), why)

    async def rehearse(self) -> Report:
        """Look whether the flow could be moved to its other side (`ControlPort.rehearse`)."""
        record = None
        if self._standing.parts is not None:
            record = state.get_flow(self._standing.parts.state_log.records, self._standing.parts.identity.uid)
        ids = (record.source_cluster_id, record.target_cluster_id) if record is not None else (None, None)
        whole = await self._picture.whole_status()
        ours: tuple[Rule, ...] = ()
        if self._standing.parts is not None:
            held = held_back_of(self._standing.parts.state_log.records, self._standing.parts.identity.uid)
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
        """Return whether the target shows markers of ours: where none is, one is written to the state topic."""
        uid = self._standing.uid
        if uid is None:
            return Shown.UNKNOWN
        try:
            async with asyncio.timeout(_FOREIGN_SECONDS_MAX):
                return await shown_after_one(self._inputs.target, self._standing.log().records, uid)
        except (ReplicatorError, TimeoutError) as error:
            log.debug("not known whether markers are shown", flow=self._inputs.flow.name, why=str(error))
            return Shown.UNKNOWN

    async def _foreign(self) -> tuple[tuple[str, int, int], ...] | None:
        """Return where somebody else wrote to the mirrors, None where that cannot be told now."""
        if self._standing.switches is None:
            return None
        try:
            async with asyncio.timeout(_FOREIGN_SECONDS_MAX):
                return await self._standing.switches.foreign()
        except (ReplicatorError, TimeoutError) as error:
            log.debug("not looked who else writes", flow=self._inputs.flow.name, why=str(error))
            return None

    def events(self, topic: str | None, limit: int) -> Sequence[Event]:
        """Return recent events, newest last."""
        return self._inputs.history.recent(topic, limit)

    async def translate(self, questions: Sequence[OffsetQuestion], *, reverse: bool, alone: bool) -> list[Translation]:
        """Translate offsets (`ControlPort.translate`)."""
        parts = self._standing.up()
        if alone:
            return await translate.answers(parts.pump, parts.sync.mirrors, questions, reverse=reverse)
        return await self._team(parts, reverse=reverse).answers(questions)

    async def translate_group(self, group: str, *, reverse: bool) -> list[Translation]:
        """Translate what a consumer group committed (`ControlPort.translate_group`)."""
        parts = self._standing.up()
        questions = await translate.group_questions(parts.pump, parts.sync.mirrors, group, reverse=reverse)
        return await self._team(parts, reverse=reverse).answers(questions)

    async def translate_time(self, question: TimeQuestion) -> list[Translation]:
        """Translate a moment of the source (`ControlPort.translate_time`)."""
        parts = self._standing.up()
        return await translate_time.answers(question, parts.pump, parts.sync.mirrors, self._team(parts, reverse=False))

    def _team(self, parts: Parts, *, reverse: bool) -> TranslatingTeam:
        return TranslatingTeam(
            self._standing.asked(parts),
            parts.pump,
            parts.sync.mirrors,
            self._inputs.peers,
            parts.presence.address,
            reverse=reverse,
        )

    def groups(self) -> tuple[tuple[GroupStatus, ...], str | None]:
        """Return how far each group has followed, and what holds all of them back (`ControlPort.groups`).

        Raises:
            ReplicatorError: Which groups there are is unknown: the flow is not up, or they were not read yet.
        """
        parts = self._standing.up()
        if not parts.groups.looked:
            raise ReplicatorError(
                f"the groups of flow {self._inputs.flow.name!r} are not known yet",
                why=parts.groups.problem or "they are being read for the first time",
                next_step="repeat the command in a few seconds",
            )
        return self.known_groups()

    def known_groups(self) -> tuple[tuple[GroupStatus, ...], str | None]:
        """Return the same as far as it is known, with what the rest waits for."""
        parts = self._standing.parts
        return (parts.groups.statuses(), parts.groups.problem) if parts is not None else ((), self._standing.trouble)

    async def set_desired(self, desired: Desired, *, actor: str, reason: str) -> bool:
        """Record what the operator wants on the target; return whether it differs from before.

        Raises:
            ReplicatorError: The flow is not up, or the target cannot be written to.
        """
        parts = self._standing.up()
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
        self._following.desired()
        return changed

    async def resolve(self, order: Order, *, dry_run: bool, alone: bool) -> Resolution:
        """Resolve a fault of one mirror, or only tell what would be done; return what is done about it.

        Raises:
            HeldElsewhere: Another daemon copies what stands still: it takes the order, of whoever gives it.
            ReplicatorError: The flow is not up, or it cannot be resolved like this.
        """
        parts = self._standing.up()
        other = None if alone else who_resolves(await self._picture.whole_status(), order, self._inputs.me.instance)
        if other is not None:
            raise held_elsewhere(self._inputs.flow.name, order, other, parts.presence.address(other))
        resolver = Resolver(
            parts.identity.uid, parts.sync, parts.pump, parts.state_log, self._inputs.admins[1], parts.owners
        )
        plan = await (resolver.plan(order) if dry_run else resolver.carry_out(order))
        told = described(order.how, plan, order.topic)
        if plan is not None and not dry_run:
            self._inputs.history.resolved(order, told)
        return told

    async def forget_mirror(self, topic: str, *, dry_run: bool) -> Forgotten:
        """Remove what is recorded of a mirror that is not copied any more (`engine.flow.forget`).

        Raises:
            ReplicatorError: The flow is not known here yet, or the mirror is copied, or may be.
        """
        uid = self._standing.uid
        if uid is None:
            raise ReplicatorError(
                f"what is recorded of flow {self._inputs.flow.name!r} is not known yet",
                why=self._standing.trouble or "",
                next_step="replicator flow status",
            )
        site = self._site(self._standing.log(), uid)
        selected = selection.matches(self._inputs.flow.topics, topic)
        there: bool | None = None
        if selected:
            with contextlib.suppress(KafkaError):  # then it is not known, which is said
                await site.reach_source()
                there = not await self._inputs.source.gone([topic])
        return await forget_mirror(
            self._standing.log(), (self._inputs.flow.name, uid), topic, selected=selected, there=there, dry_run=dry_run
        )

    def _site(self, state_log: StateLog, uid: str) -> Site:
        return self._standing.site(state_log, uid, self._picture.copying)
