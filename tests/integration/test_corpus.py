"""Every shape of the corpus stands at the same offsets on the target, and a reader of either kind sees the same."""

from __future__ import annotations

import random
import subprocess
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from replicator.devkit import Cluster
from replicator.model.spec import Isolation
from tests.integration.conftest import MakeCluster
from tests.integration.corpus import SHAPES, begin, write
from tests.integration.corpus.judge import same_shapes
from tests.integration.corpus.segments import LZ4_OF_FORMAT_0_AT
from tests.integration.corpus.shape import Shape
from tests.integration.harness import REPLICATOR, Daemon, Lab
from tests.integration.kafka_client import Kafka, bounds, wait_until

QUICK = {name: shape for name, shape in SHAPES.items() if not shape.slow and not shape.stops}
STOPS = {name: shape for name, shape in SHAPES.items() if shape.stops}
EAGER_CLEANER = {"log.cleaner.backoff.ms": "300"}


@pytest.fixture(scope="module")
def source(make_module_cluster: MakeCluster) -> Cluster:
    """A cluster of one broker that may be restarted."""
    return make_module_cluster(name="corpus", overrides=EAGER_CLEANER)


def named(prefix: str, shapes: Mapping[str, Shape]) -> dict[str, Shape]:
    """Return topic to shape."""
    return {f"{prefix}.{name}": shape for name, shape in shapes.items()}


def healthy(topics: Mapping[str, Shape], *daemons: Daemon) -> None:
    """The status of one that works agrees: of these topics nothing lags, and none has stopped.

    Of daemons that do not know of each other one works; to the others the lag is unknown.
    """

    def idle(daemon: Daemon) -> bool:
        mirrors = {mirror["topic"]: mirror for mirror in daemon.flow()["mirrors"]}
        seen.update({topic: mirrors[topic]["state"] for topic in topics})
        return all(at["lag_records"] == 0 for topic in topics for at in mirrors[topic]["partitions"])

    seen: dict[str, str] = {}
    wait_until("the status agrees", lambda: any(idle(daemon) for daemon in daemons))
    assert set(seen.values()) == {"ACTIVE"}, seen


def test_every_shape_on_one_broker_and_on_three(
    source: Cluster, east: Kafka, west: Kafka, topic_name: str, lab: Lab
) -> None:
    """What stood there before, and what is written while two daemons copy, each to its target."""
    topics, stops = named(topic_name, QUICK), named(topic_name, STOPS)
    begin(source, topics | stops)
    daemons = {target: lab.daemon(source, target, f"{topic_name}.*") for target in (east, west)}
    for daemon in daemons.values():
        daemon.start(ready_seconds=0)
    write(source, topics)

    for target, daemon in daemons.items():
        found = same_shapes(source, target, topics)
        assert len(found) == len(topics)
        healthy(topics, daemon)
        stopped_at_the_set(target, daemon, *stops)
    verified(daemon, topics)


def stopped_at_the_set(target: Kafka, daemon: Daemon, topic: str) -> None:
    """A set that cannot be read is named by its offset (its last); nothing of it or behind it is copied.

    What came before it in the same answer is dropped with it, until it is decided about.
    """
    mirror = daemon.wait_state(topic, "FAULTED", "corrupt_batch")
    assert f"at offset {LZ4_OF_FORMAT_0_AT + 9} cannot be read" in mirror["detail"]
    assert "(magic 0, codec 3)" in mirror["detail"]
    assert bounds(target, topic)[0] <= (0, LZ4_OF_FORMAT_0_AT)


def verified(daemon: Daemon, topics: Mapping[str, Shape]) -> None:
    """`verify` comes to the same result as the independent reader, also where formats and times are odd."""
    odd = [topic for topic, shape in topics.items() if shape.segment or topic.endswith(("time", "times", "compacted"))]
    asked = [word for topic in odd for word in ("--topic", topic)]
    command = [str(REPLICATOR), "verify", daemon.flow_name, "--config", str(daemon.file), *asked]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


def copied_under_kills(source: Cluster, topics: Mapping[str, Shape], daemons: Sequence[Daemon], *, rounds: int) -> int:
    """Write rounds of every shape while now this, now that daemon dies; return how many died."""
    chance = random.Random(rounds)  # noqa: S311 - moments of kills
    begin(source, topics)
    for daemon in daemons:
        daemon.start(ready_seconds=0)
    kills = 0
    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit(write, source, topics, rounds)
        while not writing.done() or kills < 2 * len(daemons):
            time.sleep(1 + 4 * chance.random())
            victim = daemons[kills % len(daemons)]
            victim.kill()
            kills += 1
            victim.start(ready_seconds=0)
        writing.result()
    return kills


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("isolation", list(Isolation))
@pytest.mark.parametrize("count", [1, 2], ids=["one_daemon", "two_unaware_daemons"])
@pytest.mark.parametrize("side", ["one_broker", "three_brokers"])
def test_daemons_die_while_every_shape_is_written(
    source: Cluster,
    pair: tuple[Cluster, Cluster],
    topic_name: str,
    lab: Lab,
    side: str,
    count: int,
    isolation: Isolation,
) -> None:
    """By SIGKILL, every few seconds."""
    target = pair[side == "three_brokers"]
    topics = named(topic_name, QUICK)
    daemons = [lab.daemon(source, target, f"{topic_name}.*", isolation=isolation.value) for _ in range(count)]

    kills = copied_under_kills(source, topics, daemons, rounds=6)

    same_shapes(source, target, topics, isolation=isolation, seconds=240)
    for daemon in daemons:
        wait_until("it is ready", daemon._is_ready)
    healthy(topics, *daemons)
    print(f"{kills} kills")  # noqa: T201 - captured by pytest


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("side", ["one_broker", "three_brokers"])
def test_sequence_numbers_begin_again_at_2_to_the_31(
    source: Cluster, pair: tuple[Cluster, Cluster], topic_name: str, lab: Lab, side: str
) -> None:
    """Two billion offsets are seeded, then batches on both sides of the last sequence number are copied."""
    target = pair[side == "three_brokers"]
    topics = named(topic_name, {name: shape for name, shape in SHAPES.items() if shape.slow})
    begin(source, topics)
    daemon = lab.daemon(source, target, f"{topic_name}.*").start(ready_seconds=600)
    write(source, topics)
    same_shapes(source, target, topics, seconds=300)
    daemon.kill()
    write(source, topics)
    daemon.start()
    write(source, topics)

    found = same_shapes(source, target, topics)

    (records,) = (log[0] for log in found.values())
    assert records[0].offset < 1 << 31 < records[-1].offset
    healthy(topics, daemon)
