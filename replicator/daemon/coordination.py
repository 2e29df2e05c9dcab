"""Which coordinator a process uses, and whether it is one itself."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from replicator.engine.work.coordinator import Coordinator
from replicator.errors import StoreError
from replicator.model.units import format_address
from replicator.obs.logs import get_logger
from replicator.rpc.client.endpoint import Endpoint
from replicator.rpc.client.etcd_leases import EtcdLeases
from replicator.rpc.client.lease_client import RemoteLeases
from replicator.store.memory_leases import MemoryLeases
from replicator.store.sqlite_leases import SqliteLeases

if TYPE_CHECKING:
    from replicator.model.spec import CoordinatorSpec, DaemonSpec, Spec
    from replicator.rpc.client.lease_port import LeasePort
    from replicator.store.lease_store import LeaseStore

_TRIES_PER_LEASE = 4

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Coordination:
    """How a daemon reaches its coordinator.

    Attributes:
        port: The coordinator that it uses.
        embedded: The coordinator inside this process, None if it only uses others.
        store: Where the embedded coordinator keeps its leases.
    """

    port: LeasePort
    embedded: Coordinator | None = None
    store: LeaseStore | None = None

    async def close(self) -> None:
        """Close the store, or the connections."""
        if self.store is not None:
            await self.store.close()
        if isinstance(self.port, RemoteLeases):
            await self.port.close()


def own_endpoint(daemon: DaemonSpec) -> Endpoint:
    """Return where a daemon answers, and how it trusts other daemons: with the certificates of its own servers."""
    tls = daemon.tls
    ca, cert, key = (tls.ca_file, tls.cert_file, tls.key_file) if tls is not None else (None, None, None)
    return Endpoint(format_address(daemon.rpc), ca, cert, key)


def open_coordination(spec: Spec, known_dead: str | None = None, *, alone: bool = False) -> Coordination:
    """Return the coordinator of a flow file.

    Args:
        spec: The flow file.
        known_dead: A daemon that is known to have ended.
        alone: Whether this process is only a coordinator: then it is one whatever `endpoints` says.

    Raises:
        StoreError: Its store cannot be opened.
    """
    timing, own = spec.coordinator, spec.daemon.rpc
    # All daemons may share one file: the first endpoint is the coordinator. A daemon that asked itself would loop
    # forever.
    if timing.endpoints and timing.endpoints[0] != own and timing.store != "etcd" and not alone:
        how = replace(own_endpoint(spec.daemon), timeout_seconds=_seconds_per_try(timing))
        others = [one for one in timing.endpoints if one != own]
        return Coordination(RemoteLeases([replace(how, address=format_address(one)) for one in others]))
    store = _store(spec)
    coordinator = Coordinator(store, timing.lease_ttl_seconds, asyncio.get_running_loop().time, known_dead)
    return Coordination(coordinator, coordinator, store)


def _store(spec: Spec) -> LeaseStore:
    kind = spec.coordinator.store
    if kind == "memory":
        return MemoryLeases()
    if kind == "etcd":
        how = replace(own_endpoint(spec.daemon), timeout_seconds=_seconds_per_try(spec.coordinator))
        return EtcdLeases([replace(how, address=format_address(one)) for one in spec.coordinator.endpoints])
    return _on_disk(spec)


def _seconds_per_try(timing: CoordinatorSpec) -> float:
    return (timing.lease_ttl_seconds - timing.lease_margin_seconds) / _TRIES_PER_LEASE


def _on_disk(spec: Spec) -> LeaseStore:
    """Return the leases on disk; if that fails, keep them in memory: a copy must not wait for a cache."""
    try:
        return SqliteLeases(spec.daemon.state_dir)
    except StoreError as error:
        log.error("leases are not kept", why=str(error), next=error.next_step)  # noqa: TRY400 - no bug of ours
        return MemoryLeases()
