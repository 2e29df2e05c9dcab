"""What happens only in worlds whose shard moves by leases: to the coordinator, to the way there, and in quiet times."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.copy_world.events import CONTROL, EVENTS, attend
from tests.copy_world.moving import MovingDaemon

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.copy_world.events import Pick
    from tests.copy_world.world import World

_QUIET_SECONDS_MAX = 12
_SECOND_MS = 1_000


def _moving(world: World) -> list[MovingDaemon]:
    return [daemon for daemon in world.daemons if isinstance(daemon, MovingDaemon)]


def quiet(world: World, pick: Pick) -> None:
    """Let some seconds pass in which leases, signs of life and the claim are renewed as they should be."""
    for _ in range(1 + pick(_QUIET_SECONDS_MAX)):
        quiet_second(world)


def quiet_second(world: World) -> None:
    """Let one such second pass."""
    world.advance(_SECOND_MS)
    for daemon in list(world.daemons):
        attend(world, daemon, *CONTROL)


def cut(world: World, pick: Pick) -> None:
    """Let a daemon not reach the coordinator any more, or reach it and hear nothing, or all be well again."""
    daemons = _moving(world)
    if daemons:
        wire = daemons[pick(len(daemons))].wire
        wire.is_cut, wire.loses_answers = ((False, False), (False, False), (True, False), (False, True))[pick(4)]


def lose_coordinator(world: World, pick: Pick) -> None:
    """Let nobody reach the coordinator, or all."""
    is_cut = bool(pick(2))
    for daemon in _moving(world):
        daemon.wire.is_cut = is_cut


def restart_coordinator(world: World, pick: Pick) -> None:
    """Restart the coordinator; its store may have been copied before, and may be the copy now."""
    (world.leases.restart, world.leases.copy, world.leases.restore)[pick(3)]()
    world.settle()


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
        daemon.wire.is_cut = daemon.wire.loses_answers = False
        if daemon.is_ending:
            world.kill_daemon(daemon)


MOVING: dict[str, tuple[int, Callable[[World, Pick], None]]] = {
    "quiet": (36, quiet),
    "cut": (3, cut),
    "lose_coordinator": (1, lose_coordinator),
    "restart_coordinator": (2, restart_coordinator),
    "leave": (4, leave),
    "kill_any": (2, kill_any),
    "hand_over": (2, EVENTS["hand_over"][1]),
    "start": (6, EVENTS["start"][1]),
}
"""Events of such worlds, each with its weight, beside the usual ones."""
