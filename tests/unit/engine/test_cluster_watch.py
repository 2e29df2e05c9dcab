"""Brokers that are asked because nobody else asks them, over real sockets."""

from __future__ import annotations

import asyncio
import contextlib
from types import SimpleNamespace
from typing import Any

import pytest

from replicator.core.status.observations import BrokerSeen
from replicator.engine.flow.background import cluster_watch
from replicator.engine.flow.background.cluster_watch import ClusterWatch
from replicator.model.security import ClusterSpec
from replicator.wire.cluster import Cluster, Purpose
from replicator.wire.transport import connections

_SECONDS = 10.0


class Frozen:
    """A broker that takes connections and never answers."""

    def __init__(self) -> None:
        self.connections = 0
        self.closed = asyncio.Event()

    async def start(self) -> int:
        """Listen; return the port."""

        async def serve(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
            self.connections += 1
            with contextlib.suppress(ConnectionError):
                while await reader.read(1000):
                    pass

        self._server = await asyncio.start_server(serve, "127.0.0.1", 0)
        return int(self._server.sockets[0].getsockname()[1])

    def stop(self) -> None:
        """End."""
        self._server.close()


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Answers are waited for a moment only."""
    monkeypatch.setattr(cluster_watch, "_ANSWER_SECONDS_MAX", 0.1)
    monkeypatch.setattr(cluster_watch, "_PROBE_EVERY_SECONDS", 0.01)


def cluster_of(**brokers: int) -> Cluster:
    """Return a cluster as it was described before: nodes by number, each with its port."""
    cluster = Cluster(ClusterSpec("west", (("127.0.0.1", 1),)))
    cluster.brokers = {int(node.removeprefix("n")): ("127.0.0.1", port) for node, port in brokers.items()}
    return cluster


@pytest.mark.usefixtures("quick")
async def test_a_frozen_broker_and_a_dead_one_are_noticed_without_any_work() -> None:
    """Each in its own words; leaders are looked up, and a question that was not answered is not asked twice at once."""
    frozen = Frozen()
    cluster = cluster_of(n1=await frozen.start(), n2=1)
    lost = asyncio.Event()
    watch = ClusterWatch("e2w", cluster, lambda: {1, 2}, lost.set)
    task = asyncio.create_task(watch.run())
    async with asyncio.timeout(_SECONDS):
        while not cluster.seen.broker(1).why or not cluster.seen.broker(2).why:
            await lost.wait()
            lost.clear()
    assert cluster.seen.broker(1).why == "no answer within 0.1 s"
    assert "Connection refused" in cluster.seen.broker(2).why
    assert cluster.seen.up(asyncio.get_running_loop().time()) is False
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    frozen.stop()
    cluster.close()


@pytest.mark.usefixtures("quick")
async def test_who_answers_others_is_not_asked() -> None:
    """A busy cluster costs nothing; one that it does not list cannot be asked: who leads now is looked up instead."""
    asked: list[int] = []
    cluster = cluster_of(n1=1)
    watch = ClusterWatch("e2w", cluster, lambda: {1, 7}, lambda: asked.append(1))
    cluster.seen.broker(1).answered_at = asyncio.get_running_loop().time()
    watch.probe()
    assert watch._asking == {}
    cluster.brokers = {}
    watch.probe()
    assert watch._asking == {}
    assert asked == [1, 1]


def connection(*, in_flight: int, answered_at: float) -> Any:
    """Return an open connection."""
    return SimpleNamespace(closed=None, in_flight=in_flight, holds_back=False, seen=BrokerSeen(answered_at))


async def test_whoever_asks_any_broker_does_not_wait_for_a_frozen_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor behind a long poll; an idle connection that said nothing for long is as good as any."""
    now = asyncio.get_running_loop().time()
    cluster = cluster_of(n1=1, n2=1)
    frozen, poll = connection(in_flight=3, answered_at=now - 60), connection(in_flight=1, answered_at=now)
    idle = connection(in_flight=0, answered_at=now - 3600)
    there = cluster._connections._open
    there.update({(1, Purpose.CONTROL): frozen, (2, Purpose.FETCH): poll, (2, Purpose.CONTROL): idle})
    assert await cluster.any_connection() is idle
    del there[2, Purpose.CONTROL]

    async def refuse(*_: object, node: str) -> Any:
        raise AssertionError(f"asked for {node}")

    monkeypatch.setattr(connections, "open_connection", refuse)
    with pytest.raises(AssertionError, match="asked for broker 2"):  # before the frozen one is
        await cluster.any_connection()
    cluster.brokers = {1: ("127.0.0.1", 1)}
    assert await cluster.any_connection() is frozen
