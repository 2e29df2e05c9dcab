"""What happens only in worlds whose shard moves by leases: to the coordinator, to the way there, and in quiet times."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.copy_world.events import EVENTS
from tests.copy_world.moving import MovingDaemon
from tests.copy_world.steps import CONTROL, FETCH, PRODUCE, attend, begin

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.copy_world.steps import Pick
    from tests.copy_world.world import World

_QUIET_SECONDS_MAX = 12
_OVERTAKES_SECONDS = 14
_SECOND_MS = 1_000
_STATE = frozenset(("target state",))
_STALLED = (frozenset[str](), frozenset[str](), _STATE, _STATE | {"target control", "target None"})


def _moving(world: World) -> list[MovingDaemon]:
    return [daemon for daemon in world.daemons if isinstance(daemon, MovingDaemon)]


def quiet(world: World, pick: Pick) -> None:
    """Let some seconds pass in which leases, signs of life and the claim are renewed as they should be."""
    copies = bool(pick(2))
    for _ in range(1 + pick(_QUIET_SECONDS_MAX)):
        quiet_second(world, copies=copies)


def quiet_second(world: World, *, copies: bool = False) -> None:
    """Let one such second pass, in which records are copied as well, or not."""
    world.advance(_SECOND_MS)
    for daemon in list(world.daemons):
        attend(world, daemon, *CONTROL, *(FETCH + PRODUCE if copies else ()), commits=copies)


def cut(world: World, pick: Pick) -> None:
    """Let a daemon not reach the coordinator any more, or reach it and hear nothing, or all be well again."""
    daemons = _moving(world)
    if daemons:
        wire = daemons[pick(len(daemons))].wire
        wire.loses_requests, wire.loses_answers = ((False, False), (False, False), (True, False), (False, True))[
            pick(4)
        ]


def lose_coordinator(world: World, pick: Pick) -> None:
    """Let nobody reach the coordinator, or all."""
    loses_requests = bool(pick(2))
    for daemon in _moving(world):
        daemon.wire.loses_requests = loses_requests


def restart_coordinator(world: World, pick: Pick) -> None:
    """Restart the coordinator; its store may have been copied before, and may be the copy now."""
    (world.leases.restart, world.leases.copy, world.leases.restore)[pick(3)]()
    world.settle()


def stall(world: World, pick: Pick) -> None:
    """Let a daemon hear nothing of the state topic, or of anything but records, or hear all again.

    It copies on meanwhile, while others begin where its signs of life end.
    """
    daemons = _moving(world)
    if daemons:
        daemons[pick(len(daemons))].stalled = _STALLED[pick(len(_STALLED))]


def overtake(world: World, pick: Pick) -> None:
    """Let a daemon be out of reach of all others, and copy on, until another one works in its place."""
    works = [daemon for daemon in _moving(world) if daemon.works and daemon.is_up]
    if not works:
        return
    daemon = works[pick(len(works))]
    daemon.wire.loses_requests, daemon.stalled = True, _STALLED[2 + (pick(4) == 1)]
    if len(world.daemons) == 1:
        begin(world)
    for _ in range(_OVERTAKES_SECONDS):
        quiet_second(world)
        if pick(3):
            world.source.append(1, world.now_ms)
        attend(world, daemon, *FETCH, *PRODUCE, commits=bool(pick(4)))


def leave(world: World, pick: Pick) -> None:
    """Let a daemon that was asked to end do so."""
    gone = [daemon for daemon in _moving(world) if daemon.has_left]
    if gone:
        world.kill_daemon(gone[pick(len(gone))])


def kill_any(world: World, pick: Pick) -> None:
    """Kill a daemon, one that only stands by as well."""
    if world.daemons:
        world.kill_daemon(world.daemons[pick(len(world.daemons))])


def mend(world: World) -> None:
    """Let all daemons reach the coordinator again, and those that were asked to end be gone."""
    for daemon in _moving(world):
        daemon.wire.loses_requests = daemon.wire.loses_answers = False
        daemon.stalled = frozenset()
        if daemon.is_ending:
            world.kill_daemon(daemon)


MOVING: dict[str, tuple[int, Callable[[World, Pick], None]]] = {
    "quiet": (20, quiet),
    "stall": (4, stall),
    "overtake": (5, overtake),
    "cut": (3, cut),
    "lose_coordinator": (1, lose_coordinator),
    "restart_coordinator": (2, restart_coordinator),
    "leave": (4, leave),
    "kill_any": (1, kill_any),
    "kill": (0, EVENTS["kill"][1]),
    "hand_over": (3, EVENTS["hand_over"][1]),
    "start": (8, EVENTS["start"][1]),
}
"""Events of such worlds, each with its weight, beside the usual ones."""
