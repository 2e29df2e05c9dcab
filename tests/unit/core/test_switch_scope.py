"""What an order of chosen topics means, beside what was switched before it."""

from __future__ import annotations

import pytest

from replicator.core.attach_facts import Role
from replicator.core.switch_orders import begin, promoted
from replicator.errors import Conflict, PreflightFailed
from replicator.model.acl import Rule
from replicator.model.switch import Journal, Order, Outcome, Switches, Verb

COPYING, OPEN = Role.COPYING, Role.PROMOTED


def order(verb: Verb = Verb.SWITCHOVER, *topics: str) -> Order:
    """Return an order."""
    return Order("new", verb, flow="f", topics=topics)


@pytest.mark.parametrize(
    ("verb", "topics", "flow", "mirrors", "expected"),
    [
        (Verb.SWITCHOVER, (), COPYING, {"a": COPYING}, False),
        (Verb.SWITCHOVER, (), COPYING, {"a": OPEN, "b": COPYING}, False),
        (Verb.SWITCHOVER, (), OPEN, {"a": OPEN}, True),
        (Verb.SWITCHOVER, ("a",), COPYING, {"a": OPEN, "b": COPYING}, True),
        (Verb.SWITCHOVER, ("b",), COPYING, {"a": OPEN, "b": COPYING}, False),
        (Verb.FAILOVER, ("a",), OPEN, {"a": COPYING, "b": OPEN}, False),
        (Verb.SWITCHOVER, ("unknown",), COPYING, {"a": COPYING}, False),
        (Verb.FAILBACK, ("a",), COPYING, {"a": OPEN, "b": COPYING}, True),
        (Verb.FAILBACK, (), OPEN, {"a": COPYING, "b": OPEN}, True),
        (Verb.FAILBACK, (), COPYING, {"a": COPYING}, False),
        (Verb.SWITCHOVER, (), Role.FENCING, {"a": COPYING}, False),
    ],
)
def test_whether_what_is_meant_was_opened(
    verb: Verb, topics: tuple[str, ...], flow: Role, mirrors: dict[str, Role], *, expected: bool
) -> None:
    """By the flow's role, or by those of the topics that are named."""
    assert promoted(order(verb, *topics), flow, mirrors) is expected


@pytest.mark.parametrize(
    ("verb", "topics", "flow", "mirrors", "says"),
    [
        (Verb.SWITCHOVER, ("a", "b"), COPYING, {"a": OPEN, "b": COPYING}, "replicator switchover f --topics b"),
        (Verb.FAILBACK, ("a", "b"), COPYING, {"a": OPEN, "b": COPYING}, "replicator failback f --topics a"),
        (Verb.FAILBACK, (), COPYING, {"a": OPEN, "b": COPYING}, "replicator failback f --topics a"),
        (Verb.SWITCHOVER, (), OPEN, {"a": OPEN, "b": COPYING}, "replicator switchover f --topics b"),
    ],
)
def test_what_has_to_be_named(
    verb: Verb, topics: tuple[str, ...], flow: Role, mirrors: dict[str, Role], says: str
) -> None:
    """Part of it is on one side, part of it on the other: the command that would do is told."""
    with pytest.raises(PreflightFailed) as refused:
        promoted(order(verb, *topics), flow, mirrors)
    assert refused.value.next_step == says


def lock(topic: str) -> str:
    """Return a lock of a topic, as it is noted."""
    return Rule("TOPIC", topic, "LITERAL", "User:app", "*", "WRITE", "DENY").text()


def last(topics: tuple[str, ...], outcome: Outcome, **fields: tuple[str, ...]) -> Switches:
    """Return a record whose last switch has ended."""
    return Switches(Journal("old", Verb.SWITCHOVER, topics=topics, outcome=outcome, **fields))  # type: ignore[arg-type] # fields of tests


def begun(switches: Switches, wanted: Order) -> Journal:
    """Return the switch that an order begins."""
    current = begin(switches, wanted, promoted=False, now_ms=1).switches.current
    assert current is not None
    return current


def test_locks_of_other_topics_stand() -> None:
    """What an earlier switch closed by right is carried on, and is no business of a switch of something else."""
    switches = last(("a",), Outcome.DONE, locks=(lock("a"),))
    other = begun(switches, order(Verb.SWITCHOVER, "b"))
    assert (other.inherited_locks, other.other_locks) == ((), (lock("a"),))

    third = begun(
        Switches(Journal("old", Verb.SWITCHOVER, topics=("b",), outcome=Outcome.DONE, other_locks=(lock("a"),))),
        order(Verb.SWITCHOVER, "a"),
    )
    assert (third.inherited_locks, third.other_locks) == ((lock("a"),), ())
    whole = begun(switches, order())
    assert (whole.inherited_locks, whole.other_locks) == ((lock("a"),), ())


def test_locks_of_an_aborted_switch_may_come_late() -> None:
    """Whatever is switched next: they are looked for, and removed once it has been undone, too."""
    switches = last(("a",), Outcome.ABORTED, locks=(lock("a"),))
    assert begun(switches, order(Verb.SWITCHOVER, "b")).inherited_locks == (lock("a"),)


def test_one_switch_of_a_flow_at_a_time() -> None:
    """Also where they are about different topics."""
    running = last(("a",), Outcome.RUNNING)
    assert begin(running, order(Verb.SWITCHOVER, "a"), promoted=False, now_ms=1).already
    with pytest.raises(Conflict):
        begin(running, order(Verb.SWITCHOVER, "b"), promoted=False, now_ms=1)
    with pytest.raises(Conflict):
        begin(running, order(), promoted=False, now_ms=1)
