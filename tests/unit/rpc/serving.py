"""A server of a fake daemon, and its client."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

from replicator.rpc.client.control_client import ControlClient
from replicator.rpc.client.endpoint import Endpoint
from replicator.rpc.server.server import RpcServer
from tests.unit.rpc.fake_daemon import FakeDaemon

_T = TypeVar("_T")


def serving(daemon: FakeDaemon, **more: Any) -> RpcServer:
    """Return a server of a daemon on loopback."""
    return RpcServer(daemon, daemon.audit, host="127.0.0.1", port=0, state_dir=daemon.state_dir, **more)


async def call(endpoint: str | Endpoint, use: Callable[[ControlClient], _T]) -> _T:
    """Use the synchronous client in a thread, since the server runs on this loop."""

    def run() -> _T:
        with ControlClient(Endpoint(endpoint) if isinstance(endpoint, str) else endpoint) as client:
            return use(client)

    return await asyncio.to_thread(run)
