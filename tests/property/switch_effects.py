"""What each step of a switch does in the small world, effect by effect, and what it finds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from replicator.core.copy.attaching.facts import Role
from replicator.core.offsets.own_place import OurBatches, OwnEnd, OwnEndSearch
from replicator.core.switch import running
from replicator.core.switch.machine import machine as switch
from replicator.core.switch.machine import recording as switch_recording
from replicator.core.switch.machine import results as got
from replicator.core.switch.machine import steps as do
from replicator.model.batch import CONTROL_BIT, MAGIC_V2, BatchHeader
from replicator.model.switch.journal import Journal
from replicator.model.switch.terms import (
    Cut,
    Decision,
    End,
    GroupsNote,
    LeftOutMirror,
    LeftOutReason,
    Scope,
    Verb,
)
from tests.property.switch_world import (
    MARK,
    NEEDED,
    PASSIVE,
    World,
    has_stranger,
    is_strangers,
    meant,
    put,
    sync_group,
)

OURS, THEIRS = 7, 8
"""Producer ids."""


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
