"""Orders below every face: they take turns, and each is written down before it is done, and after."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from replicator.control.audited_control import AuditedControl
from replicator.errors import AccessDenied, Conflict, StoreError
from replicator.model.access_rules import AccessRole, Identity, IdentityKind
from replicator.model.operations.audit import Phase
from replicator.model.status.events import Desired
from replicator.obs.audit import Audit
from tests.unit.control.world import (
    ANN,
    BACK,
    CHANGES,
    D1,
    FAILOVER,
    FLOW,
    ORDERS,
    PAUSE,
    PEER,
    PLANS,
    SKIP,
    SWITCHOVER,
    Slow,
    World,
    shown,
)
from tests.unit.rpc.fake_daemon import FakeDaemon
from tests.unit.rpc.samples import SKIPPED

# ---- turns


async def test_orders_for_one_flow_take_turns(world: World) -> None:
    """A repeat that overtakes the first answer finds it; who cannot wait hears whose turn it is."""
    slow = Slow()
    control = AuditedControl(slow, world.audit, world.access)
    world.may("email:*", AccessRole.OPERATE)
    once = replace(PAUSE, request_id="r1")
    bob = Identity(IdentityKind.EMAIL, "bob@ops.example")
    first = asyncio.create_task(control.set_desired(shown(ANN), once))
    await slow.began.wait()
    repeat = asyncio.create_task(control.set_desired(shown(ANN), once))
    other = asyncio.create_task(control.set_desired(shown(bob), replace(PAUSE, desired=Desired.ACTIVE)))
    with pytest.raises(Conflict, match="still being carried out") as refused:
        await control.set_desired(shown(bob, seconds=0.1), PAUSE)
    assert f"SetDesired by {ANN}" in refused.value.why
    assert [entry.phase for entry in world.written()] == [Phase.INTENT], "who waits has not begun"
    slow.over.set()
    assert all(await asyncio.gather(first, repeat, other))
    assert slow.most == 1
    assert [(entry.actor, entry.phase) for entry in world.written()] == [
        (str(who), phase) for who in (ANN, bob) for phase in (Phase.INTENT, Phase.OUTCOME)
    ]
    assert not control._turns._turns


async def test_a_failover_waits_for_no_other_order(world: World) -> None:
    """Nor does an order for another flow."""
    slow = Slow()
    control = AuditedControl(slow, world.audit, world.access)
    world.may("email:*", AccessRole.OPERATE, AccessRole.FAILOVER)
    held = [
        asyncio.create_task(control.start_switch(shown(ANN), SWITCHOVER)),
        asyncio.create_task(control.set_desired(shown(ANN), PAUSE)),
    ]
    await slow.began.wait()
    async with asyncio.timeout(10):
        await control.start_switch(shown(ANN), FAILOVER)
        await control.resolve(shown(ANN), SKIP, dry_run=False)
        await control.set_desired(shown(ANN), replace(PAUSE, flow=BACK))
    assert not any(task.done() for task in held)
    slow.over.set()
    await asyncio.gather(*held)


# ---- the audit log


@pytest.mark.parametrize("method", ORDERS)
async def test_a_change_is_written_down_before_and_after(world: World, method: str) -> None:
    """Its intent is on the disk when the daemon is asked."""
    world.may("email:ann@*", AccessRole.OPERATE)
    before: list[list[Phase]] = []
    for name in CHANGES:
        inner = getattr(world.daemon, name)

        async def look(*what: Any, inner: Any = inner, **how: Any) -> Any:
            before.append([entry.phase for entry in Audit(world.state_dir).recent(lambda _: True, 10)])
            return await inner(*what, **how)

        setattr(world.daemon, name, look)
    await ORDERS[method](world.control, shown(ANN))
    assert before == [[Phase.INTENT]]
    intent, outcome = world.written()
    assert (intent.phase, outcome.phase, outcome.call) == (Phase.INTENT, Phase.OUTCOME, intent.seq)
    assert (outcome.method, outcome.flow, outcome.outcome, outcome.peer) == (method, FLOW, "ok", PEER)
    assert outcome.after


@pytest.mark.parametrize("method", ORDERS)
async def test_where_nothing_can_be_written_down_nothing_is_done(world: World, method: str) -> None:
    """And who may not is told that, and not of the disk."""
    world.may("email:ann@*", AccessRole.OPERATE)
    world.break_disk()
    with pytest.raises(AccessDenied):
        await ORDERS[method](world.control, shown(D1))
    with pytest.raises(StoreError):
        await ORDERS[method](world.control, shown(ANN))
    assert not world.changed


async def test_what_was_done_is_told_as_done(world: World) -> None:
    """Though its outcome cannot be written down."""

    class Breaks(FakeDaemon):
        async def set_desired(self, flow: str, desired: Desired, *, actor: str, reason: str) -> bool:
            world.break_disk()
            return await super().set_desired(flow, desired, actor=actor, reason=reason)

    daemon = Breaks()
    world.may("email:ann@*", AccessRole.OPERATE)
    with pytest.raises(StoreError, match="SetDesired of 'east-to-west' was done"):
        await AuditedControl(daemon, world.audit, world.access).set_desired(shown(ANN), PAUSE)
    assert len(daemon.asked) == 1


async def test_what_would_be_done_leaves_no_trace(world: World) -> None:
    """Nor does it wait for its turn."""
    world.may("email:ann@*", AccessRole.OPERATE)
    assert await world.control.resolve(shown(ANN), SKIP, dry_run=True) == SKIPPED
    for plan in PLANS.values():
        await plan(world.control, shown(ANN))
    assert not world.written()
    assert (world.daemon.resolved, world.daemon.forgotten, world.daemon.switched) == ([], [], [])
