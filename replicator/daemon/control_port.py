"""Passes requests from outside to the flow that they are about (`control.port.ControlPort`)."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from replicator import __version__
from replicator.core.status.health import not_ready_because
from replicator.core.switch.forgetting import check_flow
from replicator.engine.flow.assembly.assemble import silence_seconds
from replicator.engine.flow.ending import why_ended
from replicator.engine.flow.forget import forget_flow
from replicator.engine.state.repair import clear_damaged, damage_of
from replicator.errors import UsageError
from replicator.model.status.snapshots import DaemonStatus, FlowStatus
from replicator.model.status.states import FlowState
from replicator.obs.logs import get_logger

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from replicator.daemon.flows import Flows
    from replicator.engine.flow.runner import FlowRunner
    from replicator.model.operations.damage import Clearing, Damage, Damaged
    from replicator.model.operations.forget import Forgotten
    from replicator.model.operations.lineage import RepointReport
    from replicator.model.operations.report import Report
    from replicator.model.operations.resolution import Resolution, ResolutionOrder
    from replicator.model.operations.translation import OffsetQuestion, TimeQuestion, Translation
    from replicator.model.spec import FlowSpec
    from replicator.model.status.events import Desired, Event
    from replicator.model.status.groups import GroupStatus
    from replicator.model.switch.status import BothSides, SwitchPlan, SwitchStatus
    from replicator.model.switch.terms import SwitchOrder

log = get_logger(__name__)


class DaemonControl:
    """A daemon as its servers see it.

    Args:
        instance: The daemon's name.
        flows: The flows that it runs.
    """

    def __init__(self, instance: str, flows: Flows) -> None:
        self._instance = instance
        self._flows = flows
        self._started_at = datetime.now(UTC).isoformat(timespec="seconds")

    async def snapshot(self) -> DaemonStatus:
        """Return what this daemon knows now."""
        flows = tuple([await self._flow_status(flow) for flow in self._flows.spec.flows])
        waiting = "; ".join(why for flow in flows if (why := not_ready_because(flow)) is not None)
        if self._flows.stopping.is_set():
            waiting = "the daemon is stopping"
        return DaemonStatus(
            instance=self._instance,
            version=__version__,
            started_at=self._started_at,
            ready=not waiting,
            not_ready_because=waiting or None,
            config_reload_ok=self._flows.reload_ok,
            flows=flows,
        )

    async def _flow_status(self, flow: FlowSpec) -> FlowStatus:
        supervisor = self._flows.supervisors.get(flow.name)
        if supervisor is not None:
            return await _status_of(supervisor.runner)
        remote = flow not in self._flows.mine()
        return FlowStatus(
            flow=flow.name,
            flow_uid=None,
            source=flow.source,
            target=flow.target,
            state=FlowState.ACTIVE if remote else FlowState.STARTING,
            reason=f"runs where daemon.site is {flow.target}" if remote else "starting",
            remote=remote,
        )

    async def set_desired(self, flow: str, desired: Desired, *, actor: str, reason: str) -> bool:
        """Pause or resume a flow; see `ControlPort.set_desired`."""
        return await self._flows.runner(flow).operations.set_desired(desired, actor=actor, reason=reason)

    async def resolve(self, flow: str, order: ResolutionOrder, *, dry_run: bool, alone: bool) -> Resolution:
        """Resolve the fault of a mirror; see `ControlPort.resolve`."""
        return await self._flows.runner(flow).operations.resolve(order, dry_run=dry_run, alone=alone)

    async def whole_snapshot(self, flow: str | None) -> DaemonStatus:
        """Return the snapshot with what other daemons copy; see `ControlPort.whole_snapshot`."""
        status = await self.snapshot()
        wanted = [one for one in status.flows if flow in {None, one.flow}]
        whole = await asyncio.gather(*(self._whole(one) for one in wanted))
        return replace(status, flows=tuple(whole))

    async def _whole(self, flow: FlowStatus) -> FlowStatus:
        supervisor = self._flows.supervisors.get(flow.flow)
        return flow if supervisor is None else await supervisor.runner.picture.whole_of(flow)

    async def translate(
        self, flow: str, questions: Sequence[OffsetQuestion], *, reverse: bool, alone: bool
    ) -> Sequence[Translation]:
        """Translate offsets; see `ControlPort.translate`."""
        return await self._flows.runner(flow).operations.translate(questions, reverse=reverse, alone=alone)

    async def translate_time(self, flow: str, question: TimeQuestion) -> Sequence[Translation]:
        """Translate a point in time on the source; see `ControlPort.translate_time`."""
        return await self._flows.runner(flow).operations.translate_time(question)

    async def translate_group(self, flow: str, group: str, *, reverse: bool) -> Sequence[Translation]:
        """Translate a group's offsets; see `ControlPort.translate_group`."""
        return await self._flows.runner(flow).operations.translate_group(group, reverse=reverse)

    async def rehearse(self, flow: str) -> Report:
        """Check whether a flow could be moved; see `ControlPort.rehearse`."""
        return await self._flows.runner(flow).operations.rehearse()

    def reverse_of(self, flow: str) -> str:
        """Return the flow in the opposite direction; see `ControlPort.reverse_of`."""
        return self._flows.runner(flow).reverse_name

    async def forget(self, flow: str, topic: str | None, *, may: Callable[[str], None], dry_run: bool) -> Forgotten:
        """Remove the records of a mirror or a flow; see `ControlPort.forget`."""
        if topic is not None:
            return await self._flows.runner(flow).operations.forget_mirror(topic, dry_run=dry_run)
        if any(one.name == flow for one in self._flows.spec.flows):
            check_flow(flow, in_file=True, running=None, active=())
        timing, clusters = self._flows.spec.coordinator, self._flows.spec.clusters
        silence = max(silence_seconds(timing, one) for one in clusters)
        ours = frozenset(uid for one in self._flows.supervisors.values() if (uid := one.runner.uid) is not None)
        return await forget_flow(clusters, flow, ours=ours, silence_seconds=silence, may=may, dry_run=dry_run)

    async def repoint(self, flow: str, to: str, *, actor: str, reason: str, dry_run: bool) -> RepointReport:
        """Order a flow to copy from another cluster; see `ControlPort.repoint`."""
        cluster = next((one for one in self._flows.spec.clusters if one.alias == to), None)
        if cluster is None:
            known = ", ".join(sorted(one.alias for one in self._flows.spec.clusters))
            raise UsageError(
                f"the flow file of this daemon names no cluster {to!r}",
                why=f"it names {known}",
                next_step=f"add clusters.{to} to it and reload the daemon (SIGHUP), then repeat the command",
            )
        operations = self._flows.runner(flow).operations
        return await operations.repoint(cluster, actor=actor, reason=reason, dry_run=dry_run)

    async def damaged(self, flow: str, *, may: Callable[[str | None], None]) -> Damage:
        """Return a flow's records that cannot be read; see `ControlPort.damaged`."""
        return await damage_of(self._flows.spec.clusters, flow, may=may)

    async def clear_damaged(self, flow: str, order: Clearing, *, may: Callable[[str | None], None]) -> Damaged:
        """Clear a record that cannot be read; see `ControlPort.clear_damaged`."""
        return await clear_damaged(self._flows.spec.clusters, flow, order, may=may)

    async def plan_switch(self, flow: str, order: SwitchOrder) -> SwitchPlan:
        """Return what a switch would do; see `ControlPort.plan_switch`."""
        return await self._flows.runner(flow).operations.switches.plan(order)

    async def start_switch(self, flow: str, order: SwitchOrder) -> tuple[SwitchStatus | None, bool]:
        """Order a switch; see `ControlPort.start_switch`."""
        switches = self._flows.runner(flow).operations.switches
        journal, already = await switches.start(order)
        return None if journal is None else switches.status_of(journal), already

    def switches(self, flow: str) -> Sequence[SwitchStatus]:
        """Return the switches of a flow; see `ControlPort.switches`."""
        return self._flows.runner(flow).operations.switches.statuses()

    async def both_sides(self, flow: str, switch_id: str) -> BothSides:
        """Return how a switch left both sides; see `ControlPort.both_sides`."""
        runner = self._flows.runner(flow)
        other = self._flows.supervisors.get(runner.reverse_name)
        return await runner.operations.switches.both_sides(
            switch_id, other.runner.picture.copying() if other is not None else None
        )

    async def abort_switch(self, flow: str, why: str, *, target_lost: bool) -> SwitchStatus:
        """Undo a switch; see `ControlPort.abort_switch`."""
        runner = self._flows.runner(flow)
        if target_lost:
            return await runner.operations.way_back(why)
        return runner.operations.switches.status_of(await runner.operations.switches.abort(why))

    async def confirm_switch(self, flow: str, confirm: str) -> SwitchStatus:
        """Agree to what a failback found; see `ControlPort.confirm_switch`."""
        switches = self._flows.runner(flow).operations.switches
        return switches.status_of(await switches.confirm(confirm))

    def groups(self, flow: str) -> tuple[Sequence[GroupStatus], str | None]:
        """Return how far each group has followed; see `ControlPort.groups`."""
        return self._flows.runner(flow).operations.groups()

    def events(self, flow: str, topic: str | None, limit: int) -> Sequence[Event]:
        """Return recent events; see `ControlPort.events`."""
        return self._flows.runner(flow).operations.events(topic, limit)


async def _status_of(runner: FlowRunner) -> FlowStatus:
    """Return a flow's status; a flow that fails here does not take down the status and metrics of the others."""
    try:
        return await runner.picture.status()
    except Exception as error:
        flow = runner.flow
        log.warning("what a flow shows is not known", flow=flow.name, why=str(error), exc_info=error)
        return FlowStatus(flow.name, None, flow.source, flow.target, FlowState.FAULTED, why_ended(error))
