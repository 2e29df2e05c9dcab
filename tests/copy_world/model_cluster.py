"""A cluster of the world for whoever is no daemon: what it asks is answered at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from replicator.wire.cluster import Cluster
from tests.copy_world.network import ModelConnections, Pipe
from tests.copy_world.rules import TOPIC
from tests.copy_world.surroundings import SIDES

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from tests.copy_world.world import World

T = TypeVar("T")
_TURNS_MAX = 100_000

_pipes: dict[int, list[Pipe]] = {}


def opened(world: World, alias: str) -> Cluster:
    """Return a cluster that knows who leads."""
    broker, pipes = world.brokers[alias], _pipes.setdefault(id(world), [])

    def open_pipe(node: int, purpose: str) -> Pipe:
        pipe = Pipe("nobody", broker, node, purpose, lambda: world.now_ms)
        pipes.append(pipe)
        return pipe

    cluster = Cluster(SIDES[alias])
    cluster._connections = ModelConnections(SIDES[alias], cluster._prove, open_pipe)
    served(world, cluster.refresh([TOPIC]))
    return cluster


def served(world: World, work: Coroutine[Any, Any, T]) -> T:
    """Return what some work returns, with everything that it asks answered and committed."""
    task = world.loop.create_task(work)
    world.settle()
    for _ in range(_TURNS_MAX):
        if task.done():
            return task.result()
        moved = False
        for pipe in _pipes[id(world)]:
            moved |= world.deliver(pipe)
            world.target.commit()
            moved |= world.hear(pipe)
        if not moved:
            world.advance(1_000)
    raise AssertionError("it never ends")
