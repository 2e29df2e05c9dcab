"""What an order of chosen topics means, beside what was switched before it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from replicator.core.copy.attaching.facts import Role
from replicator.core.switch.machine.machine import SwitchFacts, confirmation_digest, next_step
from replicator.core.switch.machine.steps import ReopenSource
from replicator.core.switch.orders import begin, not_selected_then, promoted
from replicator.core.switch.running import aborted, confirmed
from replicator.errors import Conflict, PreflightFailed, UsageError
from replicator.model.acl import Rule
from replicator.model.switch.journal import Journal, Switches
from replicator.model.switch.terms import (
    Close,
    Cut,
    LeftOutMirror,
    LeftOutReason,
    Options,
    Outcome,
    StepName,
    StepRecord,
    SwitchOrder,
    Verb,
)

COPYING, OPEN = Role.COPYING, Role.PROMOTED


def order(verb: Verb = Verb.SWITCHOVER, *topics: str) -> SwitchOrder:
    """Return an order."""
    return SwitchOrder("new", verb, flow="f", topics=topics)


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


def begun(switches: Switches, wanted: SwitchOrder) -> Journal:
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


def test_what_was_switched_alone_stays_closed() -> None:
    """Its old source is not opened where a switch of the rest is undone, nor handed on with it."""
    switches = last(("a",), Outcome.DONE, locks=(lock("a"),))
    taken = begin(switches, order(), promoted=False, now_ms=1, apart=("a",)).switches.current
    assert taken is not None
    assert (taken.inherited_locks, taken.other_locks) == ((), (lock("a"),))
    closed = replace(taken, locks=(lock("b"),), reached=StepName.PLACE_LOCKS)
    undone = replace(aborted(closed, "why", 2), reached=StepName.WITHDRAW_WAY_BACK)
    assert next_step(undone, SwitchFacts(3)) == ReopenSource((lock("b"),))
    failed = Switches(replace(closed, outcome=Outcome.DONE))
    alone = begin(failed, replace(order(Verb.SWITCHOVER, "a"), id="third"), promoted=False, now_ms=1).switches.current
    assert alone is not None
    assert (alone.inherited_locks, alone.other_locks) == ((lock("a"),), (lock("b"),))


def test_a_mirror_that_a_switch_left_out() -> None:
    """It was neither cut nor opened, whatever the flow selects by now: nothing of it is done, or comes back."""
    away = (
        LeftOutMirror("gone", LeftOutReason.SOURCE_GONE),
        LeftOutMirror("x", LeftOutReason.NOT_SELECTED),
        LeftOutMirror("y", LeftOutReason.SWITCHED_ALONE),
    )
    done = Journal("old", Verb.FAILOVER, outcome=Outcome.DONE, left_out=away)
    back = Journal("later", Verb.FAILBACK, outcome=Outcome.ABORTED)
    assert not_selected_then(Switches(back, (done,))) == (away[1],)
    assert not_selected_then(Switches(done), ("z",)) == ()
    assert not_selected_then(Switches(Journal("newer", Verb.FAILOVER, outcome=Outcome.DONE), (done,))) == ()
    with pytest.raises(PreflightFailed):
        begin(Switches(done), order(Verb.FAILOVER, "x"), promoted=True, now_ms=1)
    assert begin(Switches(done), order(Verb.FAILOVER, "z"), promoted=True, now_ms=1).already


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


@pytest.mark.parametrize(
    ("verb", "other", "named"),
    [
        (Verb.FAILBACK, {"append": True}, "without --append"),
        (Verb.FAILBACK, {"switch_back": False}, "without --stay"),
        (Verb.SWITCHOVER, {"groups_exact": False}, "without --inexact-groups"),
        (Verb.SWITCHOVER, {"close": Close.STATED}, "without --producers-stopped"),
        (Verb.SWITCHOVER, {"reverse_flow": ""}, "with --reverse"),
    ],
)
def test_a_running_switch_is_not_taken_for_one_that_was_ordered_otherwise(
    verb: Verb, other: dict[str, Any], named: str
) -> None:
    """Who agrees to it afterwards would lose what he meant to keep; which option it is, is told."""
    options = Options(reverse_flow="back", timeout_ms=1)
    running = Switches(Journal("old", verb, flow="f", options=options, reached=StepName.PREFLIGHT))
    meant = replace(options, **other)
    with pytest.raises(Conflict, match=named) as refused:
        begin(running, SwitchOrder("new", verb, flow="f", options=meant), promoted=False, now_ms=1)
    assert "replicator switch abort f" in refused.value.next_step
    same = SwitchOrder("new", verb, flow="f", options=replace(options, timeout_ms=2))
    assert begin(running, same, promoted=False, now_ms=1).already
    assert begin(running, replace(same, options=meant), promoted=False, now_ms=1, as_it_runs=True).already


def came_back(topics: tuple[str, ...] = (), *, stays: bool = False) -> Switches:
    """Return a record whose last switch was a failback that is done."""
    options = Options(reverse_flow="back", switch_back=not stays)
    return Switches(Journal("old", Verb.FAILBACK, topics=topics, outcome=Outcome.DONE, options=options))


def order_back(*topics: str) -> SwitchOrder:
    """Return the order of a failback."""
    return SwitchOrder("new", Verb.FAILBACK, flow="f", topics=topics, options=Options(reverse_flow="back"))


def test_a_failback_again() -> None:
    """Nothing is to be done once the flow is back; of what was not meant, or was to stay, there is."""
    assert begin(came_back(("a",)), order_back("a"), promoted=False, now_ms=1).already
    for before in (came_back(("a",)), came_back(stays=True), Switches()):
        with pytest.raises(PreflightFailed):
            begin(before, order_back(), promoted=False, now_ms=1)
    assert not begin(came_back(), order_back(), promoted=True, was_cut=True, now_ms=1).already


@pytest.mark.parametrize(
    ("before", "was_cut", "reverse_opened"),
    [
        (Switches(), False, False),
        (Switches(Journal("old", Verb.SWITCHOVER, outcome=Outcome.ABORTED)), False, False),
        (Switches(Journal("old", Verb.SWITCHOVER, topics=("b",), outcome=Outcome.DONE)), False, False),
        (last((), Outcome.DONE), False, True),
        (Switches(), True, True),
    ],
)
def test_a_failback_of_the_wrong_flow(before: Switches, *, was_cut: bool, reverse_opened: bool) -> None:
    """A way back stands by as promoted, though it was never switched; or its switch was failed back since."""
    with pytest.raises(PreflightFailed) as refused:
        begin(before, order_back("a"), promoted=True, now_ms=1, was_cut=was_cut, reverse_opened=reverse_opened)
    assert "replicator failback back" in refused.value.next_step
    assert not begin(last((), Outcome.DONE), order_back("a"), promoted=True, now_ms=1).already


@pytest.mark.parametrize("verb", [Verb.SWITCHOVER, Verb.FAILOVER])
def test_a_flow_that_was_never_begun_opens_nothing(verb: Verb) -> None:
    """It stands by as promoted, which is not the same as opened; only rules that keep its target closed can go."""
    with pytest.raises(PreflightFailed) as refused:
        begin(Switches(), order(verb), promoted=True, now_ms=1)
    assert "never started" in str(refused.value)
    assert begin(Switches(), order(verb), promoted=True, now_ms=1, was_cut=True).already
    assert begin(last((), Outcome.DONE), order(verb), promoted=True, now_ms=1).already
    if verb is Verb.FAILOVER:
        assert not begin(Switches(), order(verb), promoted=True, now_ms=1, target_closed=True).already


def test_a_failback_while_the_other_flow_is_switched() -> None:
    """What it ordered is under way; any other switch has to end before it is known which side is the open one."""
    turning = Journal("old-back", Verb.SWITCHOVER, flow="back")
    assert begin(came_back(), order_back(), promoted=True, now_ms=1, reverse=turning).already
    for before, reverse in (
        (came_back(), replace(turning, id="another")),
        (came_back(("a",)), turning),
        (Switches(), turning),
    ):
        with pytest.raises(Conflict):
            begin(before, order_back(), promoted=True, now_ms=1, reverse=reverse)


def test_an_agreement_again() -> None:
    """It changes nothing, also once all is done; another one is refused."""
    asks = Journal(
        "s",
        Verb.FAILBACK,
        cuts=(Cut("a", 0, 5, 5, tail_end=7),),
        history=(StepRecord(StepName.EXPORT_TAILS, 1),),
    )
    digest = confirmation_digest(asks)
    agreed = confirmed(asks, digest)
    assert agreed.revision == asks.revision + 1
    for journal in (agreed, replace(agreed, outcome=Outcome.DONE)):
        assert confirmed(journal, digest) == journal
        with pytest.raises((UsageError, PreflightFailed)):
            confirmed(journal, "0" * 16)
