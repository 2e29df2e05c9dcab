"""An order is not lost because a broker has just died."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from replicator.engine.switch import keeper
from replicator.errors import BrokerRefused, Conflict
from replicator.model.switch import Switches


def no_leader() -> BrokerRefused:
    """Return what is met until another broker leads."""
    return BrokerRefused("no leader", cluster="west", code=5, api="Produce", retryable=True)


async def test_it_waits_for_a_leader(monkeypatch: pytest.MonkeyPatch) -> None:
    """What passes is waited out; what an order itself forbids is said at once."""
    refusals: list[Exception] = [no_leader(), no_leader()]
    site = SimpleNamespace(log=None, uid="uid")

    async def change_switches(*_: Any) -> Switches:
        if refusals:
            raise refusals.pop()
        return Switches()

    monkeypatch.setattr(keeper, "change_switches", change_switches)
    self = cast("keeper.SwitchKeeper", SimpleNamespace(_site=site))
    assert await keeper.SwitchKeeper._recorded(self, lambda one: one) == Switches()
    assert refusals == []
    refusals.append(Conflict("another switch is running"))
    with pytest.raises(Conflict):
        await keeper.SwitchKeeper._recorded(self, lambda one: one)
