"""Executors of the switch machine in the small world: each effect is an event of its own, and so is each record."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from replicator.core.copy.attaching.facts import Role
from replicator.core.switch import orders as switch_orders
from replicator.core.switch.machine import machine as switch
from replicator.core.switch.machine import results as got
from replicator.core.switch.machine import steps as do
from replicator.errors import Conflict, PreflightFailed
from replicator.model.switch.journal import Journal, Switches
from replicator.model.switch.terms import (
    LeftOutMirror,
    Options,
    SwitchOrder,
    Verb,
)
from tests.property.switch_effects import Machine, effect, effects, on_state, outcome
from tests.property.switch_world import (
    Executor,
    Violation,
    World,
    ambient,
    check,
    copy,
    has_stranger,
    put,
)

LATE_MS = Options().timeout_ms


def started(
    verb: Verb, *, topics: tuple[str, ...] = (), left_out: tuple[LeftOutMirror, ...] = (), **options: object
) -> Journal:
    """Return the journal of a switch that was just ordered."""
    order = SwitchOrder("s1", verb, topics=topics, left_out=left_out, options=Options(**options))  # type: ignore[arg-type]
    journal = switch_orders.begin(Switches(), order, promoted=verb is Verb.FAILBACK, now_ms=0).switches.current
    assert journal is not None
    return journal


def _facts(executor: Executor) -> switch.SwitchFacts:
    return switch.SwitchFacts(executor.now_ms, executor.decision, executor.standing, executor.source_seen)


def _journal(world: World, executor: Executor) -> Journal | None:
    """Return the journal it works on, None where its cluster does not answer."""
    if executor.on_source:
        return world.copy if world.source_up else None
    return world.journal if world.target_up else None


def _with_journal(world: World, executor: Executor, journal: Journal) -> World:
    return replace(world, copy=journal) if executor.on_source else replace(world, journal=journal)


def _set(world: World, index: int, executor: Executor) -> World:
    return replace(world, executors=put(world.executors, index, executor))


def moves(world: World, index: int, machine: Machine) -> Iterator[tuple[str, World]]:
    """Yield what one executor may do now. A world in which it dies is one of them, while deaths are left."""
    executor = world.executors[index]
    idle = Executor(executor.on_source)
    if executor.idle:
        after = _look(world, index, machine)
        if after is not None:
            yield f"{index} looks", after
        return
    step = executor.step
    if world.crashes_left:
        yield f"{index} dies", _set(replace(world, crashes_left=world.crashes_left - 1), index, idle)
    if executor.todo:
        done = effect(world, step, executor.todo[0])
        if done is not None:
            rest = executor.todo[1:]
            result = None if rest else outcome(done, step, machine)
            yield (
                f"{index} {type(step).__name__} {executor.todo[0]}",
                _set(done, index, replace(executor, todo=rest, result=result)),
            )
        else:
            yield f"{index} cannot go on", _set(world, index, idle)
        return
    yield f"{index} records {type(step).__name__}", _record(_set(world, index, idle), executor, machine)


def _look(world: World, index: int, machine: Machine) -> World | None:
    """Read the journal and take the next step in hand; None where there is none, or nothing would come of it."""
    executor = world.executors[index]
    journal = _journal(world, executor)
    if journal is None:
        return None
    seen = world.source_up and world.copy is not None and world.copy.id == journal.id
    facts = switch.SwitchFacts(
        LATE_MS if world.overdue else 0,
        world.copy.decision if seen and world.copy is not None else None,
        world.source_locks if world.source_up else frozenset(),
        world.source_up,
    )
    step = machine.next_step(journal, facts)
    if isinstance(step, do.Nothing):
        return None
    held = Executor(
        executor.on_source,
        journal.revision,
        step,
        facts.now_ms,
        facts.decision,
        facts.standing_locks,
        facts.source_seen,
    )
    if do.NAMES[type(step)] in do.ON_STATE:
        done = on_state(world, step)
        return None if done is None else _record(done[0], replace(held, result=done[1]), machine)
    todo = effects(world, step)
    if todo is None:
        return None
    result = None if todo else outcome(world, step, machine)
    if not todo and (result is None or isinstance(result, got.NotYet)):
        return None
    return _set(world, index, replace(held, todo=todo, result=result))


def _record(world: World, executor: Executor, machine: Machine) -> World:
    journal = _journal(world, executor)
    if journal is None or executor.result is None:
        return world
    try:
        after = machine.applied(
            journal, executor.step, executor.result, revision=executor.revision, facts=_facts(executor)
        )
    except (Conflict, PreflightFailed):
        return world
    return _with_journal(world, executor, after)


def orders(world: World, machine: Machine) -> Iterator[tuple[str, World]]:
    """Yield what operators and misfortune may still do."""
    for order in sorted(world.orders_left):
        after = _order(world, order, machine)
        if after is not None and after != world:
            yield order, replace(after, orders_left=world.orders_left - {order})


def _order(world: World, order: str, machine: Machine) -> World | None:
    try:
        match order:
            case "abort" if world.target_up:
                return replace(world, journal=machine.aborted(world.journal, "", 0))
            case "way back" if world.source_up and world.copy is not None:
                return replace(world, copy=machine.way_back(world.copy, ""))
            case "failover" if world.target_up:
                again = SwitchOrder("s2", Verb.FAILOVER)
                begun = switch_orders.begin(
                    Switches(world.journal), again, promoted=world.role is Role.PROMOTED, now_ms=0
                )
                return replace(world, journal=begun.switches.current or world.journal)
            case "time passes":
                return replace(world, overdue=True)
            case "topic vanishes":
                return replace(world, gone=frozenset({len(world.topics) - 1}))
            case "wrong failback" if world.target_up:
                return _failed_back(world)
            case "source dies":
                return replace(world, source_up=False)
            case "source returns" if not world.source_up:
                return replace(world, source_up=True)
            case "target dies":
                return replace(world, target_up=False)
            case "target returns" if not world.target_up:
                return replace(world, target_up=True)
    except (Conflict, PreflightFailed):
        return None
    return None


def _failed_back(world: World) -> World:
    """Let the other flow of the pair be failed back, which was never begun and stands by.

    Its failback restores nothing, and lets the flow of this world copy again: to the side that may be open.
    """
    order = SwitchOrder("s3", Verb.FAILBACK, flow="r", options=Options(reverse_flow="f"))
    switch_orders.begin(Switches(), order, promoted=True, now_ms=0)
    return replace(world, role=Role.COPYING)


def finish(world: World, machine: Machine) -> World:
    """Let one healthy executor per side go on, beside those that are frozen, until nobody has anything left to do.

    Raises:
        Violation: On the way, or because there is no end to it.
    """
    world = replace(world, executors=(Executor(), Executor(on_source=True)), crashes_left=0)
    for _ in range(200):
        before = world
        for index in range(2):
            following = next(moves(world, index, machine), None)
            if following is not None:
                world = following[1]
                check(world)
        if world == before:
            drained = _drain(world)
            if drained is None and has_stranger(world) and not (world.overdue or world.journal.finished):
                drained = replace(world, overdue=True)  # what is behind a stranger's record is never copied
            if drained is None:
                return world
            world = drained
    raise Violation("a switch goes round in circles")


def _drain(world: World) -> World | None:
    for partition in range(len(world.source)):
        copies = world.role is Role.COPYING or partition in world.stays
        after = copy(world, partition, world.epoch) if copies else None
        if after is not None:
            return after
    return None


def events(world: World, machine: Machine) -> Iterator[tuple[str, World]]:
    """Yield every world that may follow."""
    yield from ambient(world)
    yield from orders(world, machine)
    for index in range(len(world.executors)):
        yield from moves(world, index, machine)
