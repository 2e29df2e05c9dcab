"""An order is not lost because a broker has just died."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any, cast

import pytest

from replicator.core.switch.orders import begin
from replicator.engine.state import records as state
from replicator.engine.state.journal import put_switches, switches_of
from replicator.engine.switch import keeper
from replicator.engine.switch.orders import Orders
from replicator.errors import BrokerRefused, Conflict
from replicator.model.switch.journal import Journal, Switches
from replicator.model.switch.terms import LeftOutMirror, LeftOutReason, Outcome, Scope, SwitchOrder, Verb
from replicator.state_pb import state_pb2 as pb
from tests.lease_world import Topic, View


def no_leader() -> BrokerRefused:
    """Return what is met until another broker leads."""
    return BrokerRefused("no leader", cluster="west", code=5, api="Produce", retryable=True)


async def test_it_waits_for_a_leader(monkeypatch: pytest.MonkeyPatch) -> None:
    """What passes is waited out; what an order itself forbids is said at once."""
    refusals: list[Exception] = [no_leader(), no_leader()]
    context = SimpleNamespace(log=None, uid="uid")

    async def change_switches(*_: Any) -> Switches:
        if refusals:
            raise refusals.pop()
        return Switches()

    monkeypatch.setattr(keeper, "change_switches", change_switches)
    self = cast("keeper.SwitchKeeper", SimpleNamespace(_context=context))
    assert await keeper.SwitchKeeper._recorded(self, lambda one: one) == Switches()
    assert refusals == []
    refusals.append(Conflict("another switch is running"))
    with pytest.raises(Conflict):
        await keeper.SwitchKeeper._recorded(self, lambda one: one)


class Dying(View):
    """A state topic whose leader has just died: it refuses once, and once it writes and its answer is lost."""

    def __init__(self) -> None:
        super().__init__(Topic())
        self.refusals = [no_leader(), no_leader()]

    async def change(
        self, uid: str, decide: Callable[[Mapping[bytes, bytes]], list[tuple[bytes, bytes | None]]]
    ) -> Mapping[bytes, bytes]:
        """Change it, once another broker leads."""
        if len(self.refusals) > 1:
            raise self.refusals.pop()
        records = await super().change(uid, decide)
        if self.refusals:
            raise self.refusals.pop()
        return records


async def test_an_order_whose_answer_is_lost_is_given_once() -> None:
    """It is repeated, and what stands there already is the same order."""
    log = Dying()
    self = cast("keeper.SwitchKeeper", SimpleNamespace(_context=SimpleNamespace(log=log, uid="uid")))
    order = SwitchOrder("f1", Verb.FAILOVER, flow="f")

    def change(switches: Switches) -> Switches:
        return begin(switches, order, promoted=False, now_ms=7).switches

    recorded = await keeper.SwitchKeeper._recorded(self, change)
    assert log.refusals == []
    assert [(one.id, one.verb) for one in recorded.all] == [("f1", Verb.FAILOVER)]
    assert recorded == switches_of(log.records, "uid")


class FailbackSide:
    """A flow whose way back copies, and a source whose state topic refuses once."""

    def __init__(self) -> None:
        self.refusals = [no_leader()]
        record = state.put(state.mirror_key("uid", "x"), pb.MirrorRecord(source_topic="x", target_topic="x"))
        left = Journal(
            "s1", Verb.FAILOVER, outcome=Outcome.DONE, left_out=(LeftOutMirror("x", LeftOutReason.NOT_SELECTED),)
        )
        records = dict([record, *put_switches("uid", Switches(left))])
        self.context = SimpleNamespace(
            flow=SimpleNamespace(name="f"),
            reverse=SimpleNamespace(name="b"),
            log=SimpleNamespace(records=records),
            uid="uid",
            reach_source=self.reached,
        )
        self.executor = SimpleNamespace(close_source=self, reverse=self)

    async def reached(self) -> None:
        """Answer."""

    async def reverse_copies(self, _: object) -> bool:
        """Tell that it copies, once it can be told."""
        if self.refusals:
            raise self.refusals.pop()
        return True

    async def left_out(self, _verb: Verb, scope: Scope) -> tuple[LeftOutMirror, ...]:
        """Find nothing beside what is left out already."""
        assert "x" not in scope
        return ()

    async def offers_way_back(self) -> bool:
        """Offer it."""
        return True


async def test_whether_the_way_back_copies_is_asked_until_it_is_told() -> None:
    """Taken for "no", a live mirror would be compared as an old source that came back, and closed for good."""
    side = FailbackSide()
    orders = Orders(cast("Any", side.context), cast("Any", side.executor))
    order = SwitchOrder("s2", Verb.FAILBACK)
    with pytest.raises(BrokerRefused):
        await orders.completed(order)
    completed = await orders.completed(order)
    assert completed.options.restored
    # Selected again or not: the switch that it comes back from never opened it.
    assert completed.left_out == (LeftOutMirror("x", LeftOutReason.NOT_SELECTED),)
