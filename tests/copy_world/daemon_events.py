"""What daemons do, what happens to them and to the network, and time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.copy_world.source_log import HOUR_MS
from tests.copy_world.steps import CONTROL, FETCH, PRODUCE, attend, begin, chosen

if TYPE_CHECKING:
    from tests.copy_world.network import Pipe
    from tests.copy_world.steps import Pick
    from tests.copy_world.world import World

DAEMONS_MAX = 2
STEPS_MS = (0, 500, 5_000, 11_000, 21_000, 31_000, 61_000, 600_000, HOUR_MS, 25 * HOUR_MS)
_ATTACH_STEPS_MAX = 8
_MOMENTS = 2
_MOMENT_MS = 60


def start(world: World, _pick: Pick) -> None:
    """Start a daemon beside the other."""
    if len(world.daemons) < DAEMONS_MAX + world.moving:  # one may be about to leave
        begin(world)


def kill(world: World, pick: Pick) -> None:
    """Kill a daemon."""
    daemon = chosen(world, pick)
    if daemon is not None:
        world.kill_daemon(daemon)


def _one(world: World, pick: Pick, *purposes: str) -> None:
    """Let one request be taken, or one answer arrive."""
    daemon = world.daemons[pick(len(world.daemons))] if world.daemons else None
    pipes = [pipe for pipe in daemon.pipes_for(*purposes) if pipe.unanswered] if daemon is not None else []
    if pipes:
        pipe = pipes[pick(len(pipes))]
        if not world.hear(pipe):
            world.deliver(pipe)


def attach(world: World, pick: Pick) -> None:
    """Let an attach, a claim or a fill go some steps on."""
    for _ in range(1 + pick(_ATTACH_STEPS_MAX)):
        _one(world, pick, *CONTROL)


def carry(world: World, pick: Pick) -> None:
    """Let anything that is on its way arrive."""
    _one(world, pick)


def fetch(world: World, pick: Pick) -> None:
    """Let the source take what a daemon asks."""
    daemon = chosen(world, pick)
    for pipe in daemon.pipes_for(*FETCH) if daemon is not None else ():
        world.deliver(pipe)


def take(world: World, pick: Pick) -> None:
    """Let a daemon hear what the source gives."""
    daemon = chosen(world, pick)
    for pipe in daemon.pipes_for(*FETCH) if daemon is not None else ():
        world.hear(pipe)


def hear(world: World, pick: Pick) -> None:
    """Let an answer of the target arrive."""
    daemon = chosen(world, pick)
    for pipe in daemon.pipes_for(*PRODUCE) if daemon is not None else ():
        world.hear(pipe)


def lose_connection(world: World, pick: Pick) -> None:
    """Lose a connection and every answer on it."""
    daemon = chosen(world, pick)
    pipes = [pipe for pipe in daemon.pipes if pipe.unanswered] if daemon is not None else []
    if pipes:
        pipes[pick(len(pipes))].lose()
        world.settle()


def break_source(world: World, _pick: Pick) -> None:
    """Let the source's brokers be gone, or come back."""
    world.turn_off("source")


def break_target(world: World, _pick: Pick) -> None:
    """Let the target's brokers be gone, or come back."""
    world.turn_off("target")


def forget_sessions(world: World, _pick: Pick) -> None:
    """Let the source's brokers forget the fetch sessions, as they do when they have too many."""
    world.brokers["source"].sessions.clear()


def take_up(world: World, pick: Pick) -> None:
    """Let a daemon that handed the shard over work on it again."""
    idle = [daemon for daemon in world.daemons if not daemon.works]
    if idle:
        idle[pick(len(idle))].take_up()
        world.settle()


def notice_leader(world: World, pick: Pick) -> None:
    """Let a daemon ask who leads."""
    daemon = chosen(world, pick)
    if daemon is not None and daemon.is_up:
        daemon.pump.leaders_stale()
        world.settle()


def work(world: World, pick: Pick) -> None:
    """Let a daemon do at once all that it can without an answer to a produce."""
    daemon = chosen(world, pick)
    if daemon is not None and daemon.is_up:
        daemon.unpause()
        daemon.step_claim()
        world.settle()
        attend(world, daemon, *CONTROL, *FETCH)
        for _ in range(_MOMENTS):  # what an attach looks at again and again, until it is committed
            world.advance(_MOMENT_MS)
            attend(world, daemon, *CONTROL, *FETCH)


def serve(world: World, pick: Pick) -> None:
    """Let the target take, commit and answer all that one daemon sent."""
    daemon = chosen(world, pick)
    if daemon is not None:
        attend(world, daemon, *PRODUCE, commits=True)


def record(world: World, pick: Pick) -> None:
    """Let a daemon record the source's leader epoch."""
    daemon = chosen(world, pick)
    if daemon is not None and daemon.is_up:
        world.current.stored_epoch = max(world.current.stored_epoch, daemon.copy.reading.last_epoch)


def advance(world: World, pick: Pick) -> None:
    """Let time pass; whoever may keep the claim alive does, mostly."""
    kept_alive = pick(4)
    world.advance(STEPS_MS[pick(len(STEPS_MS))], hears_first=not pick(4))
    if kept_alive:
        renew(world)


def renew(world: World) -> None:
    """Let the holder of the claim renew it."""
    for daemon in world.daemons:
        if daemon.is_up and daemon.claim.holder == daemon.name:
            daemon.step_claim()
            daemon.persist()
            world.settle()
            attend(world, daemon, *CONTROL)


# -- the network ----------------------------------------------------------------------------------------------------


def _connections(world: World) -> list[Pipe]:
    produces = [pipe for daemon in world.daemons for pipe in daemon.pipes_for(*PRODUCE) if pipe.undelivered]
    return produces + world.zombies


def deliver(world: World, pick: Pick) -> None:
    """Let the target take what is to be appended, of an open connection or of a closed one."""
    connections = _connections(world)
    if connections:
        world.deliver(connections[pick(len(connections))])


def drop_zombie(world: World, pick: Pick) -> None:
    """Let what a closed connection carried vanish."""
    if world.zombies:
        world.drop(world.zombies[pick(len(world.zombies))])
