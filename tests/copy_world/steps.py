"""What events are made of: who is there, and how requests and answers get where they go."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from tests.copy_world.rules import Violation

if TYPE_CHECKING:
    from tests.copy_world.daemon import Daemon
    from tests.copy_world.world import World

Pick = Callable[[int], int]
"""Chooses a number below the given one: hypothesis in the state machine, a seeded generator elsewhere."""

CONTROL = ("source None", "source control", "source look", "target None", "target control", "target state")
FETCH = ("source fetch",)
PRODUCE = ("target produce",)
_ROUNDS_MAX = 400


def up(world: World) -> list[Daemon]:
    """Return the daemons that have begun with their partition."""
    return [daemon for daemon in world.daemons if daemon.is_up]


def chosen(world: World, pick: Pick) -> Daemon | None:
    """Choose one of them; None where there is none."""
    begun = up(world)
    return begun[pick(len(begun))] if begun else None


def begin(world: World) -> None:
    """Start a daemon, and let it find its way at once."""
    attend(world, world.start_daemon(), *CONTROL)


def attend(world: World, daemon: Daemon, *purposes: str, commits: bool = False) -> None:
    """Let brokers take, and a daemon hear, all that goes over some of its connections."""
    for _ in range(_ROUNDS_MAX):
        moved = False
        if commits:
            world.commit()
        for pipe in daemon.pipes_for(*purposes):
            if pipe.undelivered and world.deliver(pipe):
                moved = True
                if commits:
                    world.commit()
            moved |= world.hear(pipe)
        if not moved:
            return
    raise Violation(f"{daemon.name} never comes to rest: {[(p.purpose, p.unanswered) for p in daemon.pipes]}")


def on_its_way(world: World) -> bool:
    """Return whether anything of a copy is on its way, to the target or from the source."""
    pipes = [pipe for daemon in world.daemons for pipe in daemon.pipes_for(*FETCH, *PRODUCE)]
    return (
        bool(world.zombies)
        or any(pipe.has_answer or (pipe.kind in PRODUCE and pipe.unanswered) for pipe in pipes)
        or any(daemon.copy.sending.outstanding or daemon.copy.sending.queued_bytes for daemon in up(world))
    )
