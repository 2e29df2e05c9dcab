"""Every history of a small world: whoever dies wherever, nothing is lost, doubled, or open on both sides."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from replicator.core.offsets.own_place import OwnEndSearch
from replicator.core.switch import orders as switch_orders
from replicator.core.switch import running
from replicator.core.switch.machine import machine as switch
from replicator.core.switch.machine import recording as switch_recording
from replicator.errors import BugError
from replicator.model.batch import BatchHeader
from replicator.model.switch.journal import Journal
from replicator.model.switch.terms import Decision, Direction, LeftOutMirror, LeftOutReason, Scope, StepName, Verb
from tests.property.switch_effects import OURS, SOUND, Machine
from tests.property.switch_executor import started
from tests.property.switch_search import search
from tests.property.switch_world import Executor, World, stated

WORLDS_MAX = 2_000_000
TWO = (Executor(), Executor())
WITH_SOURCE = (Executor(), Executor(on_source=True))


def switchover(**fields: object) -> World:
    """Return the world of a switchover that was just ordered."""
    return replace(World(started(Verb.SWITCHOVER, reverse_flow="r")), **fields)  # type: ignore[arg-type]


def orders(*names: str) -> frozenset[str]:
    """Return what operators and misfortune may do."""
    return frozenset(names)


def of_three(journal: Journal, **fields: object) -> World:
    """Return a world with a topic `x` beside the other, which holds a record."""
    three: dict[str, object] = {
        "source": (("a0",), (), ("x0",)),
        "target": ((), (), ()),
        "shown": (0, 0, 0),
        "copied": (0, 0, 0),
        "topics": ("t", "t", "x"),
        "writes_left": 0,
    }
    return replace(World(journal), **(three | fields))  # type: ignore[arg-type]


VANISHES = orders("topic vanishes")
STAYS = (LeftOutMirror("x", LeftOutReason.SWITCHED_ALONE),)
QUICK = {
    "its executor dies": switchover(crashes_left=1),
    "another's lock stands": switchover(foreign=frozenset({"deny-a"}), source_locks=frozenset({"deny-a"})),
    "two at once": switchover(executors=TWO, writes_left=0, commit=(1, 0), group=(1, 0)),
    "somebody writes to the target": switchover(strangers_left=1, writes_left=0),
    "a failover, and somebody writes to the target": World(
        started(Verb.FAILOVER), orders_left=orders("source dies"), strangers_left=1
    ),
    "failover": World(started(Verb.FAILOVER), orders_left=orders("source dies"), writes_left=0),
    "a topic vanishes": of_three(started(Verb.SWITCHOVER), orders_left=VANISHES, commit=(1, 0), group=(1, 0)),
    "the only topic vanishes": of_three(
        started(Verb.SWITCHOVER, topics=("x",)), orders_left=VANISHES, source=((), (), ("x0",))
    ),
    "a topic was switched alone": of_three(
        started(Verb.SWITCHOVER, left_out=STAYS),
        stays=frozenset({2}),
        stay_writes_left=1,
        commit=(1, 0),
        group=(1, 0),
    ),
    "a failback of the wrong flow": switchover(orders_left=orders("wrong failback"), writes_left=0),
}
LONG = {
    "a failover, and more is written to the target": World(
        started(Verb.FAILOVER), orders_left=orders("source dies"), strangers_left=2
    ),
    "abort or too late": switchover(orders_left=orders("abort", "time passes"), crashes_left=1),
    "two at once, and an abort": switchover(orders_left=orders("abort"), executors=TWO, writes_left=0),
    "the way back": switchover(
        orders_left=orders("way back", "target dies", "target returns"),
        executors=WITH_SOURCE,
        writes_left=0,
        crashes_left=1,
    ),
    "a failover takes over": switchover(
        orders_left=orders("source dies", "failover", "source returns"), crashes_left=1
    ),
    "two fail over": World(
        started(Verb.FAILOVER), orders_left=orders("source dies"), crashes_left=1, executors=TWO, writes_left=0
    ),
    "a topic vanishes, and an executor dies": of_three(
        started(Verb.SWITCHOVER, reverse_flow="r"), orders_left=orders("topic vanishes", "abort"), crashes_left=1
    ),
    "a topic was switched alone, and the way back": of_three(
        started(Verb.SWITCHOVER, left_out=STAYS),
        stays=frozenset({2}),
        stay_writes_left=1,
        orders_left=orders("way back", "target dies", "target returns"),
        executors=WITH_SOURCE,
        commit=(1, 0),
        group=(1, 0),
    ),
    "a topic comes": switchover(topics_left=1, writes_left=0),
    "producers are stopped": stated(switchover(orders_left=orders("abort"), crashes_left=1)),
    "no way back": replace(
        World(started(Verb.SWITCHOVER, way_back=False)),
        orders_left=orders("abort", "source dies", "source returns"),
        crashes_left=1,
    ),
}


@pytest.mark.parametrize("world", QUICK.values(), ids=QUICK)
def test_no_history_goes_wrong(world: World) -> None:
    """And one healthy executor brings each world to a sound end."""
    worlds, history = search(world, worlds_max=WORLDS_MAX)
    assert history is None, history
    assert worlds > 50


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("world", LONG.values(), ids=LONG)
def test_no_long_history_goes_wrong(world: World) -> None:
    """The same with more that may happen."""
    worlds, history = search(world, worlds_max=WORLDS_MAX)
    assert history is None, history
    assert worlds > 200


def without(verb: Verb, *steps: StepName) -> Callable[[pytest.MonkeyPatch], Machine]:
    """Leave steps out."""

    def broken(patch: pytest.MonkeyPatch) -> Machine:
        path = tuple(step for step in switch._PATHS[verb] if step not in steps)
        patch.setitem(switch._PATHS, verb, path)
        return SOUND

    return broken


def swapped(verb: Verb, one: StepName, other: StepName) -> Callable[[pytest.MonkeyPatch], Machine]:
    """Do two steps in the other order."""

    def broken(patch: pytest.MonkeyPatch) -> Machine:
        turned = {one: other, other: one}
        patch.setitem(switch._PATHS, verb, tuple(turned.get(step, step) for step in switch._PATHS[verb]))
        return SOUND

    return broken


def abort_at_any_time(patch: pytest.MonkeyPatch) -> Machine:
    """Undo what cannot be undone."""
    patch.setattr(switch_orders, "may_be_undone", lambda _: True)
    return SOUND


def late_writes_are_fine(patch: pytest.MonkeyPatch) -> Machine:
    """Do not look whether the source was written to after it was closed."""
    patch.setattr(switch_recording, "_check_whole", lambda *_: None)
    patch.setattr(switch_recording, "_closed_again", lambda journal, _: journal)
    return SOUND


def what_is_gone_is_not_noted(patch: pytest.MonkeyPatch) -> Machine:
    """Close the source once more when a topic has vanished, with that topic still meant."""
    closed_again = switch_recording._closed_again
    patch.setattr(
        switch_recording, "_closed_again", lambda journal, moved: closed_again(journal, replace(moved, left_out=()))
    )
    return SOUND


def what_is_there_is_left_out(patch: pytest.MonkeyPatch) -> Machine:
    """Leave topics out whenever the source has moved."""
    closed_again = switch_recording._closed_again
    every = (LeftOutMirror("x", LeftOutReason.SOURCE_GONE),)
    patch.setattr(
        switch_recording, "_closed_again", lambda journal, moved: closed_again(journal, replace(moved, left_out=every))
    )
    return SOUND


def a_whole_flow_is_all_of_it(patch: pytest.MonkeyPatch) -> Machine:
    """Mean topics that the order left out."""
    patch.setattr(Scope, "__contains__", lambda scope, topic: not scope.topics or topic in scope.topics)
    return SOUND


def an_empty_scope_goes_on(patch: pytest.MonkeyPatch) -> Machine:
    """Go on when none of the topics that were named is left."""
    patch.setattr(Scope, "is_empty", False)
    return SOUND


def any_flow_is_failed_back(patch: pytest.MonkeyPatch) -> Machine:
    """Come back from where nobody went."""
    patch.setattr(switch_orders, "_check_came_from", lambda *_, **__: None)
    return SOUND


def later_decisions_win(patch: pytest.MonkeyPatch) -> Machine:
    """Let a decision on the source be replaced by the next one."""

    def decided(copy: Journal | None, journal: Journal, wanted: Decision) -> Journal:
        made = running.decided(copy, journal, wanted)
        return replace(made, decision=wanted)

    def way_back(copy: Journal, why: str) -> Journal:
        return replace(switch_recording.turned(copy, Direction.BACK, why), decision=Decision.BACK)

    del patch
    return replace(SOUND, decided=decided, way_back=way_back)


class WhateverStandsThere(OwnEndSearch):
    """Counts all that stands below the fence as ours."""

    def take(self, header: BatchHeader) -> None:
        """Take the next batch, whoever wrote it."""
        super().take(header._replace(producer_id=OURS))


def everything_counts(patch: pytest.MonkeyPatch) -> Machine:
    """Cut where the log of the target ends, below the fence."""
    del patch
    return replace(SOUND, search=WhateverStandsThere)


class Whatever:
    """Equals every step."""

    def __eq__(self, other: object) -> bool:
        return True

    def __hash__(self) -> int:
        return 0


def older_revisions_count(patch: pytest.MonkeyPatch) -> Machine:
    """Record a step of whoever asked for it, however long ago, whether it is the next one by now or not."""
    patch.setattr(switch_recording, "next_step", lambda *_: Whatever())

    def applied(journal: Journal, step: object, result: object, **facts: object) -> Journal:
        facts["revision"] = journal.revision
        return switch_recording.applied(journal, step, result, **facts)  # type: ignore[arg-type]

    return replace(SOUND, applied=applied)


MUTANTS = {
    "no proof that nobody writes": (
        without(Verb.SWITCHOVER, StepName.PLAN_LOCKS, StepName.PLACE_LOCKS),
        switchover(),
    ),
    "no last look at groups": (without(Verb.SWITCHOVER, StepName.SYNC_GROUPS), switchover()),
    "no look whether the fence stands": (without(Verb.SWITCHOVER, StepName.FENCE), switchover()),
    "opened before it was cut": (
        swapped(Verb.SWITCHOVER, StepName.RECORD_CUT, StepName.OPEN_TARGET),
        switchover(),
    ),
    "the way back is never given up": (
        without(Verb.SWITCHOVER, StepName.GIVE_UP_WAY_BACK),
        switchover(orders_left=orders("way back"), executors=WITH_SOURCE, writes_left=0),
    ),
    "an abort at any time": (abort_at_any_time, switchover(orders_left=orders("abort"))),
    "late writes are fine": (late_writes_are_fine, switchover(orders_left=orders("abort"), topics_left=1)),
    "what is gone is not noted": (what_is_gone_is_not_noted, QUICK["a topic vanishes"]),
    "what is there is left out": (
        what_is_there_is_left_out,
        of_three(started(Verb.SWITCHOVER), topics_left=1, commit=(1, 0), group=(1, 0)),
    ),
    "a whole flow is all of it": (a_whole_flow_is_all_of_it, QUICK["a topic was switched alone"]),
    "an empty scope goes on": (an_empty_scope_goes_on, QUICK["the only topic vanishes"]),
    "any flow is failed back": (any_flow_is_failed_back, QUICK["a failback of the wrong flow"]),
    "whatever stands at the fence counts as copied": (
        everything_counts,
        World(started(Verb.FAILOVER), orders_left=orders("source dies"), strangers_left=2),
    ),
    "groups are not clamped": (
        without(Verb.FAILOVER, StepName.CLAMP_GROUPS),
        World(started(Verb.FAILOVER), group=(1, 0), commit=(1, 0), copied=(0, 0)),
    ),
}


@pytest.mark.long
@pytest.mark.parametrize(("broken", "world"), MUTANTS.values(), ids=MUTANTS)
def test_a_broken_machine_is_found(
    broken: Callable[[pytest.MonkeyPatch], Machine], world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each rule that is broken shows in some history, of a world that is sound otherwise."""
    assert search(world, worlds_max=WORLDS_MAX)[1] is None
    _, history = search(world, broken(monkeypatch), worlds_max=WORLDS_MAX)
    assert history is not None


@pytest.mark.long
@pytest.mark.parametrize("broken", [later_decisions_win, older_revisions_count])
def test_a_broken_race_is_found(
    broken: Callable[[pytest.MonkeyPatch], Machine], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rules that matter only where two act at once."""
    worlds = [
        LONG["the way back"],
        LONG["two at once, and an abort"],
    ]
    machine = broken(monkeypatch)
    assert any(_shows(world, machine) for world in worlds)


def _shows(world: World, machine: Machine) -> bool:
    """Return whether a history goes wrong; a journal that makes no sense any more shows it as well."""
    try:
        return search(world, machine, worlds_max=WORLDS_MAX)[1] is not None
    except (BugError, ValueError):
        return True
