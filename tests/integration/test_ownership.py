"""Whose a topic is, asked of real clusters in the order that makes the answer true."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace

import pytest

from replicator.admin.topics import TopicAdmin
from replicator.core.copy.attaching.facts import Role, Writer
from replicator.core.topics.ownership import OwnedTopic, OwnershipReason
from replicator.core.topics.plan import MirrorFault
from replicator.engine.state import records as state
from replicator.engine.state.ownership.identity import ensure_state_topic
from replicator.engine.state.ownership.ours import Ownership
from replicator.engine.state.topic.log import Change, StateLog
from replicator.engine.state.topic.source import SourceState
from replicator.model.names import STATE_TOPIC
from replicator.model.security import ClusterSpec
from replicator.model.spec import FlowSpec, Selection
from replicator.model.status.states import Reason
from replicator.model.units import parse_bootstrap
from replicator.state_pb import state_pb2 as pb
from replicator.wire.cluster import Cluster
from replicator.wire.topology import Topic
from tests.integration.kafka_client import Kafka, create, delete
from tests.integration.load import numbered, produce

FLOW = FlowSpec("ownership", "east", "west", Selection(()))
WRITER = Writer(1 << 60, 0, Role.COPYING, 1 << 60, 0, 1 << 60)
"""Ids that no cluster of a test run ever hands out: others tell by them whose a record is."""


class World:
    """Two clusters with a state topic each, and records of flows that no daemon runs."""

    def __init__(self, east: Cluster, west: Cluster) -> None:
        self.east, self.west = east, west
        self.uid, self.other = uuid.uuid4().hex[:12], uuid.uuid4().hex[:12]
        self.log = StateLog(west)
        self.ownership = Ownership(FLOW, self.uid, SourceState(east), west, self.log)

    async def record(self, on: Cluster, uid: str, topic: Topic, *, source_id: bytes = bytes(16)) -> None:
        """Record a mirror of a flow, as another daemon does: through a state log of its own."""
        mirror = pb.MirrorRecord(
            owner_flow_uid=uid,
            owner_flow_name="some-flow",
            source_topic=topic.name,
            target_topic=topic.name,
            source_topic_id=source_id,
            target_topic_id=topic.topic_id,
            phase=pb.MIRROR_PHASE_ACTIVE,
        )
        ends = self.west.cluster_id if on is self.east else self.east.cluster_id, on.cluster_id
        flow = pb.FlowRecord(uid=uid, name="some-flow", source_cluster_id=ends[0], target_cluster_id=ends[1])

        def decide(_: Mapping[bytes, bytes]) -> list[Change]:
            return [
                state.put(state.mirror_key(uid, topic.name), mirror),
                state.put(state.flow_key(uid), flow),
                state.put(state.writer_key(uid), state.writer_record(WRITER)),
            ]

        await StateLog(on).change(uid, decide)

    async def topic(self, name: str) -> Topic:
        """Return a topic of west once the broker that is asked knows it."""
        for _ in range(100):
            topic = await self.west.describe(name)
            if topic is not None:
                return topic
            await asyncio.sleep(0.1)
        raise AssertionError(f"{name} is not known")

    async def proof(self, name: str) -> OwnedTopic | MirrorFault:
        """Return what is said of a topic of west."""
        for _ in range(100):  # a topic that was just made has no leader for a moment
            topic = await self.topic(name)
            found = (await self.ownership.prove([topic]))[name]
            if isinstance(found, OwnedTopic | MirrorFault):
                return found
            assert found.retryable, found
            await asyncio.sleep(0.1)
        raise AssertionError(f"{name} has no leader")


@pytest.fixture
async def world(east: Kafka, west: Kafka) -> AsyncIterator[World]:
    """Both clusters, open."""
    specs = [ClusterSpec(alias, parse_bootstrap(one.bootstrap)) for alias, one in (("east", east), ("west", west))]
    clusters, admins = [Cluster(spec) for spec in specs], [TopicAdmin(spec) for spec in specs]
    for cluster, admin in zip(clusters, admins, strict=True):
        await cluster.open()
        await ensure_state_topic(cluster, admin)
    yield World(*clusters)
    for cluster, admin in zip(clusters, admins, strict=True):
        cluster.close()
        await admin.close()


async def test_a_topic_that_another_daemon_made_and_wrote_to(world: World, west: Kafka, topic_name: str) -> None:
    """It recorded it before it wrote: what this daemon had read before that does not make it foreign."""
    await world.log.read_to_end()
    create(west, topic_name, 2)
    assert getattr(await world.proof(topic_name), "because", None) is OwnershipReason.NEVER_WRITTEN
    await world.record(world.west, world.uid, await world.topic(topic_name))
    produce(west, topic_name, numbered(5, partition=1))
    assert getattr(await world.proof(topic_name), "because", None) is OwnershipReason.RECORDED


async def test_a_topic_that_was_created_again(world: World, west: Kafka, topic_name: str) -> None:
    """Empty or not, it is not the one that is recorded."""
    create(west, topic_name)
    ours = await world.topic(topic_name)
    await world.record(world.west, world.uid, ours)
    assert isinstance(await world.proof(topic_name), OwnedTopic)
    delete(west, topic_name)
    create(west, topic_name)
    for _ in range(100):  # the broker that is asked may not know it yet
        if (await world.topic(topic_name)).topic_id != ours.topic_id:
            break
        await asyncio.sleep(0.1)
    found = await world.proof(topic_name)
    assert isinstance(found, MirrorFault)
    assert found.reason is Reason.TARGET_RECREATED


async def test_topics_of_others(world: World, west: Kafka, topic_name: str) -> None:
    """Of somebody who wrote to it, of another flow, and one that is itself copied to our source: even while empty."""
    written, fed, copied = (f"{topic_name}-{name}" for name in ("written", "fed", "copied"))
    for name in (written, fed, copied):
        create(west, name)
    produce(west, written, numbered(1))
    await world.record(world.west, world.other, await world.topic(fed))
    there = await world.topic(copied)
    await world.record(world.east, world.other, replace(there, topic_id=bytes([9] * 16)), source_id=there.topic_id)
    assert STATE_TOPIC in world.east.topics
    for name, reason in (
        (written, Reason.FOREIGN_WRITER),
        (fed, Reason.OTHER_OWNER),
        (copied, Reason.TARGET_TAKEN),
    ):
        found = await world.proof(name)
        assert isinstance(found, MirrorFault)
        assert found.reason is reason
