"""What an old source holds too many is exported once, however many do it at once."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import pytest

from replicator.engine.switch import tails
from replicator.engine.switch.tails import Tails
from replicator.errors import Conflict
from replicator.model.names import TopicPartition
from replicator.model.security import ClusterSpec
from replicator.model.switch import Cut
from replicator.model.units import parse_bootstrap
from replicator.wire.cluster import Cluster
from tests.integration.harness import Kafka, create, numbered, produce, read_all

if TYPE_CHECKING:
    from replicator.engine.switch.site import Site

pytestmark = pytest.mark.long

TAIL = 60
TRIES_MAX = 200


async def export(source: Kafka, target: Kafka, cut: Cut, where: TopicPartition) -> None:
    """Export a tail as a daemon does: whoever is overtaken begins anew."""
    async with AsyncExitStack() as stack:
        found = {}
        for alias, cluster in (("source", source), ("target", target)):
            found[alias] = Cluster(ClusterSpec(alias, parse_bootstrap(cluster.bootstrap)))
            stack.callback(found[alias].close)
            await found[alias].open()
        await found["source"].refresh([cut.topic])
        one = Tails(cast("Site", SimpleNamespace(uid=cut.topic, **found)))
        for _ in range(TRIES_MAX):
            try:
                await one._export(cut, where)
            except Conflict:
                await asyncio.sleep(0.01)
            else:
                return
    pytest.fail("it was overtaken again and again")


async def test_three_at_once(east: Kafka, west: Kafka, topic_name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """In pieces that take turns: each record once, and in order."""
    monkeypatch.setattr(tails, "_PIECE_RECORDS", 5)
    where = TopicPartition(f"{topic_name}.divergent", 0)
    create(east, topic_name)
    create(west, where.topic)
    produce(east, topic_name, numbered(10 + TAIL))
    cut = Cut(topic_name, 0, 10, 10, tail_end=10 + TAIL)
    await asyncio.gather(*(export(east, west, cut, where) for _ in range(3)))
    (found,) = read_all(west, where.topic, committed=True).values()
    assert [one.value for one in found] == [b"value-%d" % at for at in range(10, 10 + TAIL)]
