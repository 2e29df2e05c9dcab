"""Which rules follow, which wait until the target is opened, and that nothing of the target's own is touched."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from replicator.core.acl.mirrored_rules import Mirrored, mirrored
from replicator.model.acl import Rule
from replicator.model.spec import FlowSpec, GroupSync, Pattern, PatternKind, Rename, Selection

TOPICS = {"orders": "orders", "payments": "payments"}
US = ("User:repl-east", "User:repl-west")
OURS = Rule("TOPIC", "*", "LITERAL", US[1], "*", "ALL", "ALLOW")
OUR_GROUPS = Rule("GROUP", "*", "LITERAL", US[1], "*", "ALL", "ALLOW")


def flow(*include: Pattern, **fields: Any) -> FlowSpec:
    """Return a flow of some topics."""
    means = include or (Pattern(PatternKind.GLOB, "orders"), Pattern(PatternKind.GLOB, "payments"))
    return replace(FlowSpec("f", "east", "west", Selection(means)), **fields)


def rule(name: str, operation: str = "READ", **fields: str) -> Rule:
    """Return a rule about a topic."""
    return Rule("TOPIC", name, "LITERAL", "User:app", "*", operation, "ALLOW")._replace(**fields)


def plan(
    source: list[Rule], target: list[Rule] | None = None, made: list[Rule] | None = None, **fields: Any
) -> Mirrored:
    """Return what is to be done."""
    spec = fields.pop("spec", flow())
    us = fields.pop("us", US)
    return mirrored(spec, fields.pop("topics", TOPICS), source, target or [OURS, OUR_GROUPS], made or [], us)


def test_reading_follows_and_writing_waits() -> None:
    """ALL is taken apart; a DENY follows at once; another topic, the cluster and we ourselves do not."""
    deny = rule("orders", "WRITE", principal="User:bad", permission="DENY")
    found = plan(
        [
            rule("orders"),
            rule("orders", "WRITE"),
            rule("payments", "ALL"),
            deny,
            rule("other"),
            rule("orders", "ALL", principal=US[0]),
            rule("kafka-cluster", "ALTER", kind="CLUSTER"),
        ]
    )
    assert set(found.make) == {
        rule("orders"),
        *(rule("payments", operation) for operation in ("READ", "DESCRIBE", "DESCRIBE_CONFIGS")),
        deny,
    }
    assert found.made == tuple(sorted(found.make))
    assert set(found.withheld) == {rule("orders", "WRITE"), rule("payments", "ALL")}


def test_wider_rules_are_written_out() -> None:
    """For the topics that are mirrored, unless the flow mirrors all that the rule is about."""
    wide = [rule("*"), rule("ord", pattern="PREFIXED", principal="User:b")]
    assert set(plan(wide).make) == {rule("orders"), rule("payments"), rule("orders", principal="User:b")}
    spec = flow(Pattern(PatternKind.PREFIX, "o"), rename=Rename(prefix="east."))
    found = plan(wide, spec=spec, topics={"orders": "east.orders"})
    assert set(found.make) == {rule("east.orders"), rule("east.ord", pattern="PREFIXED", principal="User:b")}


def test_a_rule_for_a_prefix_is_not_about_the_topics_of_others() -> None:
    """Where the target has a topic of that prefix which is no mirror, the rule is written out for the mirrors."""
    spec = flow(Pattern(PatternKind.PREFIX, "o"), rename=Rename(prefix="east."))
    wide, topics = [rule("ord", pattern="PREFIXED")], {"orders": "east.orders"}
    for foreign, names in ((("orders", "east.other"), {"east.ord"}), (("east.ordering",), {"east.orders"})):
        found = mirrored(spec, topics, wide, [OURS, OUR_GROUPS], (), US, foreign=foreign)
        assert {one.name for one in found.make} == names


def test_groups_and_transactional_ids() -> None:
    """Those that follow; ids as they are, but not ours."""
    group = rule("billing", kind="GROUP")
    every = rule("*", kind="GROUP")
    transactional = rule("app-", "WRITE", kind="TRANSACTIONAL_ID", pattern="PREFIXED")
    ours = rule("replicator.x", "WRITE", kind="TRANSACTIONAL_ID")
    found = plan([group, every, transactional, ours])
    assert set(found.make) == {group, every, transactional}
    some = GroupSync(Selection((Pattern(PatternKind.GLOB, "billing"),)))
    found = plan([group, every, rule("other", kind="GROUP")], spec=flow(group_sync=some))
    assert found.make == (group,)
    assert "covers groups that do not follow" in found.notes[0]


def test_the_targets_own_rules_are_left() -> None:
    """One that stood there before is not ours and stays when it goes on the source; ours goes."""
    own = rule("orders")
    found = plan([rule("orders"), rule("payments")], [OURS, own])
    assert found.make == (rule("payments"),)
    later = plan([], [OURS, own, rule("payments")], [rule("payments")])
    assert (later.make, later.remove, later.made) == ((), (rule("payments"),), ())
    again = plan([rule("payments")], [OURS, rule("payments")], [rule("payments")])
    assert (again.make, again.remove) == ((), ())


def test_we_are_never_shut_out() -> None:
    """A first rule about a topic comes after ours; where nobody tells who we are there, none comes."""
    found = plan([rule("orders"), rule("g", kind="GROUP")], [rule("unrelated")])
    assert [one.principal for one in found.make[:3]] == [US[1]] * 3
    assert found.make[0] == Rule("GROUP", "g", "LITERAL", US[1], "*", "DESCRIBE", "ALLOW")
    unknown = plan([rule("orders"), rule("t", kind="TRANSACTIONAL_ID")], [], us=(None, None))
    assert unknown.make == (rule("t", kind="TRANSACTIONAL_ID"),)
    assert "not mirrored" in unknown.notes[0]


def test_what_was_opened_alone_keeps_its_rules() -> None:
    """Rules about it stay as they were made; one for a whole prefix is written out, for it is about both sides now."""
    spec = flow(Pattern(PatternKind.PREFIX, "o"))
    prefix = rule("o", "WRITE", pattern="PREFIXED")
    reads = rule("o", "READ", pattern="PREFIXED")
    source, made = [prefix, reads], [rule("orders", "WRITE"), reads]
    found = mirrored(
        spec, {"other": "other"}, source, [OURS, OUR_GROUPS, *made], made, US, opened=frozenset({"orders"})
    )
    assert set(found.make) == {rule("other"), rule("orders")}
    assert found.remove == (reads,)
    assert set(found.made) == {rule("other"), rule("orders"), rule("orders", "WRITE")}
    assert found.withheld == (rule("other", "WRITE"),)


def test_a_rule_of_a_newer_kafka_is_not_mirrored() -> None:
    """What it allows is not known here, and it could not be placed; the others follow."""
    found = plan([rule("orders"), rule("orders", "15"), rule("orders", pattern="9"), rule("payments", permission="7")])
    assert found.make == (rule("orders"),)
    assert found.notes == ("3 rules are not mirrored: this version does not know what they allow or deny",)
