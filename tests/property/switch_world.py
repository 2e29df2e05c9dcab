"""A small world for the switch machine: two clusters, daemons that copy, applications, and executors that die.

A world is a value. Every event returns a new one, so that all histories of a small world can be tried. What daemons do
is one event, `copy`: whoever holds an epoch that a partition's broker still accepts may append the right next record,
however long ago it read that epoch. `check` tells what is wrong in a world, `check_end` what is wrong in its end.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from replicator.core.copy.attaching.facts import Role
from replicator.core.switch.machine.results import Result
from replicator.core.switch.machine.steps import Step
from replicator.model.switch.journal import Journal
from replicator.model.switch.terms import Close, Decision, Direction, LeftOutReason, Outcome, Scope, StepName, Verb

MARK = "M"
STRANGER = "?"
"""What a record of somebody else on the target begins with."""
NEEDED = frozenset({"deny-a", "deny-b"})
"""Locks that close the source together."""
TOPIC = "t"
PASSIVE = "passive"


class Violation(Exception):
    """A world that must not be."""


@dataclass(frozen=True, slots=True)
class Executor:
    """Whoever carries steps out. `todo` are the effects that are left of the step, `result` is what it will record."""

    on_source: bool = False
    revision: int = -1
    step: Step | None = None
    now_ms: int = 0
    decision: Decision | None = None
    standing: frozenset[str] = frozenset()
    source_seen: bool = False
    todo: tuple[int | str, ...] = ()
    result: Result | None = None

    @property
    def idle(self) -> bool:
        """Whether it has nothing in hand."""
        return self.step is None


@dataclass(frozen=True, slots=True)
class World:
    """All there is.

    Attributes:
        source: Log of each partition: records have names, markers are `MARK`. Partition 0 is read by a group whose work
            appends to partition 1.
        shown: The highest epoch each target partition has seen of our producer id.
        copied: Next source offset of each partition, as whoever copies reads it from both logs.
        role: Of the writer record.
        foreign: Locks on the source that were never ours.
        topics: Of each partition.
        gone: Partitions whose topic was deleted on the source.
        stays: Partitions whose topic was switched alone before: they go on being copied whatever becomes of the rest.
        stopped: The operator stopped the producers.
        strangers_left: How many records somebody else may still write to the target before it is open.
        commit: Of the group on the source: input offset, and the end of the outputs when it was committed.
        group: The same on the target.
    """

    journal: Journal
    copy: Journal | None = None
    source: tuple[tuple[str, ...], ...] = (("a0",), ())
    target: tuple[tuple[str, ...], ...] = ((), ())
    shown: tuple[int, ...] = (0, 0)
    copied: tuple[int, ...] = (0, 0)
    topics: tuple[str, ...] = (TOPIC, TOPIC)
    gone: frozenset[int] = frozenset()
    stays: frozenset[int] = frozenset()
    role: Role = Role.COPYING
    epoch: int = 0
    foreign: frozenset[str] = frozenset()
    source_locks: frozenset[str] = frozenset()
    target_locks: frozenset[str] = frozenset({PASSIVE})
    target_open: bool = False
    stopped: bool = False
    reverse: bool = False
    source_up: bool = True
    target_up: bool = True
    overdue: bool = False
    commit: tuple[int, int] = (0, 0)
    group: tuple[int, int] = (0, 0)
    writes_left: int = 1
    stay_writes_left: int = 0
    strangers_left: int = 0
    topics_left: int = 0
    orders_left: frozenset[str] = frozenset()
    crashes_left: int = 0
    executors: tuple[Executor, ...] = (Executor(),)

    @property
    def source_open(self) -> bool:
        """Whether applications can write to the source."""
        return not (self.source_locks >= NEEDED or self.stopped)


def records(log: tuple[str, ...]) -> tuple[str, ...]:
    """Return a log without its markers."""
    return tuple(cell for cell in log if cell != MARK)


def is_strangers(cell: str) -> bool:
    """Return whether somebody else wrote it to the target."""
    return cell.startswith(STRANGER)


def has_stranger(world: World) -> bool:
    """Return whether somebody else wrote to the target."""
    return any(is_strangers(cell) for log in world.target for cell in log)


def put(values: tuple, index: int, value: object) -> tuple:  # type: ignore[type-arg]
    """Return a tuple with one value changed."""
    return (*values[:index], value, *values[index + 1 :])


# -- what daemons and applications do ---------------------------------------------------------------------------------


def ambient(world: World) -> Iterator[tuple[str, World]]:
    """Yield all that may happen now without us."""
    for partition in range(len(world.source)):
        for epoch in sorted({0, world.epoch} if world.role is Role.COPYING and partition not in world.stays else {0}):
            after = copy(world, partition, epoch)
            if after is not None:
                yield f"copy {partition} at epoch {epoch}", after
    if world.source_open and world.writes_left:
        name = f"a{len(world.source[0])}"
        written = put(world.source, 0, (*world.source[0], name))
        yield "write", replace(world, source=written, writes_left=world.writes_left - 1)
    if world.stay_writes_left:
        for partition in sorted(world.stays):
            log = world.source[partition]
            written = put(world.source, partition, (*log, f"s{len(log)}"))
            yield (
                f"write {partition}",
                replace(world, source=written, stay_writes_left=world.stay_writes_left - 1),
            )
    if world.source_open and world.commit[0] < len(world.source[0]):
        yield "work", _work(world)
    if world.topics_left and world.role is Role.COPYING and world.source_up and world.target_up:
        yield "topic", _new_topic(world)
    if world.strangers_left and world.target_up and not world.target_open:
        name = f"{STRANGER}{len(world.target[0])}"
        written = put(world.target, 0, (*world.target[0], name))
        yield "a stranger writes", replace(world, target=written, strangers_left=world.strangers_left - 1)
    synced = sync_group(world)
    if synced is not None and world.role is Role.COPYING:
        yield "sync group", synced


def copy(world: World, partition: int, epoch: int) -> World | None:
    """Let a daemon that holds `epoch` append what comes next, if there is something and the broker accepts it."""
    offset = world.copied[partition]
    if partition in world.gone:
        return None
    if not (world.source_up and world.target_up) or offset >= len(world.source[partition]):
        return None
    if epoch < world.shown[partition]:
        return None
    cell, log = world.source[partition][offset], world.target[partition]
    if any(map(is_strangers, log)):
        return None  # the answer would tell of another offset, and it would stop
    copied = put(world.copied, partition, offset + 1)
    if cell == MARK and len(log) > offset:
        return replace(world, copied=copied)
    after = replace(world, target=put(world.target, partition, (*log, cell)), copied=copied)
    if partition in world.stays:
        return after
    if world.journal.did(StepName.VERIFY_FENCE) and world.role is not Role.COPYING:
        raise Violation("something was copied after the fence")
    return after


def _work(world: World) -> World:
    """Let the application read a record, write what came of it, and commit."""
    made = (*world.source[1], f"o{world.commit[0]}")
    return replace(world, source=put(world.source, 1, made), commit=(world.commit[0] + 1, len(made)))


def _new_topic(world: World) -> World:
    """Let a topic come that the flow selects, with a record: a lock on topics that were there does not cover it."""
    return replace(
        world,
        source=(*world.source, (f"n{len(world.source)}",)),
        target=(*world.target, ()),
        shown=(*world.shown, 0),
        copied=(*world.copied, 0),
        topics=(*world.topics, f"n{len(world.topics)}"),
        topics_left=world.topics_left - 1,
    )


def meant(world: World, scope: Scope) -> list[int]:
    """Return the partitions that a switch is about."""
    return [partition for partition, topic in enumerate(world.topics) if topic in scope]


def sync_group(world: World) -> World | None:
    """Carry the group over, no further than its outputs are: its own partition may still be behind."""
    if world.group == world.commit or not (world.source_up and world.target_up) or world.copied[1] < world.commit[1]:
        return None
    return replace(world, group=world.commit)


# -- what must hold ---------------------------------------------------------------------------------------------------


def check(world: World) -> None:
    """Look at a world in the middle of things.

    Raises:
        Violation: It must not be so.
    """
    journal = world.journal
    if not world.source_locks >= world.foreign:
        raise Violation("a lock of somebody else was removed")
    for partition, log in enumerate(world.target):
        held = tuple(cell for cell in records(log) if not is_strangers(cell))
        if held != records(world.source[partition])[: len(held)]:
            raise Violation("the target holds something else")
    if any(world.shown[partition] for partition in world.stays):
        raise Violation("a topic that goes on being copied was fenced")
    for one in journal.left_out:
        there = world.topics.index(one.topic) not in world.gone
        if one.why is LeftOutReason.SOURCE_GONE and there:
            raise Violation("a topic that is there was left out")
    if world.target_open:
        _check_open(world)
    if journal.outcome is Outcome.ABORTED and (
        world.role is not Role.COPYING or MARK in {c for t in world.target for c in t}
    ):
        raise Violation("an aborted switch left a fence behind")
    if world.role is Role.COPYING and world.epoch < max(world.shown) and journal.reached is not None:
        raise Violation("copying goes on at an epoch that is refused")
    if journal.outcome is Outcome.DONE and not world.target_open:
        raise Violation("done, and the target is closed")


def _check_open(world: World) -> None:
    journal = world.journal
    scope = meant(world, journal.scope)
    if not scope:
        raise Violation("nothing is left to be opened, and it was")
    if journal.fence_epoch is None or any(world.shown[partition] < journal.fence_epoch for partition in scope):
        raise Violation("the target is open, and a partition is not fenced")
    if world.role is not Role.PROMOTED:
        raise Violation("the target is open, and its writer record does not say so")
    if PASSIVE in world.target_locks and journal.did(StepName.OPEN_TARGET):
        raise Violation("the target was opened, and is locked")
    if not journal.did(StepName.RECORD_CUT):
        raise Violation("the target is open, and the cut was not recorded")
    for cut in journal.cuts:
        if cut.source != world.copied[cut.partition] or cut.target != cut.source:
            raise Violation("the cut is not our own place")
        behind = world.target[cut.partition][cut.target :]
        if cut.foreign != len(behind[: behind.index(MARK)]):
            raise Violation("what others wrote is not told")
    if world.group[0] > world.copied[0] or world.group[1] > world.copied[1]:
        raise Violation("a group is ahead of what it read or made")
    if journal.verb is not Verb.SWITCHOVER:
        return
    if world.source_open:
        raise Violation("both sides are open")
    left = set(meant(world, Scope(journal.topics))) - world.gone - world.stays
    held = [tuple(cell for cell in records(log) if not is_strangers(cell)) for log in world.target]
    if any(records(world.source[p]) != held[p] for p in left):
        raise Violation("something was lost at a switchover")
    if world.group != world.commit:
        raise Violation("a group is not where it was")


def check_end(world: World) -> None:
    """Look at a world in which nobody has anything left to do.

    Raises:
        Violation: It must not end so.
    """
    journal, copied = world.journal, world.copy
    if not journal.finished and world.target_up and (world.source_up or journal.verb is Verb.FAILOVER):
        raise Violation("a switch that does not end")
    back = copied is not None and copied.decision is Decision.BACK
    if back and world.source_up and (not world.source_open or world.source_locks != world.foreign):
        raise Violation("the way back was taken, and the source is closed")
    if journal.outcome in {Outcome.ABORTED, Outcome.FAILED_FORWARD} and not (journal.escalated or world.stopped):
        if world.source_locks != world.foreign:
            raise Violation("a lock was left behind")
        if not world.source_open or world.target_open or world.role is not Role.COPYING:
            raise Violation("undone, and copying does not go on")
    if journal.outcome is Outcome.DONE:
        if not world.source_locks <= world.foreign | frozenset(journal.locks) | frozenset(journal.inherited_locks):
            raise Violation("a lock stands that no journal knows")
        if journal.verb is Verb.SWITCHOVER and world.reverse != bool(journal.options.reverse_flow):
            raise Violation("the reverse flow was forgotten")
    if journal.direction is Direction.BACK and journal.finished:
        _check_same_offsets(world)


def _check_same_offsets(world: World) -> None:
    """Compare places, where no marker was appended twice: each executor that died in doubt may leave one too many."""
    for source, target in zip(world.source, world.target, strict=True):
        if max(source.count(MARK), target.count(MARK)) > 1:
            continue
        held = [(offset, cell) for offset, cell in enumerate(target) if cell != MARK]
        if any(offset >= len(source) or source[offset] != cell for offset, cell in held):
            raise Violation("offsets differ after the way back")


def stated(world: World) -> World:
    """Return the world of an operator who stops the producers instead of having them locked out."""
    options = replace(world.journal.options, close=Close.STATED)
    return replace(world, stopped=True, journal=replace(world.journal, options=options))
