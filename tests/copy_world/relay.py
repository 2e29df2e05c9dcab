"""A hand-over as it goes wrong most easily: one daemon copies on while another stands still, and takes its place."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.copy_world.log_events import append_fresh, append_odd, append_old, expire
from tests.copy_world.steps import CONTROL, FETCH, PRODUCE, attend, begin, up

if TYPE_CHECKING:
    from tests.copy_world.daemon import Daemon
    from tests.copy_world.steps import Pick
    from tests.copy_world.world import World

_APPENDS = (append_fresh, append_fresh, append_odd, append_old)
_APPENDS_MAX = 4
_MOMENTS_MAX = 12
MOMENT_MS = 500
_LONG_MS = 5_000


def work_on(world: World, daemon: Daemon, moment_ms: int, *purposes: str) -> None:
    """Let a daemon do all that it can over some of its connections, and some time pass."""
    if daemon.is_up:
        daemon.unpause()
        daemon.step_claim()
    world.settle()
    attend(world, daemon, *CONTROL, *purposes, commits=True)
    world.advance(moment_ms)


def relay(world: World, pick: Pick) -> None:
    """Let one daemon prove its place and read nothing; another copies on, and hands the shard over to it."""
    if len(world.daemons) < 2:
        begin(world)
    both = up(world)
    if len(both) < 2:
        return
    holder = next((daemon for daemon in both if daemon.claim.effective_since() is not None), both[0])
    late = next(daemon for daemon in both if daemon is not holder)
    work_on(world, late, MOMENT_MS)
    _copy_on(world, pick, holder, late)
    if pick(4):
        holder.hand_over()
        for _ in range(3):
            work_on(world, holder, MOMENT_MS)
    if pick(2):
        expire(world, pick)
    for _ in range(1 + pick(3)):
        if late.is_up:
            work_on(world, late, MOMENT_MS, *(FETCH + PRODUCE if pick(2) else ()))


def _copy_on(world: World, pick: Pick, holder: Daemon, late: Daemon) -> None:
    moment_ms = _LONG_MS if pick(2) else MOMENT_MS
    for _ in range(1 + pick(_APPENDS_MAX)):
        _APPENDS[pick(len(_APPENDS))](world, pick)
    for _ in range(1 + pick(_MOMENTS_MAX)):
        work_on(world, holder, moment_ms, *FETCH, *PRODUCE)
        if pick(2):
            attend(world, late, *CONTROL)
