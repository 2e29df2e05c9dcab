"""Daemons and brokers die by SIGKILL under load; nothing is lost, doubled or reordered."""

from __future__ import annotations

import contextlib
import random
import shutil
import time
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from replicator.devkit import Cluster, free_base_port, start_clusters
from tests.integration.conftest import MakeCluster
from tests.integration.harness import Daemon, Lab
from tests.integration.kafka_client import Kafka, assert_equal, bounds, create, leader, partition_count, wait_until
from tests.integration.load import Load
from tests.integration.proxy import FAULTS, PRODUCE, FaultProxy, pass_all, spoil

PARTITIONS = 6


def kill_in_a_produce(daemon: Daemon, chance: random.Random, copied: int = 1500) -> None:
    """Let a daemon copy something, then kill it at any moment: under this load produces are always on their way.

    Its state directory is deleted while it runs and after it: a cache, whose loss changes nothing.
    """
    shutil.rmtree(daemon.state_dir)
    before = daemon.metric("replicator_records_total")
    wait_until("it copies", lambda: daemon.metric("replicator_records_total") > before + copied, every=0.02)
    time.sleep(chance.random() * 0.1)
    daemon.kill()
    shutil.rmtree(daemon.state_dir, ignore_errors=True)


@pytest.mark.long
def test_the_daemon_is_killed(east: Kafka, west: Kafka, topic_name: str, lab: Lab) -> None:
    """Twice, on three replicas."""
    _kill_daemon(east, west, topic_name, lab, kills=2)


@pytest.mark.long
@pytest.mark.timeout(600)
def test_the_daemon_is_killed_many_times(east: Kafka, west: Kafka, topic_name: str, lab: Lab) -> None:
    """Fifteen times."""
    _kill_daemon(east, west, topic_name, lab, kills=15)


def _kill_daemon(east: Kafka, west: Kafka, topic: str, lab: Lab, *, kills: int) -> None:
    create(east, topic, PARTITIONS)
    daemon = lab.daemon(east, west, topic, replication_factor=3)
    chance = random.Random(kills)  # noqa: S311 - moments of kills
    with Load(east, {topic: PARTITIONS}, per_second=6000) as load:
        for _ in range(kills):
            daemon.start()
            kill_in_a_produce(daemon, chance)
    daemon.start()

    load.check(topic, assert_equal(east, west, topic))


@pytest.mark.long
def test_two_unaware_daemons(east: Kafka, west: Kafka, topic_name: str, lab: Lab) -> None:
    """The same flow file twice, and now this one, now that one is killed."""
    _kill_either(east, west, topic_name, lab, kills=2)


@pytest.mark.long
@pytest.mark.timeout(600)
def test_two_unaware_daemons_for_long(east: Kafka, west: Kafka, topic_name: str, lab: Lab) -> None:
    """Twelve kills."""
    _kill_either(east, west, topic_name, lab, kills=12)


def _kill_either(east: Kafka, west: Kafka, topic: str, lab: Lab, *, kills: int) -> None:
    create(east, topic, PARTITIONS)
    pair = [lab.daemon(east, west, topic, replication_factor=3) for _ in range(2)]
    chance = random.Random(kills)  # noqa: S311 - moments of kills
    with Load(east, {topic: PARTITIONS}, per_second=4000) as load:
        for daemon in pair:
            daemon.start(ready_seconds=0)
        for number in range(kills):
            for daemon in pair:
                wait_until("both are ready", daemon._is_ready)
            _wait_copied_on(west, topic, 2000)
            time.sleep(chance.random() * 0.3)
            pair[number % 2].kill()
            _wait_copied_on(west, topic, 1000)
            pair[number % 2].start(ready_seconds=0)
        for daemon in pair:
            wait_until("both are ready", daemon._is_ready)
        _wait_copied_on(west, topic, 2000)

    load.check(topic, assert_equal(east, west, topic))
    totals = [daemon.flow()["totals"] for daemon in pair]
    assert all(daemon.mirror(topic)["state"] == "ACTIVE" for daemon in pair), totals


def _wait_copied_on(cluster: Kafka, topic: str, records: int) -> None:
    """Wait until a mirror has grown by that many records, whoever writes them."""
    first = _total(cluster, topic)
    wait_until("the mirror grows", lambda: _total(cluster, topic) >= first + records)


def _total(cluster: Kafka, topic: str) -> int:
    return sum(end for _, end in bounds(cluster, topic).values()) if partition_count(cluster, topic) else 0


class OwnPair(NamedTuple):
    """Clusters whose brokers may be killed: one broker, and three of which each has a proxy."""

    source: Cluster
    target: Cluster
    proxies: list[FaultProxy]


@pytest.fixture(scope="module")
def own_pair(make_module_cluster: MakeCluster) -> Iterator[OwnPair]:
    """Started together."""
    source = make_module_cluster(name="kill-east", start=False)
    base = free_base_port(3)
    ports = {node: base + 10 * (node - 1) + 5 for node in (1, 2, 3)}
    target = make_module_cluster(name="kill-west", brokers=3, base_port=base, repl_advertised=ports, start=False)
    with contextlib.ExitStack() as stack:
        proxies = [
            stack.enter_context(FaultProxy(port, target.config.ports(node).repl, late_seconds=0.5))
            for node, port in ports.items()
        ]
        start_clusters([source, target])
        yield OwnPair(source, target, proxies)


@pytest.mark.long
@pytest.mark.timeout(900)
def test_brokers_are_killed(own_pair: OwnPair, topic_name: str, lab: Lab) -> None:
    """Target leaders, and between them the only source broker; every partition goes on without the dead one."""
    source, target, _ = own_pair
    topic, rounds = topic_name, 5
    create(source, topic, PARTITIONS)
    daemon = lab.daemon(source, target, topic, replication_factor=3).start()
    with Load(source, {topic: PARTITIONS}, per_second=2000) as load:
        _wait_copied_on(target, topic, 2000)
        for number in range(rounds):
            victim = leader(target, topic, number % PARTITIONS)
            target.kill_broker(victim)
            _wait_every_partition_grows(target, topic)
            target.start_broker(victim)
            _wait_copied_on(target, topic, 2000)
            source.kill_broker(1)
            time.sleep(1)
            assert daemon.process.poll() is None
            source.start_broker(1)
            _wait_every_partition_grows(target, topic)

    load.check(topic, assert_equal(source, target, topic))
    assert daemon.mirror(topic)["state"] == "ACTIVE"


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("seed", [1, 2])
def test_attach_holds_for_two_unaware_daemons(own_pair: OwnPair, topic_name: str, lab: Lab, seed: int) -> None:
    """Log end and last sequence are never trusted apart, whoever dies.

    Resuming from the two, each as the broker told it, doubled records within a minute of this (the end lags behind
    what was appended). Nothing here waits for anything to be in order before the next kill.
    """
    source, target, _ = own_pair
    topics = {f"{topic_name}-{number}": 4 for number in range(5)}
    for topic, partitions in topics.items():
        create(source, topic, partitions)
    pair = [lab.daemon(source, target, f"{topic_name}-*", replication_factor=3) for _ in range(2)]
    chance = random.Random(seed)  # noqa: S311 - who dies, and when
    with Load(source, topics, per_second=5000, seed=seed) as load:
        for daemon in pair:
            daemon.start()
        for number in range(12):
            time.sleep(1 + 2 * chance.random())
            if number % 4 == 3:
                victim = leader(target, chance.choice(list(topics)), chance.randrange(4))
                target.kill_broker(victim)
                time.sleep(1 + 2 * chance.random())
                target.start_broker(victim)
            daemon = pair[number % 2]
            daemon.kill()
            time.sleep(chance.random())
            daemon.start(ready_seconds=0)

    for topic in topics:
        load.check(topic, assert_equal(source, target, topic, seconds=240))
    for daemon in pair:
        wait_until("it is ready", daemon._is_ready)
        assert {daemon.mirror(topic)["state"] for topic in topics} == {"ACTIVE"}


@pytest.mark.long
@pytest.mark.timeout(300)
def test_the_leader_of_the_state_topic_is_dead(own_pair: OwnPair, topic_name: str, lab: Lab) -> None:
    """Nothing has to come back: its next leader is found, by a change as by the claim, and the flow obeys."""
    source, target, _ = own_pair
    create(source, topic_name)
    daemon = lab.daemon(source, target, topic_name, replication_factor=3).start()
    victim = leader(target, "replicator.state")
    target.kill_broker(victim)

    def told(*words: str) -> bool:
        done = daemon.cli("flow", *words, lab.flow, "--wait")
        return done.returncode == 0

    wait_until("it is paused", lambda: told("pause", "--reason", "test"), 15)
    daemon.wait_state(topic_name, "PAUSED")
    wait_until("it goes on", lambda: told("resume"), 15)
    daemon.wait_state(topic_name, "ACTIVE")
    target.start_broker(victim)


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("daemons", [1, 2])
def test_answers_are_lost(own_pair: OwnPair, topic_name: str, lab: Lab, daemons: int) -> None:
    """Requests and answers go astray on the way to three brokers: sequences alone keep present records apart."""
    source, target, proxies = own_pair
    topic, faults = topic_name, 60
    create(source, topic, PARTITIONS)
    through = {"bootstrap": target.config.repl_bootstrap}
    running = [
        lab.daemon(source, through, topic, replication_factor=3, clients={"request_timeout": "2s"}).start()
        for _ in range(daemons)
    ]
    before = sum(proxy.faults for proxy in proxies)
    try:
        with Load(source, {topic: PARTITIONS}, per_second=2000) as load:
            for number, proxy in enumerate(proxies):
                proxy.plan = spoil(PRODUCE, 40, FAULTS, seed=number)
            wait_until("faults were met", lambda: sum(proxy.faults for proxy in proxies) - before >= faults, 600)
    finally:
        for proxy in proxies:
            proxy.plan = pass_all

    load.check(topic, assert_equal(source, target, topic))
    for daemon in running:
        assert daemon.wait_state(topic, "ACTIVE")["state"] == "ACTIVE"


def _wait_every_partition_grows(cluster: Kafka, topic: str) -> None:
    first = wait_until("all have leaders", lambda: _ends(cluster, topic))
    wait_until("every partition grows", lambda: all(end > first[at] for at, end in _ends(cluster, topic).items()))


def _ends(cluster: Kafka, topic: str) -> dict[int, int]:
    if partition_count(cluster, topic) < PARTITIONS:
        return {}
    return {number: end for number, (_, end) in bounds(cluster, topic).items()}
