"""Fixtures for several files."""

from __future__ import annotations

import pytest_asyncio

from tests.unit.rpc.fake_daemon import FakeDaemon


@pytest_asyncio.fixture
async def daemon() -> FakeDaemon:
    """A daemon with three flows."""
    return FakeDaemon()
