"""The modelled broker itself: one that is closed is gone."""

from __future__ import annotations

import asyncio
import socket

import pytest

from tests.unit.engine.log_broker import LogBroker

_REQUEST = b"\x00\x00\x00\x0e" + b"\x00\x12\x00\x03\x00\x00\x00\x07\x00\x00\x00\x01\x01\x00"


@pytest.mark.parametrize("steps", range(6))
async def test_a_broker_that_is_closed_serves_nobody_who_was_just_about_to_come(steps: int) -> None:
    """A connection that was accepted, and whose handler had not begun, was served by it for good."""
    broker = LogBroker(1)
    await broker.open()
    with socket.create_connection(("127.0.0.1", broker.port)) as client:
        client.settimeout(0)
        for _ in range(steps):
            await asyncio.sleep(0)
        broker.close()
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(5):
                await loop.sock_sendall(client, _REQUEST)
                got = await loop.sock_recv(client, 1000)
        except ConnectionError:
            got = b""
    assert got == b""
