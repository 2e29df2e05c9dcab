"""Fixtures for several files."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio

from replicator.engine.work.coordinator import Coordinator
from replicator.rpc.server.server import RpcServer
from replicator.store.memory_leases import MemoryLeases
from tests.unit.rpc.access_world import Files, World
from tests.unit.rpc.fake_daemon import FakeDaemon


@pytest_asyncio.fixture
async def daemon() -> FakeDaemon:
    """A daemon with three flows."""
    return FakeDaemon()


@pytest_asyncio.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """A server that knows its callers by certificates, and no rules."""
    daemon, files = FakeDaemon(), Files(tmp_path)
    leases = Coordinator(MemoryLeases(), 10.0, lambda: 0.0)
    server = RpcServer(
        daemon, daemon.audit, host="127.0.0.1", port=0, state_dir=tmp_path, tls=files.server, leases=leases
    )
    yield World(daemon, files, server, await server.start())
    await server.stop(0.1)
