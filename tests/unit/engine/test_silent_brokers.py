"""One broker of several that stops to answer while nothing is written: real sockets, a real pump and a real watch."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Collection
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, cast

import pytest

from replicator.core.status import observations
from replicator.core.status.health import not_ready_because, unhealthy_because
from replicator.engine.flow.background import cluster_watch
from replicator.engine.flow.background.cluster_watch import ClusterWatch
from replicator.engine.flow.status import SilentBrokers, flow_status
from replicator.engine.logs import leaders
from replicator.engine.topics.mirror import Mirror
from replicator.model.names import TopicPartition
from replicator.model.status.snapshots import BrokerStatus, FlowStatus, PartitionStatus
from replicator.model.status.states import FlowState, PartitionPhase, Reason
from replicator.wire.cluster import Cluster, Purpose
from tests.at_once import at_once
from tests.unit.engine.reader_bench import FLOW, Bench, nothing
from tests.unit.engine.source_broker import SourceBroker

ONE, TWO = TopicPartition("orders-1", 0), TopicPartition("orders-2", 0)
_SILENT_SECONDS = 1.5
"""Longer than a busy machine keeps this process from its turn."""


@dataclass
class World:
    """Two brokers that are source and target at once, a partition on each, and the watch over one side."""

    bench: Bench
    side: int
    watch: asyncio.Task[None]

    @property
    def cluster(self) -> Cluster:
        """The side that is watched."""
        return (self.bench.pump.source, self.bench.pump.target)[self.side].cluster

    def shown(self) -> FlowStatus:
        """Return what an operator is shown."""
        now = asyncio.get_running_loop().time()
        silent = self.cluster.seen.silent(now)
        return at_once(
            flow_status(
                FlowState.ACTIVE,
                FLOW,
                uid="uid",
                mirrors={where.topic: Mirror(where.topic, where.topic, partitions=1) for where in (ONE, TWO)},
                pump=self.bench.pump,
                paused=False,
                reason=None,
                clusters=(self.cluster.seen.status(self.cluster.spec.alias, now),),
                silent=SilentBrokers(target=silent) if self.side else SilentBrokers(source=silent),
            )
        )

    def partition(self, where: TopicPartition) -> PartitionStatus:
        """Return what is shown of one partition."""
        return next(one for one in self.shown().mirrors if one.topic == where.topic).partitions[0]

    def brokers(self) -> dict[int, bool | None]:
        """Return which brokers in use answer."""
        return {one.broker: one.up for one in self.shown().clusters[0].brokers}

    async def until(self, what: Any) -> None:
        """Wait for something."""
        await self.bench.until(what)


@pytest.fixture(params=[0, 1], ids=["source", "target"])
async def world(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    """An idle flow, all of it copied."""
    monkeypatch.setattr(observations, "SILENT_SECONDS", _SILENT_SECONDS)
    for name, seconds in (("_PROBE_EVERY_SECONDS", 0.02), ("_QUIET_SECONDS", 0.05), ("_ANSWER_SECONDS_MAX", 0.1)):
        monkeypatch.setattr(cluster_watch, name, seconds)
    monkeypatch.setattr(leaders, "_ANSWER_SECONDS_MAX", 0.1)
    bench = Bench(SourceBroker(1, nothing), SourceBroker(2, nothing))
    await bench.begin([ONE.topic, TWO.topic])
    bench.pump.shards = cast(
        "Any",
        SimpleNamespace(
            of=bench.pump.shards.of,
            close=lambda: None,
            holder=lambda _: "me",
            works_on=lambda _: True,
            status=tuple,
        ),
    )
    for where in (ONE, TWO):
        bench.read(where, 1000)
    side = int(request.param)

    def in_use() -> Collection[int]:
        return bench.pump.overview.nodes_in_use()[side]

    def lost() -> None:
        bench.pump.leaders_stale(source=not side, target=bool(side))

    def leaderless() -> Collection[TopicPartition]:
        return bench.pump.overview.leaderless()[side]

    cluster = (bench.pump.source, bench.pump.target)[side].cluster
    watch = asyncio.create_task(ClusterWatch("f", cluster, in_use, lost, leaderless).run())
    made = World(bench, side, watch)

    async def note_waiting() -> None:  # as the attach loop does, which nothing needs here
        while True:
            await bench.pump._attach_loop.note_waiting()
            await asyncio.sleep(0.01)

    noting = asyncio.create_task(note_waiting())
    await made.until(lambda: made.brokers() == {1: True, 2: True})
    yield made
    for task in (watch, noting):
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
    bench.close()


async def test_a_broker_that_freezes_is_named_and_what_it_leads_waits(world: World) -> None:
    """In every place that an operator looks at; the cluster is up, and what the other broker leads goes on."""
    await world.until(lambda: unhealthy_because(world.shown(), None) is None)
    world.bench.brokers[1].frozen = True
    await world.until(lambda: world.brokers() == {1: True, 2: False})
    seen = world.shown()
    (cluster,) = seen.clusters
    named = f"{cluster.cluster} broker 2 does not answer, last heard "
    assert cluster.up is True
    assert (cluster.trouble or "").startswith(named)
    assert (unhealthy_because(seen, None) or "").startswith(named)
    waits = not_ready_because(seen)
    assert waits is not None
    assert waits.startswith(f"1 of 2 partitions of f are not copied now: waiting_for_leader 1; {named}")
    assert world.partition(ONE).phase is PartitionPhase.COPYING
    two = world.partition(TWO)
    assert (two.phase, two.reason, two.lag_records) == (PartitionPhase.WAITING, Reason.WAITING_FOR_LEADER, None)
    assert seen.lag_records is None
    world.bench.brokers[1].frozen = False


async def test_a_broker_that_its_cluster_drops_is_not_forgotten(world: World) -> None:
    """Nobody else has a replica of what it led: it shows neither among the brokers nor as the leader of anything.

    A pass over topics may be the first to hear of that; whoever copies has to hear of it, too.
    """
    world.bench.brokers[1].frozen = True
    await world.until(lambda: world.brokers() == {1: True, 2: False})
    world.bench.brokers[1].away.add(2)
    await world.cluster.refresh(None)
    assert 2 not in world.cluster.brokers
    assert world.brokers() == {1: True, 2: False}
    assert world.partition(TWO).reason is Reason.WAITING_FOR_LEADER
    await world.until(lambda: world.bench.pump.overview.leaderless()[world.side] == [TWO])
    await world.until(lambda: world.brokers() == {1: True, 2: False})
    trouble = world.shown().clusters[0].trouble or ""
    assert "broker 2 does not answer, last heard " in trouble
    await world.until(lambda: "has no leader for orders-2-0" in (world.shown().clusters[0].trouble or ""))
    two = world.partition(TWO)
    alias = world.cluster.spec.alias
    assert (two.phase, two.detail) == (PartitionPhase.WAITING, f"{alias} has no leader for it now: broker 2 is away")
    assert unhealthy_because(world.shown(), None) is not None
    assert world.shown().clusters[0].brokers == (BrokerStatus(1, up=True), BrokerStatus(2, up=False))
    world.bench.brokers[1].frozen = False


async def test_a_question_that_met_the_frozen_broker_is_put_to_another_one(world: World) -> None:
    """It answered a moment ago, so it is as good as any; whoever leads by now must not wait for it to time out."""
    cluster, frozen = world.cluster, world.bench.brokers[1]
    one = await cluster.connection(1, Purpose.CONTROL)
    two = await cluster.connection(2, Purpose.CONTROL)
    frozen.frozen = True
    two.seen.answered_at = (one.seen.answered_at or 0.0) + 0.2
    assert await cluster.any_connection() is two
    frozen.away.add(2)
    world.bench.pump.leaders_stale()
    async with asyncio.timeout(10):
        await world.until(lambda: world.bench.pump.overview.leaderless()[world.side] == [TWO])


async def test_trouble_of_a_broker_does_not_outlive_a_fence(world: World) -> None:
    """Nothing is asked of it any more, and so nothing would ever take the word back that it does not answer."""
    pump = world.bench.pump
    alias = world.cluster.spec.alias
    pump.context.problems.by_subject |= {f"{alias} broker 1": "does not answer", f"{alias} broker 2": "does not answer"}
    await world.until(lambda: len(pump.overview.present_problems()) == 2)
    pump.fault(pump.slots[ONE], Reason.FENCED, "a switch is under way")
    await world.until(lambda: pump.overview.present_problems() == {f"{alias} broker 2": "does not answer"})
