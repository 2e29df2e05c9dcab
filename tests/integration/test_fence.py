"""The fence on real brokers: captured writes of before are refused, by either route, whoever dies in between."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Self

import pytest
from kio.schema.produce.v13.response import ProduceResponse
from kio.serial import entity_reader

from replicator.core.copy.attaching.facts import Role, Writer
from replicator.engine.state import records as state
from replicator.engine.state.topic.index import parse_key
from replicator.engine.state.topic.log import StateLog
from replicator.engine.work import fence as fencing
from replicator.engine.work import roles
from replicator.engine.work.fence import FenceWriter
from replicator.errors import KafkaError, TimedOut
from replicator.model.names import TopicPartition
from replicator.model.security import ClusterSpec
from replicator.model.units import parse_bootstrap
from replicator.state_pb import state_pb2 as pb
from replicator.wire.cluster import Cluster
from replicator.wire.messages.data.transactions import init_producer_id
from replicator.wire.messages.rights_probe import Verdict
from tests.integration.conftest import MakeCluster
from tests.integration.harness import Daemon, Lab
from tests.integration.kafka_client import Kafka, bounds, create, read_all, wait_copied, wait_until
from tests.integration.load import numbered, produce
from tests.integration.proxy import PRODUCE, Action, FaultProxy

PARTITIONS = 3
INVALID_PRODUCER_EPOCH = 47
_SIZE = struct.Struct(">i")
ROUTES = ["bulk", "transaction"]


class Wiretap:
    """A broker whose clients pass a proxy that keeps every produce request, byte for byte."""

    def __init__(self, make_cluster: MakeCluster) -> None:
        base = make_cluster(start=False).config.base_port
        self.cluster = make_cluster(base_port=base, repl_advertised={1: base + 4}, start=False)
        self.port = self.cluster.config.ports(1).repl
        self.frames: list[bytes] = []
        self.proxy = FaultProxy(base + 4, self.port)
        self.proxy.plan = self._keep

    def _keep(self, api: int, frame: bytes) -> Action:
        if api == PRODUCE:
            self.frames.append(frame)
        return Action.PASS

    @property
    def bootstrap(self) -> str:
        """The way that is tapped."""
        return self.cluster.config.repl_bootstrap

    def replay(self, frame: bytes) -> bytes:
        """Send a request once more, on a connection of its own; return the answer."""
        with socket.create_connection(("127.0.0.1", self.port), 10) as line:
            line.settimeout(10)
            line.sendall(frame)
            (size,) = _SIZE.unpack(line.recv(4, socket.MSG_WAITALL))
            return line.recv(size, socket.MSG_WAITALL)


@pytest.fixture
def tap(make_cluster: MakeCluster) -> Iterator[Wiretap]:
    """A broker that is tapped."""
    made = Wiretap(make_cluster)
    with made.proxy:
        made.cluster.start()
        yield made


@contextmanager
def forced(route: str) -> Iterator[None]:
    """Let the target refuse markers in bulk, or not."""

    async def refused(_connection: object) -> Verdict:
        return Verdict.REFUSED

    with pytest.MonkeyPatch.context() as patch:
        if route == "transaction":
            patch.setattr(fencing, "may_write_markers", refused)
        yield


class Target:
    """The target as an executor of a switch sees it."""

    def __init__(self, kafka: Kafka, flow: str) -> None:
        self.cluster = Cluster(ClusterSpec("west", parse_bootstrap(kafka.bootstrap)))
        self.flow = flow
        self.uid = ""
        self.writer: Writer | None = None

    async def __aenter__(self) -> Self:
        await self.cluster.open()
        self.log = StateLog(self.cluster)
        await self.look()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.cluster.close()

    async def look(self) -> Writer:
        """Read who the flow is."""
        await self.log.read_to_end()
        for key in list(self.log.records):
            parsed = parse_key(key)
            if parsed is not None and parsed.kind == 1:
                record = state.get_flow(self.log.records, parsed.flow_uid)
                if record.name == self.flow:
                    self.uid = record.uid
        self.writer = state.get_writer(self.log.records, self.uid)
        assert self.writer is not None
        return self.writer

    async def begin(self) -> FenceWriter:
        """Begin the fence."""
        assert self.writer is not None
        least = await fencing.coordinator_epoch(self.cluster, self.uid, self.writer.producer_id)
        epoch = 0

        def decide(records: Any) -> Any:
            nonlocal epoch
            epoch, changes = roles.begun(records, self.uid, least)
            return changes

        await self.log.change(self.uid, decide)
        return FenceWriter(self.cluster, self.uid, self.writer.producer_id, epoch)

    async def promote(self, epoch: int) -> None:
        """Open the target."""
        await self.log.change(self.uid, lambda records: roles.promoted(records, self.uid, epoch))


def values(cluster: Kafka, topic: str) -> list[bytes | None]:
    """Return the values of the only partition."""
    return [record.value for record in read_all(cluster, topic)[0]]


def partitions(topic: str) -> list[TopicPartition]:
    """Return all of a topic."""
    return [TopicPartition(topic, number) for number in range(PARTITIONS)]


def copied(east: Kafka, tap: Wiretap, topic: str, lab: Lab) -> Daemon:
    """Copy something to every partition."""
    create(east, topic, PARTITIONS)
    produce(east, topic, ({"value": b"%d" % at, "partition": at % PARTITIONS} for at in range(30)))
    daemon = lab.daemon(east, tap, topic, replication_factor=1).start()
    wait_copied(east, tap.cluster, topic)
    return daemon


@pytest.mark.long
@pytest.mark.parametrize("route", ROUTES)
def test_captured_writes_are_refused(east: Kafka, tap: Wiretap, topic_name: str, lab: Lab, route: str) -> None:
    """Before the fence they are known as repeats; after it they are refused for their epoch; nothing is appended."""
    daemon = copied(east, tap, topic_name, lab)
    data = [frame for frame in tap.frames if _names_no_state(frame)]
    assert data
    before = set().union(*(_codes(frame, tap.replay(frame)) for frame in data))
    assert INVALID_PRODUCER_EPOCH not in before
    ends = bounds(tap.cluster, topic_name)

    async def fence() -> int:
        with forced(route):
            async with Target(tap.cluster, lab.flow) as target:
                made = await target.begin()
                stood = await made.stand(partitions(topic_name), 30)
                assert set(stood.ends) == set(partitions(topic_name))
                assert await made.missing(partitions(topic_name)) == ([], [])
                await target.promote(stood.epoch)
                assert (await target.look()).role is Role.PROMOTED
                return stood.epoch

    assert asyncio.run(fence()) > 0
    after = bounds(tap.cluster, topic_name)
    assert {number: (start, end + 1) for number, (start, end) in ends.items()} == after, "one marker each"
    assert set().union(*(_codes(frame, tap.replay(frame)) for frame in data)) == {INVALID_PRODUCER_EPOCH}
    assert bounds(tap.cluster, topic_name) == after

    produce(east, topic_name, numbered(5))
    daemon.wait_state(topic_name, "STOPPED", "fenced")
    daemon.kill()
    fresh = lab.daemon(east, tap, topic_name, replication_factor=1).start(ready_seconds=0)
    wait_until("it reads promoted, and says so", lambda: "promoted" in str(fresh.flow()["reason"]))
    assert bounds(tap.cluster, topic_name) == after


def _names_no_state(frame: bytes) -> bool:
    return b"replicator.state" not in frame


def _codes(frame: bytes, answer: bytes) -> set[int]:
    """Return the error codes of all partitions of a produce answer (KIP-951's version 13, by topic id)."""
    api, version = struct.unpack_from(">hh", frame, 4)
    assert (api, version) == (PRODUCE, 13)
    told, _ = entity_reader(ProduceResponse)(answer, 5)
    return {int(part.error_code) for topic in told.responses for part in topic.partition_responses}


@pytest.mark.long
@pytest.mark.parametrize("route", ROUTES)
def test_whoever_begins_it_may_die(east: Kafka, west: Kafka, topic_name: str, lab: Lab, route: str) -> None:
    """A partition that was left out is found; another executor goes on, to the same epoch; two at once agree."""
    create(east, topic_name, PARTITIONS)
    produce(east, topic_name, ({"value": b"%d" % at, "partition": at % PARTITIONS} for at in range(30)))
    daemon = lab.daemon(east, west, topic_name, replication_factor=1).start()
    wait_copied(east, west, topic_name)
    every = partitions(topic_name)

    async def fence() -> None:
        with forced(route):
            async with Target(west, lab.flow) as first, Target(west, lab.flow) as second:
                made = await first.begin()
                await made.stand(every[:1], 30)
                missing, unseen = await made.missing(every)
                assert (sorted(missing), unseen) == (every[1:], [])
                assert (await second.look()).role is Role.FENCING
                with pytest.raises((TimedOut, KafkaError)):
                    await made.stand([*every, TopicPartition(topic_name, PARTITIONS)], 1)
                others = await second.begin()
                one, two = await asyncio.gather(made.stand(every, 30), others.stand(every, 30))
                assert one.epoch == two.epoch
                await second.promote(two.epoch)
                await first.promote(one.epoch)
                assert (await first.look()).producer_epoch == one.epoch

    asyncio.run(fence())
    daemon.wait_state(topic_name, "STOPPED", "fenced")


def test_copying_goes_on_behind_a_fence(east: Kafka, west: Kafka, topic_name: str, lab: Lab) -> None:
    """Where a switch is taken back: under the epoch of the fence, from sequence 0; the marker is surplus."""
    create(east, topic_name, 1)
    produce(east, topic_name, numbered(20))
    daemon = lab.daemon(east, west, topic_name, replication_factor=1).start()
    wait_copied(east, west, topic_name)
    where = [TopicPartition(topic_name, 0)]

    async def there_and_back() -> None:
        async with Target(west, lab.flow) as target:
            made = await target.begin()
            stood = await made.stand(where, 30)
            await target.promote(stood.epoch)

            def copy_again(records: Any) -> Any:
                record = state.get_writer_record(records, target.uid)
                record.role = pb.WRITER_ROLE_COPYING
                return [state.put(state.writer_key(target.uid), record)]

            await target.log.change(target.uid, copy_again)

    asyncio.run(there_and_back())
    produce(east, topic_name, numbered(20, 20))
    daemon.wait_state(topic_name, "ACTIVE")
    wait_until("it goes on", lambda: bounds(west, topic_name)[0][1] >= 41)
    offsets = daemon.mirror(topic_name)["partitions"][0]["offsets"]
    assert offsets == "identical+1"
    there, here = values(east, topic_name), values(west, topic_name)
    assert there == here


def test_the_data_id_is_kept_alive(east: Kafka, west: Kafka, topic_name: str, lab: Lab) -> None:
    """Once a day, without a new epoch."""
    create(east, topic_name, 1)
    lab.daemon(east, west, topic_name, replication_factor=1).start()

    async def keep() -> None:
        async with Target(west, lab.flow) as target:
            before = await target.look()
            now_ms = 1_800_000_000_000
            assert await fencing.keep_data_id_alive(target.cluster, target.log, target.uid, now_ms)
            assert not await fencing.keep_data_id_alive(target.cluster, target.log, target.uid, now_ms + 1000)
            assert await fencing.keep_data_id_alive(target.cluster, target.log, target.uid, now_ms + 86_400_000)
            assert await target.look() == before
            epoch = await init_producer_id(target.cluster, f"replicator.{target.uid}.data")
            assert (epoch.producer_id, epoch.producer_epoch) == (before.producer_id, before.producer_epoch + 1)

    asyncio.run(keep())
