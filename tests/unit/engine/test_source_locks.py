"""Whether a source can be closed by rules is known before a switch begins: nothing else would ever end its wait."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest

from replicator.core.switch.machine import results as got
from replicator.core.switch.machine import steps as do
from replicator.engine.state import records as state
from replicator.engine.switch.steps.locks import SourceLocks
from replicator.engine.topics import authorizer as authorizer_module
from replicator.model.acl import LITERAL, TOPIC, Rule
from replicator.model.security import ClusterSpec, Mechanism, Protocol, Security
from replicator.model.switch.journal import Journal
from replicator.model.switch.terms import Close, Options, Verb
from replicator.state_pb import state_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from replicator.core.topics.ownership import OwnedRules
    from replicator.engine.switch.context import SwitchContext

US = "User:replicator"


class Broker:
    """A cluster with an authorizer that knows one kind of user: us. What it decides, it decides as Kafka's does."""

    def __init__(
        self, *rules: Rule, everyone: bool = True, superuser: bool = False, operations: Iterable[str] = ("ALTER",)
    ) -> None:
        self.standing = set(rules)
        self.everyone, self.superuser = everyone, superuser
        self.operations = frozenset(operations)
        security = Security(Protocol.SASL_SSL, Mechanism.SCRAM_SHA_512, username="replicator")
        self.spec = ClusterSpec("east", (("east", 1),), security=security)
        self.acls = self
        self.changes = 0

    async def broker_configs(self, _names: Any) -> dict[str, str]:
        """Return which authorizer it has."""
        return {"authorizer.class.name": "StandardAuthorizer"}

    async def describe_cluster(self) -> Any:
        """Return what we may do to the cluster."""
        return SimpleNamespace(operations=self.operations)

    async def rules(self, about: Callable[[str], bool] = lambda _: True) -> tuple[Rule, ...]:
        """Return the rules that are asked for."""
        named = (TOPIC, LITERAL)
        return tuple(one for one in sorted(self.standing) if (one.kind, one.pattern) != named or about(one.name))

    async def create(self, rules: OwnedRules) -> None:
        """Place rules."""
        self.changes += 1
        self.standing |= set(rules.rules)

    async def delete(self, rules: OwnedRules) -> None:
        """Remove rules."""
        self.standing -= set(rules.rules)

    async def may_do_anything_to(self, _cluster: Any, group: str) -> bool:
        """Return whether we may do anything to a group."""
        covering = [rule for rule in self.standing if rule.covers("GROUP", group)]
        return self.superuser or any(rule.principal == US for rule in covering) or (not covering and self.everyone)


def locks_of(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> SourceLocks:
    """Return the locks of a flow that mirrors one topic of this source."""
    monkeypatch.setattr(authorizer_module, "may_do_anything_to", broker.may_do_anything_to)
    monkeypatch.setattr(authorizer_module, "TAKES_EFFECT_SECONDS", 0.0)
    mirror = pb.MirrorRecord(source_topic="orders", target_topic="orders")
    context = SimpleNamespace(
        source=broker,
        target=broker,
        admins=(broker, broker),
        uid="uid",
        log=SimpleNamespace(records=dict([state.put(state.mirror_key("uid", "orders"), mirror)])),
        flow=SimpleNamespace(source="east", name="f"),
    )
    return SourceLocks(cast("SwitchContext", context))


def journal(close: Close = Close.LOCK) -> Journal:
    """Return a switchover that has not begun."""
    return Journal("s", Verb.SWITCHOVER, flow="f", options=Options(close=close))


async def test_what_planning_would_wait_for_forbids_the_switch(monkeypatch: pytest.MonkeyPatch) -> None:
    """A super user cannot tell whether others may write to a topic without rules."""
    broker = Broker(superuser=True)
    locks = locks_of(broker, monkeypatch)
    planned = await locks.plan(do.PlanLocks(journal().scope, ()))
    assert isinstance(planned, got.NotYet)
    (told,) = await locks.problems(journal())
    assert "orders has no rules, and whether everyone may write to it is unknown" in told
    assert "--producers-stopped" in told
    assert await locks.problems(journal(Close.STATED)) == []
    assert broker.standing == set(), "what was placed to find out is taken away"


@pytest.mark.parametrize("everyone", [True, False])
async def test_what_can_be_found_out_forbids_nothing(monkeypatch: pytest.MonkeyPatch, *, everyone: bool) -> None:
    """Who is no super user sees what others may do where no rule is found."""
    broker = Broker(everyone=everyone)
    locks = locks_of(broker, monkeypatch)
    assert await locks.problems(journal()) == []
    planned = await locks.plan(do.PlanLocks(journal().scope, ()))
    assert isinstance(planned, got.LocksPlanned)
    assert bool(planned.locks) is everyone


async def test_rules_that_may_not_be_placed_forbid_the_switch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Placing them would be refused each time that it is tried; a source that needs none can be closed all the same."""
    writer = Rule("TOPIC", "orders", "LITERAL", "User:app", "*", "WRITE", "ALLOW")
    (told,) = await locks_of(Broker(writer, operations=["DESCRIBE"]), monkeypatch).problems(journal())
    assert "Alter on the cluster is not allowed" in told
    assert "--operation Alter --cluster" in told
    assert await locks_of(Broker(writer), monkeypatch).problems(journal()) == []
    reader = Rule("TOPIC", "orders", "LITERAL", "User:app", "*", "READ", "ALLOW")
    assert await locks_of(Broker(reader, operations=["DESCRIBE"]), monkeypatch).problems(journal()) == []
