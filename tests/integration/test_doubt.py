"""Answers get lost while records are copied that the target's brokers do not remember (KAFKA.md 0b.13).

The target forgets a producer four seconds after its newest *record time*, and all records are from 2020: no write is
guarded, so only the rule for unguarded work keeps a record from being appended twice.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from replicator.devkit import Cluster, free_base_port
from tests.integration.conftest import MakeCluster
from tests.integration.harness import Kafka, Lab, Load, assert_equal, create, wait_until
from tests.integration.proxy import PRODUCE, Action, FaultProxy, Plan, pass_all

FORGETFUL = {
    "producer.id.expiration.ms": "4000",
    "producer.id.expiration.check.interval.ms": "500",
    "transactional.id.expiration.ms": "604800000",
}
CLIENTS = {"request_timeout": "2s", "doubt_margin": "1s"}
LATE_SECONDS = 1.5
OLD_MS = 1_590_000_000_000
FAULTS = (Action.LOSE_ANSWER, Action.CUT_ANSWER, Action.CUT_REQUEST, Action.LATE)
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


def every(number: int, actions: tuple[Action, ...], seed: int) -> Plan:
    """Return a plan that spoils one produce of `number`, at random."""
    chance = random.Random(seed)  # noqa: S311 - moments of faults

    def plan(api: int) -> Action:
        if api != PRODUCE or chance.randrange(number):
            return Action.PASS
        return chance.choice(actions)

    return plan


@pytest.mark.parametrize("action", FAULTS)
def test_old_records_are_never_doubled(
    east: Kafka, forgetful: Forgetful, topic_name: str, lab: Lab, action: Action
) -> None:
    """One kind of fault, a few times."""
    create(east, topic_name, PARTITIONS)
    daemon = lab.daemon(east, forgetful, topic_name, clients=CLIENTS).start()
    forgetful.proxy.plan = every(12, (action,), seed=1)
    with Load(east, {topic_name: PARTITIONS}, per_second=500, when=lambda number: OLD_MS + number) as load:
        wait_until("there were faults", lambda: forgetful.proxy.done[action] >= 2 and load.sent > 1000)
    forgetful.proxy.plan = pass_all

    load.check(topic_name, assert_equal(east, forgetful.cluster, topic_name))
    assert daemon.mirror(topic_name)["state"] == "ACTIVE"
    assert {partition["guard"] for partition in daemon.mirror(topic_name)["partitions"]} == {"off"}


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
            forgetful.proxy.plan = every(12, FAULTS, seed=number)
            reached = forgetful.proxy.faults + 6
            wait_until("there were faults", lambda reached=reached: forgetful.proxy.faults >= reached, 120)
            victim = chance.choice(running)
            victim.kill()
            victim.start(ready_seconds=0)
    forgetful.proxy.plan = pass_all

    load.check(topic_name, assert_equal(east, forgetful.cluster, topic_name, seconds=180))
    assert forgetful.proxy.faults - before >= 36
