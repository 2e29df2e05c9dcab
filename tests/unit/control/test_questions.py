"""Questions below every face: who may ask them, and what is shown to him."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import overload

import pytest

from replicator.errors import AccessDenied, Conflict, UsageError
from replicator.model.access_rules import AccessRole
from replicator.model.operations.audit import AuditEntry, Phase
from replicator.model.operations.damage import Damage
from replicator.model.operations.translation import OffsetQuestion, TimeQuestion
from tests.unit.control.world import ANN, D1, FLOW, Orders, World, shown
from tests.unit.rpc.samples import DAMAGED

QUESTIONS: Orders = {
    "status": lambda to, who: to.status(who, FLOW),
    "own status": lambda to, who: to.own_status(who, FLOW),
    "all status": lambda to, who: to.status(who),
    "all own status": lambda to, who: to.own_status(who),
    "switches": lambda to, who: to.switches(who, FLOW),
    "entries": lambda to, who: to.entries(who, FLOW, 0),
    "all entries": lambda to, who: to.entries(who, "", 0),
    "rehearse": lambda to, who: to.rehearse(who, FLOW),
    "events": lambda to, who: to.events(who, FLOW, None, 0),
    "translate": lambda to, who: to.translate(who, FLOW, [OffsetQuestion("orders.eu", 0, 1)], reverse=False),
    "translate group": lambda to, who: to.translate(who, FLOW, group="billing", reverse=False),
    "translate time": lambda to, who: to.translate_time(who, FLOW, TimeQuestion("orders.eu", 1)),
    "groups": lambda to, who: to.groups(who, FLOW),
    "group": lambda to, who: to.group(who, FLOW, "billing"),
    "damaged": lambda to, who: to.damaged(who, FLOW),
}


# ---- questions


@pytest.mark.parametrize("what", QUESTIONS)
async def test_no_question_without_a_role(world: World, what: str) -> None:
    """Of this flow, or of any; a role for another flow shows nothing of this one."""
    ask = QUESTIONS[what]
    with pytest.raises(AccessDenied):
        await ask(world.control, shown(ANN))
    world.may("email:ann@*", AccessRole.OBSERVE, flows=("north-*",))
    if what.startswith("all"):
        assert FLOW not in str(await ask(world.control, shown(ANN)))
    else:
        with pytest.raises(AccessDenied, match=FLOW):
            await ask(world.control, shown(ANN))
    assert not world.daemon.questions
    assert not world.daemon.moments
    world.may("email:ann@*", AccessRole.OBSERVE, flows=(FLOW,))
    await ask(world.control, shown(ANN))


async def test_what_is_seen_is_filtered(world: World) -> None:
    """Flows and entries that no rule is about are left out, and no name of them is offered."""
    for flow in (FLOW, "north-to-west", ""):
        world.audit.append(AuditEntry(0, "", Phase.INTENT, flow=flow))
    world.may("email:ann@*", AccessRole.OBSERVE, flows=("north-*", "east-to-wets"))
    for ask in (world.control.status, world.control.own_status):
        assert [flow.flow for flow in (await ask(shown(ANN))).flows] == ["north-to-west"]
    assert [entry.flow for entry in await world.control.entries(shown(ANN), "", 10)] == ["north-to-west"]
    with pytest.raises(UsageError) as unknown:
        await world.control.events(shown(ANN), "east-to-wets", None, 0)
    assert FLOW not in unknown.value.with_next_step()
    world.may("email:ann@*", AccessRole.OBSERVE)
    assert [entry.flow for entry in await world.control.entries(shown(ANN), "", 2)] == ["north-to-west", ""]
    assert [entry.flow for entry in await world.control.entries(shown(ANN), FLOW, -1)] == [FLOW]


async def test_who_has_no_role_takes_no_turn_of_those_who_have(world: World) -> None:
    """What is damaged is read for one caller at a time: he neither waits nor is waited for."""
    began, over = asyncio.Event(), asyncio.Event()
    inner = world.daemon.damaged

    async def slow(flow: str, *, may: Callable[[str | None], None]) -> Damage:
        began.set()
        await over.wait()
        return await inner(flow, may=may)

    world.daemon.damaged = slow  # type: ignore[method-assign]
    world.may("email:ann@*", AccessRole.OBSERVE)
    looks = asyncio.create_task(world.control.damaged(shown(ANN), FLOW))
    await began.wait()
    with pytest.raises(AccessDenied, match="may not read anything"):
        await world.control.damaged(shown(D1, seconds=0.1), FLOW)
    with pytest.raises(Conflict, match="a look at what is damaged"):
        await world.control.damaged(shown(ANN, seconds=0.1), FLOW)
    over.set()
    assert (await looks).records == DAMAGED


class Untouched(Sequence[OffsetQuestion]):
    """Questions that must not be looked into."""

    def __init__(self, count: int) -> None:
        self._count = count

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, at: int) -> OffsetQuestion: ...

    @overload
    def __getitem__(self, at: slice) -> Sequence[OffsetQuestion]: ...

    def __getitem__(self, at: int | slice) -> OffsetQuestion | Sequence[OffsetQuestion]:
        raise AssertionError(at)


async def test_questions_are_read_once_they_may_be_asked(world: World) -> None:
    """Half a million of them are not, for whoever sends them."""
    with pytest.raises(AccessDenied):
        await world.control.translate(shown(ANN), FLOW, Untouched(1), reverse=False)
    world.may("email:ann@*", AccessRole.OBSERVE)
    with pytest.raises(UsageError, match="1 to 10,000"):
        await world.control.translate(shown(ANN), FLOW, Untouched(10_001), reverse=False)
    with pytest.raises(UsageError, match="and a group"):
        await world.control.translate(shown(ANN), FLOW, Untouched(1), group="billing", reverse=False)
    for time_ms in (-1, 1 << 62):
        with pytest.raises(UsageError, match="not a time"):
            await world.control.translate_time(shown(ANN), FLOW, TimeQuestion("orders.eu", time_ms))
    assert (world.daemon.questions, world.daemon.moments) == ([], [])
