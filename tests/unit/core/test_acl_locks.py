"""Which rules close topics: nobody else loses anything, and we never lock ourselves out."""

from __future__ import annotations

from replicator.core.acl.locks import Authorizer, locks
from replicator.model.acl import Rule, parse

US = "User:replicator"


def rule(
    principal: str, operation: str, permission: str = "ALLOW", name: str = "orders", pattern: str = "LITERAL"
) -> Rule:
    """Return a rule about a topic."""
    return Rule("TOPIC", name, pattern, principal, "*", operation, permission)


def authorizer(*rules: Rule, allows: bool | None = False, us: str | None = US) -> Authorizer:
    """Return one that knows these rules."""
    return Authorizer(rules, allows, us)


def test_a_topic_without_rules() -> None:
    """Where everyone may do everything, reading is allowed to all and the rest to us; else it is closed already."""
    plan = locks(authorizer(allows=True), ["orders"])
    assert {(one.principal, one.operation, one.permission) for one in plan.rules} == {
        ("User:*", "READ", "ALLOW"),
        ("User:*", "DESCRIBE", "ALLOW"),
        ("User:*", "DESCRIBE_CONFIGS", "ALLOW"),
        (US, "ALL", "ALLOW"),
    }
    assert locks(authorizer(allows=False), ["orders"]).rules == ()
    assert "is unknown" in locks(authorizer(allows=None), ["orders"]).problems[0]
    assert "does not name our principal" in locks(authorizer(allows=True, us=None), ["orders"]).problems[0]


def test_writers_are_denied_one_by_one() -> None:
    """By name, by prefix, by ALL; not us, and not who is denied already."""
    rules = (
        rule("User:app", "WRITE"),
        rule("User:batch", "ALL", name="ord", pattern="PREFIXED"),
        rule("User:every", "WRITE", name="*"),
        rule("User:reader", "READ"),
        rule(US, "ALL"),
        rule("User:gone", "WRITE"),
        rule("User:gone", "WRITE", "DENY"),
        rule("User:other", "WRITE", name="payments"),
    )
    plan = locks(authorizer(*rules), ["orders"])
    assert plan.problems == ()
    assert plan.rules == tuple(rule(f"User:{name}", "WRITE", "DENY") for name in ("app", "batch", "every"))


def test_everybody_cannot_be_denied() -> None:
    """It would deny us, too."""
    plan = locks(authorizer(rule("User:*", "WRITE")), ["orders"])
    assert plan.rules == ()
    assert "everybody" in plan.problems[0]
    assert locks(authorizer(rule("User:*", "WRITE"), rule("User:*", "WRITE", "DENY")), ["orders"]).problems == ()


def test_our_own_locks_are_looked_away_from() -> None:
    """What is planned again is what was planned, though it stands."""
    first = locks(authorizer(allows=True), ["orders"]).rules
    again = locks(authorizer(*first, allows=True), ["orders"], frozenset(first))
    assert again.rules == first
    for one in first:
        assert parse(one.text()) == one
        assert one.covers("TOPIC", "orders")
        assert not one.covers("GROUP", "orders")
