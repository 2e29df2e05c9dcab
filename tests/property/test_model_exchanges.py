"""The model's broker answers as Kafka's does: what a real one answered is kept, and told again by `make test-long`."""

from __future__ import annotations

import json
from pathlib import Path

from tests.copy_world.exchanges import Exchange, Observed, all_exchanges
from tests.copy_world.home import at_home
from tests.copy_world.model_cluster import opened, served
from tests.copy_world.rules import WHERE
from tests.copy_world.world import World

RECORDED = Path(__file__).parent / "exchanges.json"


def plain(observed: Observed) -> list[list[object]]:
    """Return what JSON makes of it."""
    made: list[list[object]] = json.loads(json.dumps(observed))
    return made


def of_the_model() -> Observed:
    """Have the exchanges with the model."""
    world = World(log_end_shown=True)
    with at_home(world, 0):
        cluster = opened(world, "target")

        async def expire() -> None:
            world.target.expire(world.now_ms)

        async def change_leader() -> None:
            world.target.change_leader(5, 5, world.now_ms)
            await cluster.refresh([WHERE.topic])

        made = Exchange(cluster, WHERE, lambda: world.now_ms, expire, change_leader)
        return served(world, all_exchanges(made))


def test_the_model_answers_as_a_real_broker_did() -> None:
    """One by one, so that a difference is named."""
    recorded = json.loads(RECORDED.read_text())
    for (asked, answer), (told, real) in zip(plain(of_the_model()), recorded, strict=True):
        assert (asked, answer) == (told, real)
