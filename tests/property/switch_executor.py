"""Executors of the switch machine in the small world: each effect is an event of its own, and so is each record."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from replicator.core.copy.attaching.facts import Role
from replicator.core.offsets.own_place import OurBatches, OwnEnd, OwnEndSearch
from replicator.core.switch import orders as switch_orders
from replicator.core.switch import running
from replicator.core.switch.machine import machine as switch
from replicator.core.switch.machine import recording as switch_recording
from replicator.core.switch.machine import results as got
from replicator.core.switch.machine import steps as do
from replicator.errors import Conflict, PreflightFailed
from replicator.model.batch import CONTROL_BIT, MAGIC_V2, BatchHeader
from replicator.model.switch.journal import Journal, Switches
from replicator.model.switch.terms import (
    Cut,
    Decision,
    End,
    GroupsNote,
    LeftOutMirror,
    LeftOutReason,
    Options,
    Outcome,
    Scope,
    StepName,
    SwitchOrder,
    Verb,
)
from tests.property.switch_world import (
    MARK,
    NEEDED,
    PASSIVE,
    Executor,
    Violation,
    World,
    ambient,
    check,
    copy,
    has_stranger,
    is_strangers,
    meant,
    put,
    sync_group,
)

OURS, THEIRS = 7, 8
"""Producer ids."""
LATE_MS = Options().timeout_ms


@dataclass(frozen=True)
class Machine:
    """What is under test, so that parts of it can be broken."""

    next_step: Callable[[Journal, switch.SwitchFacts], do.Step] = switch.next_step
    applied: Callable[..., Journal] = switch_recording.applied
    aborted: Callable[[Journal, str, int], Journal] = running.aborted
    way_back: Callable[[Journal, str], Journal] = running.way_back
    decided: Callable[[Journal | None, Journal, Decision], Journal] = running.decided
    search: type[OwnEndSearch] = OwnEndSearch


SOUND = Machine()


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


# -- effects ----------------------------------------------------------------------------------------------------------


def effects(world: World, step: do.Step) -> tuple[int | str, ...] | None:
    """Return the effects a step still needs, as they look now; None where a cluster it needs does not answer."""
    needs_source = isinstance(
        step,
        do.PlanLocks
        | do.PlaceLocks
        | do.ProveQuiescence
        | do.Drain
        | do.SyncGroups
        | do.OfferWayBack
        | do.GiveUpWayBack
        | do.WithdrawWayBack
        | do.ReopenSource
        | do.MarkSource
        | do.StartReverse
        | do.PrepareReverse,
    )
    needs_target = isinstance(
        step, do.Drain | do.SyncGroups | do.Fence | do.VerifyFence | do.OpenTarget | do.ClampGroups
    )
    if (needs_source and not world.source_up) or (needs_target and not world.target_up):
        return None
    match step:
        case do.PlaceLocks(locks):
            return tuple(sorted(set(locks) - world.source_locks))
        case do.ReopenSource(locks):
            return tuple(sorted(set(locks) & world.source_locks))
        case do.Fence(epoch, scope):
            return tuple(p for p in meant(world, scope) if world.shown[p] < epoch)
        case do.OpenTarget():
            return ("unlock", "open")
        case do.MarkSource(ends):
            return tuple(
                end.partition
                for end in ends
                if end.partition not in world.gone and len(world.source[end.partition]) == end.source
            )
        case do.SyncGroups():
            return () if _moved(world, step.ends) is not None else ("groups",)
        case do.ClampGroups():
            return ("clamp",)
        case do.OfferWayBack():
            return (Decision.UNDECIDED.value,)
        case do.GiveUpWayBack():
            return (Decision.FORWARD.value,)
        case do.WithdrawWayBack():
            return (Decision.WITHDRAWN.value,)
        case do.StartReverse():
            return ("reverse",)
    return ()


def effect(world: World, step: do.Step | None, one: int | str) -> World | None:
    """Carry out one effect; None where its cluster does not answer."""
    on_target = isinstance(step, do.Fence | do.OpenTarget | do.ClampGroups)
    if not (world.target_up if on_target else world.source_up):
        return None
    match step, one:
        case do.PlaceLocks(), str():
            return replace(world, source_locks=world.source_locks | {one})
        case do.ReopenSource(), str():
            return replace(world, source_locks=world.source_locks - {one})
        case do.Fence(epoch, _), int():
            if world.shown[one] > epoch:
                return world
            marked = put(world.target, one, (*world.target[one], MARK))
            return replace(world, target=marked, shown=put(world.shown, one, epoch))
        case do.MarkSource(), int():
            return replace(world, source=put(world.source, one, (*world.source[one], MARK)))
        case do.OpenTarget(), "unlock":
            return replace(world, target_locks=world.target_locks - {PASSIVE})
        case do.OpenTarget(), _:
            return replace(world, target_open=True)
        case do.SyncGroups(), _:
            return sync_group(world) or world
        case do.ClampGroups(cuts), _:
            limit = next(cut.source for cut in cuts if cut.partition == 0)
            return replace(world, group=(min(world.group[0], limit), world.group[1]))
        case do.StartReverse(), _:
            return replace(world, reverse=True)
        case ((do.OfferWayBack() | do.GiveUpWayBack() | do.WithdrawWayBack()), _):
            return replace(world, copy=SOUND.decided(world.copy, world.journal, Decision(str(one))))
    raise AssertionError(step)


def _moved(world: World, ends: tuple[End, ...]) -> got.SourceMoved | None:
    """Return what is not as it was proven to be: a topic is gone, was written to, or has come."""
    gone = sorted({world.topics[end.partition] for end in ends if end.partition in world.gone})
    if gone:
        return got.SourceMoved(
            "a topic is gone", tuple(LeftOutMirror(topic, LeftOutReason.SOURCE_GONE) for topic in gone)
        )
    proven = {end.partition: end.source for end in ends}
    now = {partition: len(world.source[partition]) for partition in meant(world, world.journal.scope)}
    return None if proven == now else got.SourceMoved("it was written to")


def _quiescent(world: World, scope: Scope) -> got.Result | None:
    ends = tuple(End(world.topics[p], p, len(world.source[p])) for p in meant(world, scope))
    gone = {end.topic for end in ends if end.partition in world.gone}
    if gone:
        return got.SourceMoved(
            "a topic is gone", tuple(LeftOutMirror(topic, LeftOutReason.SOURCE_GONE) for topic in sorted(gone))
        )
    return None if world.source_open else got.Quiescent(ends)


def outcome(world: World, step: do.Step | None, machine: Machine = SOUND) -> got.Result | None:
    """Return what a step found, as it looks now; None while it has to wait."""
    match step:
        case do.Preflight() if has_stranger(world) and world.journal.verb is Verb.SWITCHOVER:
            return got.Refused("somebody else writes to the target")
        case do.PlanLocks(_, ours):
            return got.LocksPlanned(tuple(NEEDED - (world.source_locks - set(ours))))
        case do.ProveQuiescence(scope):
            return _quiescent(world, scope)
        case do.Drain(ends):
            if (moved := _moved(world, ends)) is not None:
                return moved
            if any(world.copied[end.partition] < end.source for end in ends):
                return None
            return got.Drained(tuple(replace(end, source=world.copied[end.partition]) for end in ends))
        case do.SyncGroups(ends):
            if (moved := _moved(world, ends)) is not None:
                return moved
            exact = world.group == world.commit
            return got.GroupsSynced(GroupsNote(int(exact), () if exact else ("g",), int(not exact)))
        case do.ClampGroups():
            return got.GroupsSynced(GroupsNote())
        case do.VerifyFence(epoch, scope):
            if any(world.shown[p] < epoch for p in meant(world, scope)):
                return got.NotYet("not every partition shows it")
            return got.FenceVerified(tuple(_cut(world, p, epoch, machine) for p in meant(world, scope)))
        case do.OfferWayBack() | do.GiveUpWayBack() | do.WithdrawWayBack():
            assert world.copy is not None
            assert world.copy.decision is not None
            return got.Decided(world.copy.decision)
        case do.MeasureTails(cuts):
            return got.TailsFound(tuple(replace(cut, tail_end=len(world.source[cut.partition])) for cut in cuts))
    return got.Ok()


def _cut(world: World, partition: int, epoch: int, machine: Machine) -> Cut:
    """Return the cut as it is found in the log alone: offsets are the same on both sides."""
    seen = len(world.source[partition]) if world.source_up and partition not in world.gone else None
    search = machine.search(0, OurBatches(OURS, fence_epoch=epoch))
    for offset, cell in enumerate(world.target[partition]):
        # Where the source has a marker, too, it is of an earlier fence, which was turned back.
        fences = cell == MARK and world.source[partition][offset : offset + 1] != (MARK,)
        search.take(_header(offset, cell, epoch if fences else 0))
    own: OwnEnd = search.result()
    topic = world.topics[partition]
    return Cut(topic, partition, own.end, own.end, observed_end=seen, observed_ms=0, foreign=own.foreign)


def _header(offset: int, cell: str, epoch: int) -> BatchHeader:
    producer_id = THEIRS if is_strangers(cell) else OURS
    attributes = CONTROL_BIT if cell == MARK else 0
    return BatchHeader(offset, 0, 0, MAGIC_V2, 0, attributes, 0, 0, 0, producer_id, epoch, 0, 1, 0)


def on_state(world: World, step: do.Step) -> tuple[World, got.Result] | None:
    """Do what is one transaction with the journal's record."""
    match step:
        case do.BeginFence(scope, epoch, ends):
            if ends and {end.partition for end in ends} != set(meant(world, scope)):
                return world, got.SourceMoved("a topic has come")
            chosen = epoch if epoch is not None else max(world.epoch, *world.shown) + 1
            return replace(world, role=Role.FENCING), got.FenceBegun(chosen)
        case do.Promote():
            return replace(world, role=Role.PROMOTED), got.Ok()
        case do.ResumeCopying(epoch):
            return replace(world, role=Role.COPYING, epoch=epoch), got.Ok()
    return world, got.Ok()


# -- orders, and the end ----------------------------------------------------------------------------------------------


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


__all__ = ["SOUND", "Machine", "Outcome", "StepName", "events", "finish", "started"]
