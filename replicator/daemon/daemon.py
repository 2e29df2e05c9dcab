"""One daemon: runs the flows of a file, serves status and control, reloads, and drains when it ends."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import TYPE_CHECKING

from replicator.aio.tasks import watched, within
from replicator.config.load import load
from replicator.daemon.control_port import DaemonControl
from replicator.daemon.coordination import open_coordination, own_endpoint
from replicator.daemon.flows import Flows, Shared
from replicator.daemon.instance import StateDirLock, new_instance, prepare_state_dir
from replicator.daemon.loop_errors import LoopErrors
from replicator.daemon.memory import collect_while_few, settle_memory
from replicator.daemon.signals import EndingSignals
from replicator.engine.flow.assembly.inputs import DaemonIdentity
from replicator.errors import ConfigError, StoreFull
from replicator.logins import forget_refusals
from replicator.model.units import format_address
from replicator.obs.audit import Audit
from replicator.obs.logs import get_logger
from replicator.obs.loop_watch import LoopWatch
from replicator.rpc.client.peers import Peers
from replicator.rpc.server.server import RpcServer
from replicator.store.background_store import BackgroundStore
from replicator.store.event_store import MemoryStore, Store
from replicator.store.sqlite_events import SqliteStore
from replicator.web import http
from replicator.web.gate import Gate

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from replicator.model.spec import Spec
    from replicator.rpc.client.lease_port import LeasePort

_SERVERS_SECONDS = 0.8

log = get_logger(__name__)


class Daemon:
    """One daemon of a flow file.

    Args:
        spec: The file.

    Attributes:
        flows: The flows that it runs.
        control: Answers the requests of its servers.
    """

    def __init__(self, spec: Spec) -> None:
        self._instance = new_instance()
        self._peers = Peers(own_endpoint(spec.daemon))
        self._stopping = asyncio.Event()
        self.flows = Flows(spec, self._stopping)
        self.control = DaemonControl(self._instance, self.flows)
        self._reload_task: asyncio.Task[None] | None = None
        self._reloading = asyncio.Lock()
        self._rpc: RpcServer | None = None

    async def run(self) -> None:
        """Run until SIGTERM or SIGINT, whatever happens to the flows.

        Raises:
            ReplicatorError: A server cannot listen, or the state directory cannot be used.
        """
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(LoopErrors(self.flows.end_over))
        with EndingSignals(loop, self._stopping.set):
            loop.add_signal_handler(signal.SIGHUP, self._reload_soon)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})  # one sent while we were loading arrives now
            prepare_state_dir(self.flows.spec.daemon.state_dir)
            lock = StateDirLock(self.flows.spec.daemon.state_dir, self._instance)
            me = DaemonIdentity(self._instance, format_address(self.flows.spec.daemon.rpc), lock.predecessor)
            settle_memory()
            store: Store = MemoryStore()
            if self.flows.spec.coordinator.store != "memory":
                store = await asyncio.to_thread(_open_store, self.flows.spec.daemon.state_dir)
            coordination = open_coordination(self.flows.spec, lock.predecessor)
            stop_http = asyncio.Event()
            audit = Audit(self.flows.spec.daemon.state_dir)
            rpc = self._rpc = self._rpc_server(audit, coordination.port)
            beside = [watched(asyncio.create_task(work)) for work in (LoopWatch().run(), collect_while_few())]
            serving = asyncio.create_task(
                http.serve(
                    *self.flows.spec.daemon.http,
                    self.control,
                    stop_http,
                    gate=Gate.of(self.flows.spec.daemon, rpc.access),
                )
            )
            try:
                await rpc.start()
                self.flows.begin(Shared(me, store, coordination.port, self._peers))
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
                for close in (store.close, audit.close, lock.close):
                    _quietly(close)
                log.info("stopped")

    def _rpc_server(self, audit: Audit, leases: LeasePort) -> RpcServer:
        daemon = self.flows.spec.daemon
        host, port = daemon.rpc
        return RpcServer(
            self.control,
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
        await self.flows.stop()

    async def _until_stopped(self, serving: asyncio.Task[None]) -> None:
        """Wait for a signal; a flow that ends by itself concerns only its supervisor."""
        stopping = asyncio.create_task(self._stopping.wait())
        try:
            await asyncio.wait({stopping, serving}, return_when=asyncio.FIRST_COMPLETED)
            if serving.done():
                serving.result()
        finally:
            stopping.cancel()

    def _reload_soon(self) -> None:
        self._reload_task = watched(asyncio.get_running_loop().create_task(self._reload()))

    async def _reload(self) -> None:
        """Reload the file; one with mistakes changes nothing."""
        async with self._reloading:
            try:
                new = await asyncio.to_thread(load, self.flows.spec.path, os.environ)  # a disk may hang
            except ConfigError as error:
                self.flows.reload_ok = False
                for problem in error.problems:
                    log.error("configuration not reloaded", problem=problem)  # noqa: TRY400 - a mistake, not a crash
                return
            forget_refusals()
            if await self.flows.take(new) and self._rpc is not None:
                self._rpc.access.rules = new.daemon.access


def _open_store(state_dir: Path) -> Store:
    """Open the event store; if its disk is full, continue without one: copying must not wait for a cache."""
    try:
        store = SqliteStore(state_dir)
    except StoreFull as error:
        log.error("events are not kept", why=str(error), next=error.next_step)  # noqa: TRY400 - no bug of ours
        return MemoryStore()
    if store.set_aside is not None:
        log.error("a damaged file of events was set aside, and begun anew", kept_as=str(store.set_aside))
    return BackgroundStore(store)


def _quietly(close: Callable[[], None]) -> None:
    """Close something at the end: whatever fails here, the rest is closed as well."""
    try:
        close()
    except Exception as error:  # noqa: BLE001 - a full disk, most likely; only the log is left to report it to
        log.warning("not closed", what=getattr(close, "__qualname__", str(close)), why=str(error))
