"""Who waits for whom where several orders are given at once."""

from __future__ import annotations

import asyncio

import pytest

from replicator.control.order_turns import OrderTurns
from replicator.errors import Conflict


async def test_one_thing_is_changed_by_one_at_a_time() -> None:
    """Others do not wait, and nothing is remembered of what nobody changes."""
    turns, order = OrderTurns(), list[str]()

    async def change(what: str, name: str, *, first: asyncio.Event | None = None) -> None:
        async with turns.of("mirror", what, who=name, seconds=None):
            order.append(f"{name} begins")
            if first is not None:
                await first.wait()
            order.append(f"{name} ends")

    over = asyncio.Event()
    slow = asyncio.create_task(change("a", "slow", first=over))
    await asyncio.sleep(0)
    after = asyncio.create_task(change("a", "after"))
    await change("b", "other")
    over.set()
    await asyncio.gather(slow, after)
    assert order == ["slow begins", "other begins", "other ends", "slow ends", "after begins", "after ends"]
    assert not turns._turns


async def test_nobody_waits_for_long() -> None:
    """An order is refused while its caller still listens, and hears who has the turn; giving up leaves no trace."""
    turns = OrderTurns()
    async with turns.of("switch", "f", who="StartSwitch by ann", seconds=None):
        with pytest.raises(Conflict, match="still being carried out") as refused:
            async with turns.of("switch", "f", who="bob", seconds=0.1):
                raise AssertionError
        assert "StartSwitch by ann" in refused.value.why
    assert not turns._turns
