"""One daemon: runs the flows of a file, serves status and control, reloads, and drains on the way out."""

from __future__ import annotations

import asyncio
import gc
import os
import resource
import signal
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from replicator import __version__
from replicator.aio.tasks import watched, within
from replicator.config.diff import diff
from replicator.config.load import load
from replicator.core.status.health import not_ready_because
from replicator.core.switch.forgetting import check_flow
from replicator.daemon.coordination import open_coordination, own_endpoint
from replicator.daemon.instance import StateDirLock, new_instance
from replicator.daemon.loop_errors import LoopErrors
from replicator.daemon.memory import collect_while_few, map_large_blocks
from replicator.daemon.signals import EndingSignals
from replicator.daemon.supervisor import FlowSupervisor
from replicator.engine.flow.assembly import silence_seconds
from replicator.engine.flow.ending import why_ended
from replicator.engine.flow.forget import forget_flow
from replicator.engine.flow.inputs import FlowInputs, Me
from replicator.engine.flow.runner import FlowRunner
from replicator.engine.state.repair import clear_damaged, damage_of
from replicator.errors import ConfigError, StoreFull, UsageError
from replicator.files import make_private
from replicator.logins import forget_refusals
from replicator.model.states import FlowState
from replicator.model.status import DaemonStatus, FlowStatus
from replicator.model.units import format_address
from replicator.obs.audit import Audit
from replicator.obs.logs import get_logger
from replicator.obs.loop_watch import LoopWatch
from replicator.rpc.peers import Peers
from replicator.rpc.server import RpcServer
from replicator.store.background import BackgroundStore
from replicator.store.port import MemoryStore, Store
from replicator.store.sqlite import SqliteStore
from replicator.web import http
from replicator.web.gate import Gate

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from replicator.model.damage import Clearing, Damage, Damaged
    from replicator.model.events import Desired, Event
    from replicator.model.forget import Forgotten
    from replicator.model.groups import GroupStatus
    from replicator.model.report import Report
    from replicator.model.resolution import Order, Resolution
    from replicator.model.spec import FlowSpec, Spec
    from replicator.model.switch import Order as SwitchOrder
    from replicator.model.switch_status import BothSides, SwitchPlan, SwitchStatus
    from replicator.model.translation import OffsetQuestion, TimeQuestion, Translation
    from replicator.rpc.lease_port import LeasePort

_SERVERS_SECONDS = 0.8
_GC_THRESHOLDS = (20_000, 20, 50)

log = get_logger(__name__)


class Daemon:
    """The daemon. It is also the `control.port.ControlPort` that gRPC and HTTP ask."""

    def __init__(self, spec: Spec) -> None:
        self._spec = spec
        self._instance = new_instance()
        self._me = Me(self._instance, format_address(spec.daemon.rpc))
        self._leases: LeasePort | None = None
        self._peers = Peers(own_endpoint(spec.daemon))
        self._started_at = datetime.now(UTC).isoformat(timespec="seconds")
        self._flows: dict[str, FlowSupervisor] = {}
        self._stopping = asyncio.Event()
        self._reload_task: asyncio.Task[None] | None = None
        self._store: Store = MemoryStore()
        self._reload_ok = True
        self._reloading = asyncio.Lock()
        self._rpc: RpcServer | None = None

    # -- ControlPort ----------------------------------------------------------------------------------------------

    async def snapshot(self) -> DaemonStatus:
        """Return what this daemon knows now."""
        flows = tuple([await self._flow_status(flow) for flow in self._spec.flows])
        waiting = "; ".join(why for flow in flows if (why := not_ready_because(flow)) is not None)
        if self._stopping.is_set():
            waiting = "the daemon is stopping"
        return DaemonStatus(
            instance=self._instance,
            version=__version__,
            started_at=self._started_at,
            ready=not waiting,
            not_ready_because=waiting or None,
            config_reload_ok=self._reload_ok,
            flows=flows,
        )

    async def _flow_status(self, flow: FlowSpec) -> FlowStatus:
        supervisor = self._flows.get(flow.name)
        if supervisor is not None:
            return await _status_of(supervisor.runner)
        remote = flow not in self._mine(self._spec)
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
        return await self._runner(flow).operations.set_desired(desired, actor=actor, reason=reason)

    async def resolve(self, flow: str, order: Order, *, dry_run: bool, alone: bool) -> Resolution:
        """Resolve the fault of a mirror; see `ControlPort.resolve`."""
        return await self._runner(flow).operations.resolve(order, dry_run=dry_run, alone=alone)

    async def whole_snapshot(self, flow: str | None) -> DaemonStatus:
        """Return the same with what other daemons copy; see `ControlPort.whole_snapshot`."""
        status = await self.snapshot()
        wanted = [one for one in status.flows if flow in {None, one.flow}]
        whole = await asyncio.gather(*(self._whole(one) for one in wanted))
        return replace(status, flows=tuple(whole))

    async def _whole(self, flow: FlowStatus) -> FlowStatus:
        supervisor = self._flows.get(flow.flow)
        return flow if supervisor is None else await supervisor.runner.picture.whole_of(flow)

    async def translate(
        self, flow: str, questions: Sequence[OffsetQuestion], *, reverse: bool, alone: bool
    ) -> Sequence[Translation]:
        """Translate offsets; see `ControlPort.translate`."""
        return await self._runner(flow).operations.translate(questions, reverse=reverse, alone=alone)

    async def translate_time(self, flow: str, question: TimeQuestion) -> Sequence[Translation]:
        """Translate a moment of the source; see `ControlPort.translate_time`."""
        return await self._runner(flow).operations.translate_time(question)

    async def translate_group(self, flow: str, group: str, *, reverse: bool) -> Sequence[Translation]:
        """Translate a group's offsets; see `ControlPort.translate_group`."""
        return await self._runner(flow).operations.translate_group(group, reverse=reverse)

    async def rehearse(self, flow: str) -> Report:
        """Look whether a flow could be moved; see `ControlPort.rehearse`."""
        return await self._runner(flow).operations.rehearse()

    def reverse_of(self, flow: str) -> str:
        """Return the flow that goes the other way; see `ControlPort.reverse_of`."""
        return self._runner(flow).reverse_name

    async def forget(self, flow: str, topic: str | None, *, may: Callable[[str], None], dry_run: bool) -> Forgotten:
        """Remove the records of a mirror or a flow; see `ControlPort.forget`."""
        if topic is not None:
            return await self._runner(flow).operations.forget_mirror(topic, dry_run=dry_run)
        if any(one.name == flow for one in self._spec.flows):
            check_flow(flow, in_file=True, running=None, active=())
        timing, clusters = self._spec.coordinator, self._spec.clusters
        silence = max(silence_seconds(timing, one) for one in clusters)
        ours = frozenset(uid for one in self._flows.values() if (uid := one.runner.uid) is not None)
        return await forget_flow(clusters, flow, ours=ours, silence_seconds=silence, may=may, dry_run=dry_run)

    async def damaged(self, flow: str, *, may: Callable[[str | None], None]) -> Damage:
        """Return what cannot be read of a flow; see `ControlPort.damaged`."""
        return await damage_of(self._spec.clusters, flow, may=may)

    async def clear_damaged(self, flow: str, order: Clearing, *, may: Callable[[str | None], None]) -> Damaged:
        """Clear a record that cannot be read; see `ControlPort.clear_damaged`."""
        return await clear_damaged(self._spec.clusters, flow, order, may=may)

    async def plan_switch(self, flow: str, order: SwitchOrder) -> SwitchPlan:
        """Return what a switch would do; see `ControlPort.plan_switch`."""
        return await self._runner(flow).operations.switches.plan(order)

    async def start_switch(self, flow: str, order: SwitchOrder) -> tuple[SwitchStatus | None, bool]:
        """Order a switch; see `ControlPort.start_switch`."""
        switches = self._runner(flow).operations.switches
        journal, already = await switches.start(order)
        return None if journal is None else switches.status_of(journal), already

    def switches(self, flow: str) -> Sequence[SwitchStatus]:
        """Return the switches of a flow; see `ControlPort.switches`."""
        return self._runner(flow).operations.switches.statuses()

    async def both_sides(self, flow: str, switch_id: str) -> BothSides:
        """Return how a switch left both sides; see `ControlPort.both_sides`."""
        runner = self._runner(flow)
        other = self._flows.get(runner.reverse_name)
        return await runner.operations.switches.both_sides(
            switch_id, other.runner.picture.copying() if other is not None else None
        )

    async def abort_switch(self, flow: str, why: str, *, target_lost: bool) -> SwitchStatus:
        """Undo a switch; see `ControlPort.abort_switch`."""
        runner = self._runner(flow)
        if target_lost:
            return await runner.operations.way_back(why)
        return runner.operations.switches.status_of(await runner.operations.switches.abort(why))

    async def confirm_switch(self, flow: str, confirm: str) -> SwitchStatus:
        """Agree to what a failback found; see `ControlPort.confirm_switch`."""
        switches = self._runner(flow).operations.switches
        return switches.status_of(await switches.confirm(confirm))

    def groups(self, flow: str) -> tuple[Sequence[GroupStatus], str | None]:
        """Return how far each group has followed; see `ControlPort.groups`."""
        return self._runner(flow).operations.groups()

    def events(self, flow: str, topic: str | None, limit: int) -> Sequence[Event]:
        """Return recent events; see `ControlPort.events`."""
        return self._runner(flow).operations.events(topic, limit)

    def _runner(self, flow: str) -> FlowRunner:
        supervisor = self._flows.get(flow)
        if supervisor is None:
            raise UsageError(
                f"this daemon does not run flow {flow!r}", next_step="ask the daemon whose site is the flow's target"
            )
        return supervisor.runner

    # -- life -----------------------------------------------------------------------------------------------------

    def _open_store(self) -> Store:
        """Open the file of events; where its disk is full, go on without: copying must not wait for a cache."""
        try:
            store = SqliteStore(self._spec.daemon.state_dir)
        except StoreFull as error:
            log.error("events are not kept", why=str(error), next=error.next_step)  # noqa: TRY400 - no bug of ours
            return self._store
        if store.set_aside is not None:
            log.error("a damaged file of events was set aside, and begun anew", kept_as=str(store.set_aside))
        return BackgroundStore(store)

    async def run(self) -> None:
        """Run until SIGTERM or SIGINT, whatever becomes of the flows.

        Raises:
            ReplicatorError: A server cannot listen, or the state directory cannot be used.
        """
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(LoopErrors(self._end_flow))
        with EndingSignals(loop, self._stopping.set):
            loop.add_signal_handler(signal.SIGHUP, self._reload_soon)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})  # one that came while we were loaded comes now
            prepare_state_dir(self._spec.daemon.state_dir)
            lock = StateDirLock(self._spec.daemon.state_dir, self._instance)
            self._me = Me(self._instance, self._me.address, lock.predecessor)
            _settle_memory()
            if self._spec.coordinator.store != "memory":
                self._store = await asyncio.to_thread(self._open_store)
            coordination = open_coordination(self._spec, lock.predecessor)
            self._leases = coordination.port
            for flow in self._mine(self._spec):
                self._start(flow, coordination.port)
            stop_http = asyncio.Event()
            audit = Audit(self._spec.daemon.state_dir)
            rpc = self._rpc = self._rpc_server(audit, coordination.port)
            beside = [watched(asyncio.create_task(work)) for work in (LoopWatch().run(), collect_while_few())]
            serving = asyncio.create_task(
                http.serve(*self._spec.daemon.http, self, stop_http, gate=Gate.of(self._spec.daemon, rpc.access))
            )
            try:
                await rpc.start()
                await self._until_stopped(serving)
            finally:
                await self._drain()
                stop_http.set()
                await asyncio.gather(
                    within(_SERVERS_SECONDS, rpc.stop(grace_seconds=0.5), "rpc"),
                    asyncio.wait({serving}, timeout=_SERVERS_SECONDS),
                )
                await within(_SERVERS_SECONDS, coordination.close(), "the coordinator's store")
                await within(_SERVERS_SECONDS, self._peers.close(), "connections to other daemons")
                for task in (*beside, serving):
                    task.cancel()
                for close in (self._store.close, audit.close, lock.close):
                    _quietly(close)
                log.info("stopped")

    def _rpc_server(self, audit: Audit, leases: LeasePort) -> RpcServer:
        daemon = self._spec.daemon
        host, port = daemon.rpc
        return RpcServer(
            self,
            audit,
            host=host,
            port=port,
            state_dir=daemon.state_dir,
            tls=daemon.tls,
            leases=leases,
            rules=daemon.access,
        )

    async def _drain(self) -> None:
        log.info("draining")
        self._stopping.set()
        await self._stop_all()

    def _mine(self, spec: Spec) -> list[FlowSpec]:
        site = spec.daemon.site
        return [flow for flow in spec.flows if site is None or flow.target == site]

    def _start(self, flow: FlowSpec, leases: LeasePort) -> None:
        spec = self._spec

        def make() -> FlowRunner:
            return FlowRunner(
                FlowInputs(
                    flow,
                    spec.cluster(flow.source),
                    spec.cluster(flow.target),
                    spec.coordinator,
                    self._me,
                    self._store,
                    leases,
                    self._peers,
                    reverse=_reverse_of(spec, flow),
                )
            )

        supervisor = self._flows[flow.name] = FlowSupervisor(flow.name, make)
        supervisor.start()

    def _end_flow(self, flow: str, error: BaseException) -> None:
        supervisor = self._flows.get(flow)
        if supervisor is not None:
            supervisor.runner.end_over(error)

    async def _until_stopped(self, serving: asyncio.Task[None]) -> None:
        """Wait for a signal; a flow that ends by itself is its supervisor's business alone."""
        stopping = asyncio.create_task(self._stopping.wait())
        try:
            await asyncio.wait({stopping, serving}, return_when=asyncio.FIRST_COMPLETED)
            if serving.done():
                serving.result()
        finally:
            stopping.cancel()

    async def _stop_all(self) -> None:
        await asyncio.gather(*(self._stop(name) for name in list(self._flows)))

    async def _stop(self, name: str) -> None:
        """End a flow; a reload and a signal may want it at the same time."""
        supervisor = self._flows[name]
        await supervisor.stop()
        if self._flows.get(name) is supervisor:
            del self._flows[name]

    # -- reload ---------------------------------------------------------------------------------------------------

    def _reload_soon(self) -> None:
        self._reload_task = watched(asyncio.get_running_loop().create_task(self._reload()))

    async def _reload(self) -> None:
        """Take the file anew; one with mistakes changes nothing."""
        async with self._reloading:
            try:
                new = await asyncio.to_thread(load, self._spec.path, os.environ)  # a disk may hang
            except ConfigError as error:
                self._reload_ok = False
                for problem in error.problems:
                    log.error("configuration not reloaded", problem=problem)  # noqa: TRY400 - a mistake, not a crash
                return
            forget_refusals()
            plan = diff(self._spec, new)
            self._reload_ok = True
            if plan.restart_needed:
                log.warning("a restart is needed for some of it", keys=plan.restart_because)
            # Those that have ended are begun again: what stopped them may be mended.
            ended = {name for name, one in self._flows.items() if one.runner.ended_because is not None}
            gone = ({*plan.flows_removed, *plan.flows_changed, *plan.flows_affected} & self._flows.keys()) | ended
            await asyncio.gather(*(self._stop(name) for name in gone))
            if self._stopping.is_set():
                return
            self._spec = new
            if self._rpc is not None:
                self._rpc.access.rules = new.daemon.access
            for flow in self._mine(new):
                if flow.name not in self._flows and self._leases is not None:
                    self._start(flow, self._leases)
            log.info("configuration reloaded", added=plan.flows_added, removed=plan.flows_removed, changed=sorted(gone))


async def _status_of(runner: FlowRunner) -> FlowStatus:
    """Return what a flow shows; one that cannot tell takes nobody's status and metrics along."""
    try:
        return await runner.picture.status()
    except Exception as error:
        flow = runner.flow
        log.warning("what a flow shows is not known", flow=flow.name, why=str(error), exc_info=error)
        return FlowStatus(flow.name, None, flow.source, flow.target, FlowState.FAULTED, why_ended(error))


def _settle_memory() -> None:
    """Let large blocks be mapped, and collections leave out what was imported.

    That lives for ever, and the hot path makes no cycles: full collections would only walk it.
    """
    map_large_blocks()
    gc.freeze()
    gc.set_threshold(*_GC_THRESHOLDS)


def _quietly(close: Callable[[], None]) -> None:
    """Close something on the way out: whatever it meets, the rest is closed as well."""
    try:
        close()
    except Exception as error:  # noqa: BLE001 - a full disk, most likely; there is nobody left to tell but the log
        log.warning("not closed", what=getattr(close, "__qualname__", str(close)), why=str(error))


def _reverse_of(spec: Spec, flow: FlowSpec) -> FlowSpec | None:
    """Return the flow with both clusters swapped that belongs to a flow, whichever of the two names the other."""
    return next((one for one in spec.flows if flow.name == one.reverse_of or one.name == flow.reverse_of), None)


def prepare_state_dir(path: Path) -> None:
    """Make the state directory, for this user only, and forbid core dumps (they would hold secrets).

    Raises:
        StoreError: It cannot be made, or others can write to it.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    make_private(path)
