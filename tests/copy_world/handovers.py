"""What makes a shard's next daemon wait: requests of the one before that arrive late, and daemons that overlap."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.copy_world.moving import MovingDaemon
from tests.copy_world.rules import Violation
from tests.copy_world.steps import CONTROL, FETCH, PRODUCE, attend, begin, up
from tests.copy_world.target_log import EXPIRY_MS

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.copy_world.daemon import Daemon
    from tests.copy_world.network import Pipe
    from tests.copy_world.steps import Pick
    from tests.copy_world.world import World

_MOMENT_MS = 500
_SETTLES_MOMENTS = 60
_SENDS_MOMENTS = 16
_GOES_ON_MOMENTS = 9
_FENDS_MOMENTS = 30
_DAEMONS = 3
_STATE = frozenset(("target state",))


def _moment(world: World, *, without: tuple[Daemon, tuple[str, ...]] | None = None, milliseconds: int) -> None:
    """Let every daemon do all that it can, but for one over some of its connections, and some time pass."""
    for daemon in list(world.daemons):
        if daemon.is_up:
            daemon.unpause()
            daemon.step_claim()
        world.settle()
        kept = without[1] if without is not None and daemon is without[0] else ()
        purposes = [each for each in (*CONTROL, *FETCH, *PRODUCE) if each not in kept]
        attend(world, daemon, *purposes, commits=True)
    world.advance(milliseconds)


def _holder(world: World) -> Daemon | None:
    """Return the daemon whose claim is effective, once one is, with another one beside it."""
    if len(world.daemons) < 2:
        begin(world)
    for _ in range(_SETTLES_MOMENTS):
        for daemon in up(world):
            if daemon.works and daemon.copy.is_copying() and daemon.claim.effective_since() is not None:
                return daemon
        _moment(world, milliseconds=_MOMENT_MS)
    return None


def _append(world: World, pick: Pick) -> None:
    """Append what only the holder of the claim may copy: old record times, or an offset without a record."""
    if pick(3):
        world.source.append(1 + pick(2), world.now_ms - 2 * EXPIRY_MS)
    else:
        world.source.append(1, world.now_ms, "control")


def _sent(world: World, daemon: Daemon) -> Pipe | None:
    """Go on until something of a daemon is on its way that changes the target; return on which connection."""
    for _ in range(_SENDS_MOMENTS):
        _moment(world, without=(daemon, PRODUCE), milliseconds=_MOMENT_MS // 5)
        found = [pipe for pipe in daemon.pipes_for(*PRODUCE) if pipe.undelivered]
        if found:
            return found[0]
        if not daemon.is_up:
            return None
    return None


def _arrives(world: World, lost: Pipe, pick: Pick) -> None:
    """Let what was lost arrive, after others went on, and after the target forgot what it may forget."""
    for _ in range(1 + pick(_GOES_ON_MOMENTS)):
        _moment(world, milliseconds=_MOMENT_MS)
    if pick(4):
        world.target.expire(world.now_ms)
    while lost.undelivered and world.deliver(lost):
        world.commit()
    for _ in range(2):
        _moment(world, milliseconds=_MOMENT_MS)


def leave_in_doubt(world: World, pick: Pick) -> None:
    """Let the holder of the claim lose a request on its way, and hand the shard over; the request arrives late."""
    holder = _holder(world)
    if holder is None:
        return
    _append(world, pick)
    lost = _sent(world, holder)
    if lost is None:
        return
    if pick(4):
        lost.lose()
        world.settle()
    holder.hand_over()
    _arrives(world, lost, pick)


def succeed_in_doubt(world: World, pick: Pick) -> None:
    """Let the holder of the claim lose a request on its way, and its partition begin anew; the request arrives late."""
    holder = _holder(world)
    if holder is None:
        return
    _append(world, pick)
    lost = _sent(world, holder)
    if lost is None:
        return
    lost.lose()
    world.settle()
    if pick(2):
        _moment(world, without=(holder, PRODUCE), milliseconds=_MOMENT_MS)
    if holder.is_up:
        holder.succeed()
        world.settle()
    _arrives(world, lost, pick)


def _begun_beside(world: World, holder: Daemon) -> Daemon | None:
    """Go on until another daemon copies beside the holder of the claim."""
    for _ in range(_SENDS_MOMENTS):
        _moment(world, milliseconds=_MOMENT_MS // 2)
        others = [daemon for daemon in up(world) if daemon is not holder and daemon.copy.is_copying()]
        if others or not holder.is_up:
            return others[0] if others and holder.is_up else None
    return None


def _go_on_with_old_records(world: World, pick: Pick, lost: Pipe, sender: Daemon) -> None:
    """Let everybody copy old records but the sender of what is on its way, which arrives behind them."""
    world.source.append(1, world.now_ms - 2 * EXPIRY_MS)
    for _ in range(1 + pick(4)):
        _moment(world, without=(sender, PRODUCE), milliseconds=_MOMENT_MS // 5)
    world.target.expire(world.now_ms)
    while lost.undelivered and world.deliver(lost):
        world.commit()
    _moment(world, milliseconds=_MOMENT_MS)


def end_guard_beside(world: World, pick: Pick) -> None:
    """Let a daemon begin beside the holder of the claim, prove its place and send; the holder goes on with old records.

    The holder was asked to leave, and reads nothing of the state topic: it does not see that the other has begun.
    """
    holder = _holder(world)
    if not isinstance(holder, MovingDaemon):
        return
    holder.stalled = _STATE
    holder.hand_over()
    other = _begun_beside(world, holder)
    if other is None:
        return
    world.source.append(1, world.now_ms)
    lost = _sent(world, other)
    if lost is not None:
        _go_on_with_old_records(world, pick, lost, other)


def fend_at_once(world: World, pick: Pick) -> None:
    """Let no coordinator answer, the daemon that works be gone, and two others take the shard at the same moment.

    Raises:
        Violation: Both still work on it after they had the time to read of each other.
    """
    works = [daemon for daemon in world.daemons if isinstance(daemon, MovingDaemon) and daemon.works]
    if len(works) != 1:
        return
    while len(world.daemons) < _DAEMONS:
        begin(world)
    for daemon in world.daemons:
        if isinstance(daemon, MovingDaemon):
            daemon.wire.loses_requests, daemon.stalled = True, frozenset()
    world.kill_daemon(works[0])
    for _ in range(_FENDS_MOMENTS):
        _moment(world, milliseconds=(1_000, 2_000, 5_000)[pick(3)])
    working = [daemon.name for daemon in world.daemons if daemon.works]
    if len(working) > 1:
        raise Violation(f"{working} work on one shard")


HANDOVERS: dict[str, tuple[int, Callable[[World, Pick], None]]] = {
    "leave_in_doubt": (5, leave_in_doubt),
    "succeed_in_doubt": (5, succeed_in_doubt),
    "end_guard_beside": (5, end_guard_beside),
    "fend_at_once": (2, fend_at_once),
}
"""Events of such histories, each with its weight, beside the usual ones."""
