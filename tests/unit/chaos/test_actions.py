"""A fault that cannot be placed is told and left out; one that cannot be healed ends the run."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import pytest

from chaos import actions as under_test
from chaos.actions import Actions
from chaos.errors import ChaosError
from chaos.faults import Fault
from chaos.plan import Phase, Step

if TYPE_CHECKING:
    from chaos.bench import Bench

WHERE = ("orders", 0)


def bench(refused: str = "", target_end: int = 100, source_end: int = 100) -> Bench:
    """Return a bench with one topic, whose source may refuse to delete."""

    def delete_below(*_: object) -> None:
        if refused:
            raise OSError(refused)

    source = SimpleNamespace(starts=lambda _: {WHERE: 0}, ends=lambda _: {WHERE: source_end}, delete_below=delete_below)
    target = SimpleNamespace(ends=lambda _: {WHERE: target_end})
    topics = [SimpleNamespace(name="orders")]
    return cast("Bench", SimpleNamespace(source_admin=source, target_admin=target, topics=topics, daemons=[]))


def step(phase: Phase = Phase.BEGIN, fault: Fault = Fault.DELETE_RECORDS) -> Step:
    """Return one step."""
    return Step(0.0, 1, fault, phase, 0, {"partition": 0, "percent": 100})


def test_a_refused_deletion_is_told_with_both_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """The run goes on; whoever reads the report sees whether the source holds less than the target."""
    monkeypatch.setattr(under_test, "COMMAND_SECONDS_MAX", 0.0)
    said: list[str] = []
    actions = Actions(bench("OFFSET_OUT_OF_RANGE", target_end=100, source_end=90), said.append)

    assert not actions.do(step())

    (told,) = actions.unplaced
    assert "orders[0] below 100: target and source ended at 100 and 90, now at 100 and 90" in told
    assert "OFFSET_OUT_OF_RANGE" in told
    assert told in said[-1]


def test_a_placed_fault_is_no_news() -> None:
    """It is counted."""
    actions = Actions(bench(), lambda _: None)
    assert actions.do(step())
    assert not actions.unplaced


def test_the_end_of_what_was_not_placed_does_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """And what cannot be healed raises, as nothing could be judged then."""
    actions = Actions(bench(), lambda _: None)

    def refuse(_step: Step) -> int:
        raise ChaosError("replicas are not in sync")

    monkeypatch.setitem(actions._begins, Fault.SOURCE_KILL, refuse)
    assert not actions.do(step(fault=Fault.SOURCE_KILL))
    assert actions.do(step(Phase.END, Fault.SOURCE_KILL))

    monkeypatch.setitem(actions._begins, Fault.SOURCE_KILL, lambda _: 7)
    monkeypatch.setitem(actions._ends, Fault.SOURCE_KILL, lambda first, _node: refuse(first))
    assert actions.do(step(fault=Fault.SOURCE_KILL))
    with pytest.raises(ChaosError, match="not in sync"):
        actions.do(step(Phase.END, Fault.SOURCE_KILL))
