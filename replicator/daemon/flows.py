"""The flows of a daemon: starts them, finds them by name, replaces them after a reload, and stops them."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from replicator.config.diff import diff
from replicator.daemon.supervisor import FlowSupervisor
from replicator.engine.flow.assembly.inputs import DaemonIdentity, FlowInputs
from replicator.engine.flow.runner import FlowRunner
from replicator.errors import UsageError
from replicator.obs.logs import get_logger
from replicator.rpc.client.peers import Peers
from replicator.store.event_store import Store

if TYPE_CHECKING:
    from replicator.model.security import ClusterSpec
    from replicator.model.spec import FlowSpec, Spec
    from replicator.rpc.client.lease_port import LeasePort

log = get_logger(__name__)


class Shared(NamedTuple):
    """What all flows of a daemon share.

    Attributes:
        me: The daemon.
        store: Where events are kept.
        leases: The coordinator that grants leases.
        peers: Connections to other daemons.
    """

    me: DaemonIdentity
    store: Store
    leases: LeasePort
    peers: Peers


class Flows:
    """The flows of a file that run in this daemon, each with its supervisor.

    Args:
        spec: The file.
        stopping: Set once the daemon ends: from then on no flow starts.

    Attributes:
        spec: The file as last accepted.
        reload_ok: Whether the last reload was accepted.
        stopping: As given.
        supervisors: By flow.
    """

    def __init__(self, spec: Spec, stopping: asyncio.Event) -> None:
        self.spec = spec
        self.reload_ok = True
        self.stopping = stopping
        self.supervisors: dict[str, FlowSupervisor] = {}
        self._shared: Shared | None = None

    def mine(self) -> list[FlowSpec]:
        """Return the flows of the file that run here."""
        site = self.spec.daemon.site
        return [flow for flow in self.spec.flows if site is None or flow.target == site]

    def runner(self, flow: str) -> FlowRunner:
        """Return a flow that runs here.

        Raises:
            UsageError: It does not run here.
        """
        supervisor = self.supervisors.get(flow)
        if supervisor is None:
            raise UsageError(
                f"this daemon does not run flow {flow!r}", next_step="ask the daemon whose site is the flow's target"
            )
        return supervisor.runner

    def begin(self, shared: Shared) -> None:
        """Start all flows that run here; called once."""
        self._shared = shared
        self._begin_missing(shared)

    def end_over(self, flow: str, error: BaseException) -> None:
        """End a flow because of an error in its callbacks or stray tasks; does nothing if it does not run here."""
        supervisor = self.supervisors.get(flow)
        if supervisor is not None:
            supervisor.runner.end_over(error)

    async def take(self, new: Spec) -> bool:
        """Switch to another file: stop flows that changed or are gone, and start those that are new.

        Returns:
            Whether it took effect; False if the daemon started to end meanwhile.
        """
        plan = diff(self.spec, new)
        self.reload_ok = True
        if plan.restart_needed:
            log.warning("a restart is needed for some of it", keys=plan.restart_because)
        # Flows that have ended are started again: their cause may be fixed.
        ended = {name for name, one in self.supervisors.items() if one.runner.ended_because is not None}
        changed = {*plan.flows_removed, *plan.flows_changed, *plan.flows_affected}
        gone = (changed & self.supervisors.keys()) | ended
        await asyncio.gather(*(self._stop(name) for name in gone))
        if self.stopping.is_set():
            return False
        # What needs a restart stays as it is until then: no flow may run by another site's or coordinator's keys.
        running = replace(self.spec.daemon, access=new.daemon.access)
        self.spec = replace(new, daemon=running, coordinator=self.spec.coordinator)
        if self._shared is not None:
            self._begin_missing(self._shared)
        log.info("configuration reloaded", added=plan.flows_added, removed=plan.flows_removed, changed=sorted(gone))
        return True

    async def stop(self) -> None:
        """Stop all of them, within bounded time."""
        await asyncio.gather(*(self._stop(name) for name in list(self.supervisors)))

    async def _stop(self, name: str) -> None:
        """Stop a flow; a reload and a signal may do so at the same time."""
        supervisor = self.supervisors[name]
        await supervisor.stop()
        if self.supervisors.get(name) is supervisor:
            del self.supervisors[name]

    def _begin_missing(self, shared: Shared) -> None:
        for flow in self.mine():
            if flow.name not in self.supervisors:
                self._begin(flow, shared)

    def _begin(self, flow: FlowSpec, shared: Shared) -> None:
        spec = self.spec

        def make(source: tuple[str, str] | None) -> FlowRunner:
            meant, cluster = (flow, spec.cluster(flow.source)) if source is None else _moved(spec, flow, *source)
            return FlowRunner(
                FlowInputs(
                    meant,
                    cluster,
                    spec.cluster(flow.target),
                    spec.coordinator,
                    shared.me,
                    shared.store,
                    shared.leases,
                    shared.peers,
                    reverse=_reverse_of(spec, meant),
                )
            )

        supervisor = self.supervisors[flow.name] = FlowSupervisor(flow.name, make)
        supervisor.start()


def _reverse_of(spec: Spec, flow: FlowSpec) -> FlowSpec | None:
    """Return the flow with both clusters swapped that belongs to `flow`, whichever of the two names the other."""
    found = next((one for one in spec.flows if flow.name == one.reverse_of or one.name == flow.reverse_of), None)
    swapped = found is not None and (found.source, found.target) == (flow.target, flow.source)
    return found if swapped else None  # the flow was moved to another source: nothing leads back there


def _moved(spec: Spec, flow: FlowSpec, alias: str, cluster_id: str) -> tuple[FlowSpec, ClusterSpec]:
    """Return a flow as it was moved to another source, and that cluster.

    Raises:
        UsageError: The file does not name that cluster.
    """
    by_id = next((one for one in spec.clusters if one.cluster_id == cluster_id), None)
    found = by_id or next((one for one in spec.clusters if one.alias == alias and one.cluster_id is None), None)
    if found is None:
        raise UsageError(
            f"flow {flow.name!r} copies from cluster {cluster_id} ({alias}) by now, which the flow file does not name",
            next_step=f"add clusters.{alias} with that cluster's bootstrap, and reload the daemon (SIGHUP)",
        )
    return replace(flow, source=found.alias), replace(found, cluster_id=cluster_id)
