"""What applications would miss on the target."""

from __future__ import annotations

from dataclasses import replace

from replicator.core.acl.parity import SideParity, closable, compared
from replicator.model.acl import Rule
from replicator.model.spec import AclPolicy, FlowSpec, Pattern, PatternKind, Selection

FLOW = FlowSpec("f", "east", "west", Selection((Pattern(PatternKind.GLOB, "orders"),)))
READ = Rule("TOPIC", "orders", "LITERAL", "User:app", "*", "READ", "ALLOW")
WRITE = READ._replace(operation="WRITE")
OURS = Rule("TOPIC", "*", "LITERAL", "User:repl", "*", "ALL", "ALLOW")
SIDE = SideParity(
    (OURS,), has_authorizer=True, users=frozenset({"app"}), quotas={("user=app",): {"x": 1.0}}, us="User:repl"
)


def told(
    there: SideParity, here: SideParity, ours: tuple[Rule, ...] = (), flow: FlowSpec = FLOW
) -> dict[str, tuple[str, str]]:
    """Return level and text of each finding."""
    return {check.name: (check.level, check.text) for check in compared(flow, {"orders": "orders"}, there, here, ours)}


def test_the_same_on_both_sides() -> None:
    """All green."""
    assert {level for level, _ in told(SIDE, SIDE).values()} == {"ok"}
    bare = SideParity((), has_authorizer=False, users=frozenset(), quotas={})
    assert "neither" in told(bare, bare)["rules"][1]


def test_missing_rules() -> None:
    """Of both, what follows already and what waits until the target is opened is no difference."""
    there = replace(SIDE, rules=(OURS, READ, WRITE))
    level, text = told(there, SIDE)["rules"]
    assert level == "warn"
    assert text.startswith("2 rules have no counterpart")
    assert told(there, replace(SIDE, rules=(OURS, READ)), (READ, WRITE))["rules"][0] == "ok"
    mirroring = replace(FLOW, acls=AclPolicy(mirror=True))
    fixes = [one.fix for one in compared(mirroring, {"orders": "orders"}, there, SIDE, ()) if one.name == "rules"]
    assert "follow" in fixes[0]
    assert "only the source" in told(there, replace(SIDE, rules=(), has_authorizer=False))["rules"][1]


def test_missing_users_and_quotas() -> None:
    """By name."""
    there = replace(
        SIDE, users=frozenset({"app", "batch"}), quotas={("user=app",): {"x": 2.0}, ("user=b",): {"y": 1.0}}
    )
    found = told(there, SIDE)
    assert found["users"][0] == found["quotas"][0] == "warn"
    assert "batch" in found["users"][1]
    assert "2 quotas differ on the target: user=app; user=b" in found["quotas"][1]


def test_what_cannot_be_read_is_never_green() -> None:
    """It says why."""
    found = told(SIDE, SideParity(unread="west does not say"))
    assert {level for level, _ in found.values()} == {"warn"}
    assert all("west does not say" in text for _, text in found.values())


def test_what_a_version_does_not_list_is_said_as_that() -> None:
    """For want of a right, or of a Kafka that knows: two things. The rest is compared all the same."""
    old = replace(SIDE, users=None, not_offered=frozenset({"users"}))
    found = told(old, SIDE)
    assert found["users"][0] == "warn"
    assert "not compared: the version of Kafka on the source has no lists of SCRAM users" in found["users"][1]
    assert found["quotas"][0] == "ok"
    assert "could not be read: no right" in told(replace(SIDE, users=None, unread="no right"), SIDE)["users"][1]


def test_whether_the_source_can_be_closed() -> None:
    """A topic without rules makes it yellow, unless surely nobody may write to it then."""
    writer = replace(SIDE, rules=(WRITE,))
    bare = replace(SIDE, rules=(), allows_everyone=None)
    (green,) = closable(FLOW, ["orders"], writer)
    assert green.level == "ok"
    (yellow,) = closable(FLOW, ["orders", "payments"], bare)
    assert yellow.level == "warn"
    assert "orders has no rules, and whether everyone may write to it is unknown, and 1 more" in yellow.text
    assert "replicator switchover f --dry-run" in yellow.fix
    assert [one.level for one in closable(FLOW, ["orders"], replace(bare, allows_everyone=False))] == ["ok"]
    assert closable(FLOW, ["orders"], SideParity(unread="east does not say")) == []
    (lack,) = closable(FLOW, ["orders"], replace(writer, may_place_rules=False), to_grant="kafka-acls.sh --add")
    assert lack.level == "warn"
    assert "we lack Alter on the cluster" in lack.text
    assert lack.fix.startswith("kafka-acls.sh --add; or at the switchover stop its producers")
    nothing_to_place = replace(bare, allows_everyone=False, may_place_rules=False)
    assert [one.level for one in closable(FLOW, ["orders"], nothing_to_place)] == ["ok"]
    assert closable(FLOW, ["orders"], replace(bare, has_authorizer=False)) == []
