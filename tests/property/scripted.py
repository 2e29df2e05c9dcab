"""What scripted histories are made of: a daemon that works, waits, or takes one step."""

from __future__ import annotations

from dataclasses import replace

from replicator.engine.copy.partitions.producer_state import Guard
from tests.copy_world.daemon import Daemon
from tests.copy_world.rules import DOUBT_MS, Rules
from tests.copy_world.steps import CONTROL, FETCH, PRODUCE, attend
from tests.copy_world.steps import begin as begin_daemon
from tests.copy_world.world import World


def started(world: World) -> Daemon:
    """Start a daemon, and let it find its way."""
    begin_daemon(world)
    return world.daemons[-1]


def work(world: World, daemon: Daemon, *, answers: bool = True) -> None:
    """Let the daemon do all that it can; `answers` tells whether the target answers what it sends."""
    daemon.step_claim()
    world.settle()
    attend(world, daemon, *CONTROL, *FETCH)
    if answers:
        attend(world, daemon, *CONTROL, *FETCH, *PRODUCE, commits=True)
    world.check()


def work_rounds(world: World, daemon: Daemon, rounds: int, *, answers: bool = True) -> None:
    """Let the daemon work, five seconds apart."""
    for _ in range(rounds):
        work(world, daemon, answers=answers)
        world.advance(5_000)


def wait(world: World, daemon: Daemon, milliseconds: int) -> None:
    """Let time pass; the daemon keeps its claim."""
    for _ in range(milliseconds // 5_000):
        world.advance(5_000)
        daemon.step_claim()
        world.settle()
        attend(world, daemon, *CONTROL, commits=True)


def with_patches(rules: Rules, *patches: tuple[object, str, object]) -> Rules:
    """Break more."""
    return replace(rules, patches=(*rules.patches, *patches))


LETS_AGE = ((Guard, "_may_end", lambda *_: True), (Guard, "proven_since", lambda _: 0.0))


def ghost(world: World, markers: int = 1) -> None:
    """Let markers of an earlier fill land late."""
    world.current.haunted = True
    world.target.fill(world.target.term, world.target.fill_epoch, markers, world.now_ms, lambda *_: None)


def filled(world: World) -> Daemon:
    """Copy a marker."""
    world.source.append(1, world.now_ms, "control")
    daemon = started(world)
    wait(world, daemon, DOUBT_MS + 5_000)
    work_rounds(world, daemon, 3)
    assert world.target.high_watermark == 1
    return daemon


def step(world: World, daemon: Daemon) -> None:
    """Let one request be taken and answered, of those of an attach."""
    for pipe in daemon.pipes_for(*CONTROL[:-1]):
        if world.deliver(pipe) or world.hear(pipe):
            return


def started_only(world: World) -> Daemon:
    """Start a daemon that has not heard of anything yet."""
    daemon = world.start_daemon()
    while not daemon.is_up:
        step(world, daemon)
    return daemon
