"""A process that coordinates and copies nothing: `replicator coordinator FILE`."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from replicator.aio.tasks import within
from replicator.daemon.coordination import open_coordination
from replicator.daemon.instance import prepare_state_dir
from replicator.daemon.loop_errors import LoopErrors
from replicator.daemon.signals import EndingSignals
from replicator.model.units import format_address
from replicator.obs.logs import get_logger
from replicator.rpc.server.server import RpcServer

if TYPE_CHECKING:
    from replicator.model.spec import Spec

_CLOSE_SECONDS = 2.0

log = get_logger(__name__)


async def coordinate(spec: Spec) -> None:
    """Serve leases at `daemon.rpc` until SIGTERM or SIGINT.

    Raises:
        ReplicatorError: The store cannot be opened, or the address cannot be listened on.
    """
    loop = asyncio.get_running_loop()
    stopping = asyncio.Event()
    loop.set_exception_handler(LoopErrors(lambda _flow, _error: None))
    with EndingSignals(loop, stopping.set):
        prepare_state_dir(spec.daemon.state_dir)
        coordination = open_coordination(spec, alone=True)
        host, port = spec.daemon.rpc
        rpc = RpcServer(
            None,
            None,
            host=host,
            port=port,
            state_dir=spec.daemon.state_dir,
            tls=spec.daemon.tls,
            leases=coordination.embedded,
            rules=spec.daemon.access,
        )
        try:
            await rpc.start()
            log.info("coordinating", address=format_address((host, port)), store=spec.coordinator.store)
            await stopping.wait()
        finally:
            await within(_CLOSE_SECONDS, rpc.stop(grace_seconds=0.5), "rpc")
            await within(_CLOSE_SECONDS, coordination.close(), "the coordinator's store")
            log.info("stopped")
