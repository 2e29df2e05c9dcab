"""Answers get lost while records are copied that the target's brokers do not remember (KAFKA_FACTS K6).

The target forgets a producer four seconds after its newest *record time*, and all records are from 2020: no write is
guarded, so only the rule for unguarded work keeps a record from being appended twice.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from replicator.devkit import Cluster, free_base_port
from tests.integration.conftest import MakeCluster
from tests.integration.harness import Lab
from tests.integration.kafka_client import Kafka, assert_equal, create, wait_until
from tests.integration.load import Load, produce
from tests.integration.proxy import FAULTS, PRODUCE, Action, FaultProxy, pass_all, spoil, spoil_once

FORGETFUL = {
    "producer.id.expiration.ms": "4000",
    "producer.id.expiration.check.interval.ms": "500",
    "transactional.id.expiration.ms": "604800000",
}
CLIENTS = {"request_timeout": "2s", "doubt_margin": "1s"}
LATE_SECONDS = 1.5
OLD_MS = 1_590_000_000_000
PARTITIONS = 3


@dataclass(frozen=True, slots=True)
class Forgetful:
    """The target, its address through the proxy, and the proxy."""

    cluster: Cluster
    bootstrap: str
    proxy: FaultProxy


@pytest.fixture(scope="module")
def forgetful(make_module_cluster: MakeCluster) -> Iterator[Forgetful]:
    """One broker behind a proxy."""
    base = free_base_port(1)
    port = base + 5
    cluster = make_module_cluster(
        name="forgetful", base_port=base, repl_advertised={1: port}, overrides=FORGETFUL, start=False
    )
    with FaultProxy(port, cluster.config.ports(1).repl, late_seconds=LATE_SECONDS) as proxy:
        cluster.start()
        yield Forgetful(cluster, cluster.config.repl_bootstrap, proxy)


@pytest.fixture(autouse=True)
def healed(forgetful: Forgetful) -> Iterator[None]:
    """Begin and end with a proxy that touches nothing."""
    forgetful.proxy.plan = pass_all
    yield
    forgetful.proxy.plan = pass_all


def _wait_for_faults(proxy: FaultProxy, more: int) -> None:
    reached = proxy.faults + more
    wait_until("there were faults", lambda: proxy.faults >= reached, 120)


@pytest.mark.long
def test_a_request_arrives_late(east: Kafka, forgetful: Forgetful, topic_name: str, lab: Lab) -> None:
    """Long after its connection was closed, and after the broker has forgotten all sequences of the partition."""
    _let_requests_be_late(east, forgetful, topic_name, lab, rounds=3, daemons=1)


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("daemons", [1, 2])
def test_many_requests_arrive_late(east: Kafka, forgetful: Forgetful, topic_name: str, lab: Lab, daemons: int) -> None:
    """Also those of one of two daemons that know nothing of each other."""
    _let_requests_be_late(east, forgetful, topic_name, lab, rounds=15, daemons=daemons)


def _let_requests_be_late(
    east: Kafka, forgetful: Forgetful, topic: str, lab: Lab, *, rounds: int, daemons: int
) -> None:
    """Records come in bursts, so that between them the broker forgets; the first write of each burst is late."""
    create(east, topic, PARTITIONS)
    running = [lab.daemon(east, forgetful, topic, clients=CLIENTS).start() for _ in range(daemons)]
    proxy, late = forgetful.proxy, forgetful.proxy.done[Action.LATE]
    for number in range(rounds):
        marker = b"burst-%d-" % number
        proxy.plan = spoil_once(Action.LATE, marker)
        burst = [
            {"value": marker + b"%d" % at, "partition": at % PARTITIONS, "timestamp": OLD_MS + number}
            for at in range(10 * PARTITIONS)
        ]
        produce(east, topic, burst)
        wait_until("a request is late", lambda: proxy.done[Action.LATE] > late + number)  # noqa: B023 - used at once
        time.sleep(LATE_SECONDS + 0.5)

    found = assert_equal(east, forgetful.cluster, topic)
    assert [len(records) for records in found.values()] == [10 * rounds] * PARTITIONS
    # Of several one copies, and the others stand by.
    assert {partition["guard"] for partition in running[0].mirror(topic)["partitions"]} == {"off"}


@pytest.mark.long
@pytest.mark.parametrize("action", FAULTS)
def test_old_records_are_never_doubled(
    east: Kafka, forgetful: Forgetful, topic_name: str, lab: Lab, action: Action
) -> None:
    """One kind of fault, ten times."""
    _copy_old_records(east, forgetful, topic_name, lab, (action,), faults=10)


def _copy_old_records(
    east: Kafka, forgetful: Forgetful, topic: str, lab: Lab, actions: tuple[Action, ...], *, faults: int
) -> None:
    create(east, topic, PARTITIONS)
    daemon = lab.daemon(east, forgetful, topic, clients=CLIENTS).start()
    forgetful.proxy.plan = spoil(PRODUCE, 12, actions, seed=1)
    with Load(east, {topic: PARTITIONS}, per_second=500, when=lambda number: OLD_MS + number) as load:
        _wait_for_faults(forgetful.proxy, faults)
    forgetful.proxy.plan = pass_all

    load.check(topic, assert_equal(east, forgetful.cluster, topic))
    assert daemon.mirror(topic)["state"] == "ACTIVE"
    assert {partition["guard"] for partition in daemon.mirror(topic)["partitions"]} == {"off"}


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("daemons", [1, 2])
def test_old_records_under_every_fault(
    east: Kafka, forgetful: Forgetful, topic_name: str, lab: Lab, daemons: int
) -> None:
    """All kinds mixed, with kills, and with two daemons that know nothing of each other."""
    create(east, topic_name, PARTITIONS)
    running = [lab.daemon(east, forgetful, topic_name, clients=CLIENTS).start() for _ in range(daemons)]
    before = forgetful.proxy.faults
    chance = random.Random(daemons)  # noqa: S311 - who is killed
    with Load(east, {topic_name: PARTITIONS}, per_second=500, when=lambda number: OLD_MS + number) as load:
        for number in range(6):
            forgetful.proxy.plan = spoil(PRODUCE, 12, FAULTS, seed=number)
            _wait_for_faults(forgetful.proxy, 6)
            victim = chance.choice(running)
            victim.kill()
            victim.start(ready_seconds=0)
    forgetful.proxy.plan = pass_all

    load.check(topic_name, assert_equal(east, forgetful.cluster, topic_name, seconds=180))
    assert forgetful.proxy.faults - before >= 36
