"""The demo, step by step, and what is measured on the way."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from replicator.admin.producer import RecordProducer, SteadyWriter
from replicator.admin.topics import TopicAdmin
from replicator.cli.demo.records import TOPICS
from replicator.cli.demo.result import Result
from replicator.cli.demo.stage import BACK, FLOW, Pace, Stage, pace, timed_out
from replicator.cli.demo.switches import Switched, switch
from replicator.cli.printing.output import age, number
from replicator.config.load import load
from replicator.core.topics.ownership import OwnedTopic, made_up_commits
from replicator.engine.verify.compare import VerifyOptions, verify
from replicator.engine.verify.pool import VerifyProgress
from replicator.errors import KafkaError, ReplicatorError
from replicator.model.names import TopicPartition
from replicator.model.spec import Isolation
from replicator.model.status.groups import Committed
from replicator.model.switch.terms import Verb

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from replicator.cli.demo.view import Say, View
    from replicator.engine.verify.result import VerifyResult
    from replicator.model.security import ClusterSpec
    from replicator.model.spec import Spec

STEPS = 8
GROUP = "billing"
_COPY_SECONDS_MAX = 60.0
_RECOVER_SECONDS_MAX = 60.0
_READY_SECONDS_MAX = 30.0
_COMPARE_SECONDS_MAX = 60.0
_POLL_SECONDS = 0.1
_ASK_SECONDS = 5.0
_UNDER_LOAD_SECONDS = 2.0
_REPLICAS = 1
T = TypeVar("T")
Ends = Mapping[TopicPartition, int]


class Story:
    """Runs the demo once on a stage."""

    def __init__(self, stage: Stage, view: View) -> None:
        self._stage = stage
        self._view = view
        self._spec: Spec
        self._made: dict[str, OwnedTopic] = {}
        self._runner = asyncio.Runner()
        self._writers: list[SteadyWriter] = []
        self._producers: list[RecordProducer] = []

    def run(self) -> Result:
        """Play all steps and return what was found.

        Raises:
            ReplicatorError: A cluster or the daemon failed, or a wait timed out.
        """
        try:
            with self._runner:
                self._start_clusters()
                self._write_history()
                speed = self._copy()
                # Both switches come before the kill: whoever takes over from a killed daemon waits out what that one
                # may have sent to a side that nobody has copied to yet.
                west = self._switch_to_west()
                east = self._switch_back()
                after_kill = self._kill_the_daemon()
                after_restart = self._restart_a_broker()
                compared = self._compare()
            written = sum(producer.acknowledged for producer in self._producers)
            deleted = sum(topic.deleted for topic in TOPICS)
            return Result(written, deleted, compared, speed, after_kill, after_restart, west, east)
        finally:
            for writer in self._writers:
                writer.abandon()

    # -- the steps ------------------------------------------------------------------------------------------------

    def _start_clusters(self) -> None:
        self._view.step(
            "Two Kafka clusters",
            "Records are written to east. West is to hold an exact copy. Both are real Kafka, on this machine.",
        )
        began = time.monotonic()
        with self._view.waiting("starting two brokers"):
            self._stage.start_clusters()
        self._spec = load(self._stage.file, os.environ)
        for cluster in (self._stage.east, self._stage.west):
            self._view.fact(f"{cluster.config.name}: Kafka {cluster.config.kafka_version} at {cluster.bootstrap}")
        self._view.fact(f"up in {age(time.monotonic() - began)}")

    def _write_history(self) -> None:
        self._view.step(
            "Three topics with a history",
            "They exist before the replicator does: it has to begin with what is already there, and the last one "
            "has lost its oldest records, as logs do. From now on, producers keep writing to all three.",
        )
        east = self._spec.cluster("east")
        self._do(self._create_topics(east))
        with self._view.waiting("writing") as say:
            for topic in TOPICS:
                say(topic.name)
                producer = RecordProducer(east, topic.name, compression=topic.compression)
                self._producers.append(producer)
                # Flushed in between: retention deletes whole batches, and so do we.
                for first, end in ((0, topic.deleted), (topic.deleted, topic.backlog)):
                    for at in range(first, end):
                        producer.send(topic.make(at))
                    producer.flush()
        self._do(self._delete_oldest(east))
        for topic, producer in zip(TOPICS, self._producers, strict=True):
            self._view.fact(f"{topic.name}: {number(topic.backlog)} records; {topic.looks}")
            writer = SteadyWriter(producer, topic.make, rate=topic.rate, first=topic.backlog)
            self._writers.append(writer)
            writer.start()

    def _copy(self) -> Pace | None:
        self._view.step(
            "The replicator starts",
            "It copies batches as they are, without unpacking them, and every record gets the same offset on west "
            "as on east. That is what lets consumers move from one cluster to the other.",
        )
        daemon = self._stage.daemon
        daemon.start()
        with self._view.waiting("starting the replicator"):
            self._until(lambda: daemon.moment() is not None, "the replicator to answer", _READY_SECONDS_MAX)
        before = daemon.moment()
        with self._view.waiting("copying") as say:
            self._reach_east(say, _COPY_SECONDS_MAX)
        after = daemon.moment()
        speed = pace(before, after) if before and after else None
        if speed is not None:
            self._view.fact(
                f"{speed.bytes / 1e6:,.0f} MB at {speed.bytes_per_second / 1e6:,.0f} MB/s, "
                f"{speed.cpu_seconds_per_gb:.1f} CPU-seconds per GB"
            )
        start = self._do(self._starts())
        cut = next(topic for topic in TOPICS if topic.deleted)
        self._view.fact(f"{cut.name} starts at offset {number(start)} on west too")
        return speed

    def _switch_to_west(self) -> Switched:
        self._view.step(
            "Switchover: west takes over",
            "The producers on east stop. The replicator waits until west holds everything, fences its own late "
            "writes, moves the consumer group to the same position, and opens west. From then on producers write to "
            "west, and a flow in the other direction copies to east, into the topics that are already there.",
        )
        east = self._spec.cluster("east")
        self._do(self._commit(east))
        self._stop_writers()
        with self._view.waiting("switching") as say:
            done = switch(self._stage.daemon.rpc, FLOW, Verb.SWITCHOVER, say, self._check)
        groups = f"{done.groups_exact} of {done.groups_exact + done.groups_inexact} groups exact"
        self._view.fact(f"done in {age(done.seconds)}: {done.lost} offsets lost, {groups}")
        self._write_on("west")
        self._stage.daemon.shown = BACK
        with self._view.waiting("copying to east") as say:
            self._let_run(_UNDER_LOAD_SECONDS)
            self._reach("west", "east", say, _RECOVER_SECONDS_MAX)
        return done

    def _switch_back(self) -> Switched:
        self._view.step(
            "Failback: east takes over again",
            "The same in the other direction, by one command: east has caught up, so nothing has to be copied again.",
        )
        self._stop_writers()
        with self._view.waiting("switching") as say:
            done = switch(self._stage.daemon.rpc, FLOW, Verb.FAILBACK, say, self._check)
        self._view.fact(f"done in {age(done.seconds)}: {done.lost} offsets lost")
        self._stage.daemon.shown = FLOW
        self._write_on("east")
        self._let_run(_UNDER_LOAD_SECONDS)
        return done

    def _stop_writers(self) -> None:
        for writer in self._writers:
            writer.stop()
        self._writers.clear()

    def _write_on(self, cluster: str) -> None:
        """Let the producers continue on one of the clusters."""
        for topic in TOPICS:
            written = sum(one.acknowledged for one in self._producers if one.topic == topic.name)
            producer = RecordProducer(self._spec.cluster(cluster), topic.name, compression=topic.compression)
            self._producers.append(producer)
            writer = SteadyWriter(producer, topic.make, rate=topic.rate, first=written)
            self._writers.append(writer)
            writer.start()

    def _kill_the_daemon(self) -> float:
        self._view.step(
            "kill -9 of the replicator",
            "It gets no chance to save anything, while requests are in flight and records keep coming. A new one "
            "reads from west how far the copy got. West's brokers refuse a batch that is already there, and one "
            "that would leave a gap.",
        )
        with self._view.waiting("letting it run under load"):
            self._let_run(_UNDER_LOAD_SECONDS)
        killed = time.monotonic()
        self._stage.daemon.kill()
        self._view.fact("killed")
        self._stage.daemon.start()
        with self._view.waiting("catching up") as say:
            self._reach_east(say, _RECOVER_SECONDS_MAX)
        took = time.monotonic() - killed
        self._view.fact(f"a new one is up and has caught up {age(took)} after the kill")
        return took

    def _restart_a_broker(self) -> float:
        self._view.step(
            "West's broker is restarted",
            "As in an upgrade. Connections break and answers are lost, so nobody knows whether the last batches were "
            "written. The replicator waits until the broker is back, looks, and goes on from there.",
        )
        west = self._stage.west
        with self._view.waiting("restarting the broker"):
            began = time.monotonic()
            # By SIGTERM: a killed broker forgets a log start younger than a minute
            # (log.flush.start.offset.checkpoint.interval.ms), and so that of the seeded topic.
            west.stop_broker(1)
            west.start_broker(1)
        served = time.monotonic()
        self._view.fact(f"stopped and back in {age(served - began)}")
        with self._view.waiting("catching up") as say:
            self._reach_east(say, _RECOVER_SECONDS_MAX)
        took = time.monotonic() - served
        self._view.fact(f"caught up {age(took)} after the broker was back")
        return took

    def _compare(self) -> VerifyResult:
        self._view.step(
            "Is it all there, once, in order?",
            "The producers stop. Then every record on both clusters is read with another Kafka client, and offset, "
            "time, key, value and headers are compared.",
        )
        for writer in self._writers:
            writer.stop()
        with self._view.waiting("comparing") as say:

            def show(now: VerifyProgress) -> None:
                say(f"{number(now.records)} records")

            result = self._do(self._verify(show))
        self._view.fact(f"{number(result.records)} records compared in {age(result.seconds)}")
        return result

    # -- asking the clusters --------------------------------------------------------------------------------------

    def _do(self, work: Coroutine[Any, Any, T]) -> T:
        return self._runner.run(work)

    async def _create_topics(self, east: ClusterSpec) -> None:
        async with _admin(east) as admin:
            for topic in TOPICS:
                self._made[topic.name] = await admin.create_topic(topic.name, topic.partitions, _REPLICAS, {})

    async def _delete_oldest(self, east: ClusterSpec) -> None:
        async with _admin(east) as admin:
            for topic in TOPICS:
                if topic.deleted:
                    await admin.delete_records(self._made[topic.name], {0: topic.deleted})

    async def _commit(self, east: ClusterSpec) -> None:
        """Commit for a consumer group as if it had read half of each partition."""
        async with _admin(east) as admin:
            ends = await admin.end_offsets(_partitions(), Isolation.READ_COMMITTED)
            commits = {where: Committed(end // 2) for where, end in ends.items()}
            await admin.commit(made_up_commits(GROUP, commits))

    async def _starts(self) -> int:
        cut = next(topic for topic in TOPICS if topic.deleted)
        async with _admin(self._spec.cluster("west")) as admin:
            starts = await admin.start_offsets([TopicPartition(cut.name, 0)])
        return starts[TopicPartition(cut.name, 0)]

    async def _verify(self, progress: Callable[[VerifyProgress], None]) -> VerifyResult:
        flow = self._spec.flow(FLOW)
        options = VerifyOptions(flow.isolation, wait_seconds=_COMPARE_SECONDS_MAX)
        names = {topic.name: topic.name for topic in TOPICS}
        return await verify(self._spec.cluster(flow.source), self._spec.cluster(flow.target), names, options, progress)

    async def _ends(self, cluster: str) -> Ends:
        async with _admin(self._spec.cluster(cluster)) as admin:
            return await admin.end_offsets(_partitions(), Isolation.READ_UNCOMMITTED)

    # -- waiting --------------------------------------------------------------------------------------------------

    def _reach_east(self, say: Say, seconds_max: float) -> None:
        self._reach("east", "west", say, seconds_max)

    def _reach(self, source: str, target: str, say: Say, seconds_max: float) -> None:
        """Wait until the target holds everything that the source holds now."""
        goal = self._do(self._ends(source))
        west = replace(self._spec.cluster(target), request_timeout_seconds=_ASK_SECONDS)
        admin = TopicAdmin(west)

        def done() -> bool:
            nonlocal admin
            try:
                ends = self._do(admin.end_offsets(_partitions(), Isolation.READ_UNCOMMITTED))
            except KafkaError:  # a topic is not created yet, or a broker is not back
                self._do(admin.close())
                admin = TopicAdmin(west)  # a fresh one does not pause before it connects again
                return False
            behind = sum(max(0, end - ends[where]) for where, end in goal.items())
            if behind:
                say(f"{number(behind)} records to go")
            return behind == 0

        try:
            self._until(done, f"{target} to hold what {source} held", seconds_max)
        finally:
            self._do(admin.close())

    def _until(self, done: Callable[[], bool], what: str, seconds_max: float) -> None:
        deadline = time.monotonic() + seconds_max
        while not done():
            self._check()
            if time.monotonic() > deadline:
                raise timed_out(f"waited for {what}", seconds_max, self._stage.daemon)
            time.sleep(_POLL_SECONDS)

    def _let_run(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            self._check()
            time.sleep(_POLL_SECONDS)

    def _check(self) -> None:
        """Raise if waiting is pointless: the daemon ended, a partition stopped, or a producer failed."""
        daemon = self._stage.daemon
        daemon.check()
        stopped = daemon.stopped_partitions()
        if stopped:
            raise ReplicatorError("a partition has stopped", why="; ".join(stopped))
        for writer in self._writers:
            writer.check()


def _partitions() -> list[TopicPartition]:
    return [TopicPartition(topic.name, at) for topic in TOPICS for at in range(topic.partitions)]


@asynccontextmanager
async def _admin(cluster: ClusterSpec) -> AsyncIterator[TopicAdmin]:
    """Provide an admin client for one block."""
    admin = TopicAdmin(cluster)
    try:
        yield admin
    finally:
        await admin.close()
