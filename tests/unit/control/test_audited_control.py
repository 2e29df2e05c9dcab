"""Orders below every face: who may give them, on what facts, and what becomes of a repeated one."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest

from replicator.control import audited_control
from replicator.control.audited_control import AuditedControl
from replicator.control.caller import Caller, KnownBy
from replicator.control.refusals import Why
from replicator.control.requests import REVERSE_WANTED, SwitchRequest
from replicator.errors import AccessDenied, Conflict, ReplicatorError, UsageError
from replicator.model.access_rules import AccessRole
from replicator.model.operations.audit import Phase
from replicator.model.status.events import Desired
from replicator.model.switch.terms import Options
from tests.unit.control.world import (
    ANN,
    BACK,
    CLEAR,
    D1,
    FLOW,
    LOST,
    ORDERS,
    PAUSE,
    PEER,
    PLANS,
    SKIP,
    SWITCHOVER,
    World,
    shown,
)
from tests.unit.rpc.samples import DAMAGED, EAST

# ---- roles


@pytest.mark.parametrize("what", [*ORDERS.items(), *PLANS.items()], ids=lambda what: str(what[0]))
@pytest.mark.parametrize("role", [AccessRole.OBSERVE, AccessRole.REPLICATE, AccessRole.FAILOVER])
async def test_no_order_without_its_role(
    world: World, what: tuple[str, Callable[[AuditedControl, Caller], Awaitable[object]]], role: AccessRole
) -> None:
    """Nor is told what it would do. The refusal is counted, and written down once; with the role it is done."""
    method, order = what
    world.may("email:ann@*", role)
    for _ in range(2):
        with pytest.raises(AccessDenied, match="may not do this"):
            await order(world.control, shown(D1, ANN, claimed="root"))
    assert not world.changed
    assert world.access.refusals.counts == {Why.ROLE: 2}
    [entry] = world.written()
    assert (entry.phase, entry.method, entry.flow, entry.peer) == (Phase.REFUSED, method, FLOW, PEER)
    assert (entry.actor, entry.actor_known_by, entry.after) == (str(ANN), "", "")
    world.may("email:ann@*", AccessRole.OPERATE)
    await order(world.control, shown(D1, ANN))


@pytest.mark.parametrize("method", LOST)
async def test_what_loses_a_side_takes_the_role_failover(world: World, method: str) -> None:
    """To operate is not enough."""
    world.may("email:ann@*", AccessRole.OPERATE)
    with pytest.raises(AccessDenied):
        await LOST[method](world.control, shown(ANN))
    assert not world.changed
    world.may("email:ann@*", AccessRole.FAILOVER)
    await LOST[method](world.control, shown(ANN))


async def test_the_right_is_that_for_what_is_changed(world: World) -> None:
    """A switch that turns both flows changes both; a flow that is called by its uid is judged by its name."""
    world.may("email:ann@*", AccessRole.OPERATE, flows=(FLOW, "0e*"))
    world.daemon.named["0e1f"] = "west"
    both = replace(SWITCHOVER, options=Options(reverse_flow=REVERSE_WANTED))
    for order in (both, SwitchRequest(FLOW, "failback", "b1")):
        for do in (world.control.start_switch, world.control.plan_switch):
            with pytest.raises(AccessDenied, match=BACK):
                await do(shown(ANN), order)
    assert [entry.flow for entry in world.written()] == [BACK]
    assert not world.daemon.switched
    for dry_run in (True, False):
        with pytest.raises(AccessDenied, match="'west'"):
            await world.control.forget(shown(ANN), "0e1f", "", reason="", dry_run=dry_run)
    with pytest.raises(AccessDenied, match="'west'"):
        await world.control.clear_damaged(shown(ANN), "0e1f", CLEAR, reason="")
    assert not world.daemon.forgotten
    assert len(world.daemon.damage) == len(DAMAGED)
    world.may("email:ann@*", AccessRole.OPERATE, flows=(BACK,))
    await world.control.start_switch(shown(ANN), both)


async def test_who_may_do_nothing_learns_no_more(world: World) -> None:
    """Not even that his order cannot be meant, or at which epoch the flow is."""
    for order in (replace(SKIP, how="guess"), replace(SKIP, expected_epoch=1)):
        with pytest.raises(AccessDenied):
            await world.control.resolve(shown(ANN), order, dry_run=False)
    with pytest.raises(AccessDenied):
        await world.control.start_switch(shown(ANN), SwitchRequest("no-such-flow", "sideways", ""))
    world.may("email:ann@*", AccessRole.OPERATE)
    with pytest.raises(UsageError, match="resolved by 'guess'"):
        await world.control.resolve(shown(ANN), replace(SKIP, how="guess"), dry_run=False)
    with pytest.raises(UsageError, match="no switch 'sideways'"):
        await world.control.start_switch(shown(ANN), replace(SWITCHOVER, verb="sideways"))
    with pytest.raises(UsageError, match="request id"):
        await world.control.start_switch(shown(ANN), replace(SWITCHOVER, id="a b"))
    assert not world.changed


# ---- who it is


async def test_a_certificate_counts_and_no_claim(world: World) -> None:
    """Neither for the right nor in the log, nor at the daemon; and a token beside it counts for nothing."""
    world.may("email:ann@*", AccessRole.OPERATE)
    token = (world.state_dir / "rpc.token").read_text().strip()
    stranger = replace(shown(D1, claimed=str(ANN)), token=token)
    for call in (world.control.set_desired(stranger, PAUSE), world.control.status(stranger, FLOW)):
        with pytest.raises(AccessDenied, match="may not do this"):
            await call
    with pytest.raises(AccessDenied, match="names nobody"):
        await world.control.set_desired(shown(claimed=str(ANN)), PAUSE)
    assert not world.changed
    await world.control.set_desired(shown(ANN, claimed="root"), PAUSE)
    assert world.daemon.asked == [(FLOW, Desired.PAUSED, str(ANN), "patch")]
    await world.control.resolve(shown(ANN, claimed="root"), SKIP, dry_run=False)
    assert world.daemon.resolved[0][1].actor == str(ANN)
    assert {(entry.actor, entry.actor_known_by) for entry in world.done()} == {(str(ANN), "certificate")}


async def test_where_there_is_no_certificate_the_token_counts(world: World) -> None:
    """The log says that the name is but the caller's word. Where nobody is known not even the token helps."""
    token = (world.state_dir / "rpc.token").read_text().strip()
    carries = Caller(KnownBy.TOKEN, PEER, token=token, claimed="ann\n")
    others = [
        replace(carries, token=""),
        replace(carries, token="0" * 64),
        replace(carries, token="", names=(ANN,)),
        replace(carries, known_by=KnownBy.NOBODY),
    ]
    world.may("email:ann@*", AccessRole.OPERATE)
    for other in others:
        with pytest.raises(AccessDenied):
            await world.control.set_desired(other, PAUSE)
        assert (await world.control.status(other, FLOW)).flows == (EAST,)
    assert world.access.refusals.counts == {Why.TOKEN: 3, Why.NOBODY: 1}
    assert not world.changed
    await world.control.set_desired(carries, PAUSE)
    assert [(entry.actor, entry.actor_known_by) for entry in world.done()] == [(r"ann\n", "token")] * 2
    assert token not in repr(carries)


# ---- the facts its caller saw


@pytest.mark.parametrize("epoch", [6, 8])
async def test_a_late_order_is_refused_by_its_epoch(world: World, epoch: int) -> None:
    """Before anything is written down or done, and where it only asks what would be done."""
    world.may("email:ann@*", AccessRole.OPERATE)
    to, who = world.control, shown(ANN)
    for order in (
        to.set_desired(who, replace(PAUSE, expected_epoch=epoch, request_id="r1")),
        to.resolve(who, replace(SKIP, expected_epoch=epoch), dry_run=False),
        to.resolve(who, replace(SKIP, expected_epoch=epoch), dry_run=True),
        to.start_switch(who, replace(SWITCHOVER, expected_epoch=epoch)),
        to.plan_switch(who, replace(SWITCHOVER, expected_epoch=epoch)),
    ):
        with pytest.raises(Conflict, match=f"epoch 7, not {epoch}"):
            await order
    with pytest.raises(Conflict, match="not the one in the request"):
        await to.resolve(who, replace(SKIP, flow_uid="another"), dry_run=False)
    assert not world.changed
    assert not world.written()
    assert await to.set_desired(who, replace(PAUSE, expected_epoch=7, request_id="r1"))


# ---- repeats


async def test_a_repeated_request_is_answered_from_memory(world: World) -> None:
    """As the first was; of the same flow and wish alone. Who may not order is told nothing from there."""
    world.may("email:ann@*", AccessRole.OPERATE)
    once = replace(PAUSE, request_id="r1")
    assert await world.control.set_desired(shown(ANN), once)
    assert await world.control.set_desired(shown(ANN), once)
    assert len(world.daemon.asked) == 1
    assert [entry.phase for entry in world.written()] == [Phase.INTENT, Phase.OUTCOME]
    with pytest.raises(AccessDenied):
        await world.control.set_desired(shown(D1), once)
    for _ in range(2):
        assert not await world.control.set_desired(shown(ANN), PAUSE), "without an id it is a new order"
    assert await world.control.set_desired(shown(ANN), replace(once, desired=Desired.ACTIVE))
    assert not await world.control.set_desired(shown(ANN), replace(once, flow=BACK, desired=Desired.ACTIVE))
    assert len(world.daemon.asked) == 5


async def test_only_so_many_answers_are_remembered(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest goes."""
    monkeypatch.setattr(audited_control, "_REMEMBERED_REQUESTS_MAX", 2)
    world.may("email:ann@*", AccessRole.OPERATE)
    for number in (1, 2, 3, 3, 2, 1):
        await world.control.set_desired(shown(ANN), replace(PAUSE, request_id=f"r{number}"))
    assert len(world.daemon.asked) == 4
    assert [request_id for request_id, *_ in world.control._answered] == ["r3", "r1"]


async def test_what_failed_is_tried_again(world: World) -> None:
    """Only an answer is remembered."""
    world.may("email:ann@*", AccessRole.OPERATE)
    world.daemon.refuse = ReplicatorError("the target does not answer")
    with pytest.raises(ReplicatorError, match="does not answer"):
        await world.control.set_desired(shown(ANN), replace(PAUSE, request_id="r1"))
    assert (world.written()[-1].outcome, world.written()[-1].error) == ("failed", "the target does not answer")
    world.daemon.refuse = None
    assert await world.control.set_desired(shown(ANN), replace(PAUSE, request_id="r1"))
