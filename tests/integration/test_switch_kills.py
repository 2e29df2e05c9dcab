"""Whoever carries out a switch dies at every step, or is doubled; and the ways out, before the fence and behind it."""

from __future__ import annotations

import time
from functools import partial

import pytest

from replicator.devkit import Cluster, start_clusters
from replicator.model.switch.terms import StepName
from tests.integration.conftest import MakeCluster
from tests.integration.corpus.transactional import transactional
from tests.integration.harness import Daemon, Lab
from tests.integration.kafka_client import Kafka, assert_equal, bounds, create, read_all, wait_copied, wait_until
from tests.integration.load import produce
from tests.integration.test_switchover import at_once, beside, both_ways, flow_of, last_switch, order, spread, switches

STEPS = (
    StepName.PREFLIGHT,
    StepName.PROVE_QUIESCENCE,
    StepName.DRAIN,
    StepName.SYNC_GROUPS,
    StepName.OFFER_WAY_BACK,
    StepName.BEGIN_FENCE,
    StepName.FENCE,
    StepName.VERIFY_FENCE,
    StepName.PROMOTE,
    StepName.RECORD_CUT,
    StepName.GIVE_UP_WAY_BACK,
    StepName.OPEN_TARGET,
    StepName.PREPARE_REVERSE,
)
_POLL_SECONDS = 0.001


def wait_step(daemon: Daemon, step: StepName, seen: int = 0, seconds: float = 60.0) -> None:
    """Return as soon as the daemon's log tells that a step was recorded more often than before."""
    deadline = time.monotonic() + seconds
    while steps_told(daemon, step) <= seen:
        assert time.monotonic() < deadline, f"{step} was not reached: {daemon.log_tail()}"
        time.sleep(_POLL_SECONDS)


def steps_told(daemon: Daemon, step: StepName) -> int:
    """Return how often the daemon's log tells of a step."""
    return daemon.log_file.read_bytes().count(b'"step": "%s"' % step.encode())


def copies(daemon: Daemon, flow: str) -> bool:
    """Return whether a flow is the active one."""
    return bool(flow_of(daemon, flow)["state"] == "ACTIVE")


def answers(daemon: Daemon, flow: str) -> bool:
    """Return whether a daemon knows the switches of a flow."""
    return daemon.cli("switch", "status", flow).returncode == 0


def again(dies: Daemon | Cluster, daemon: Daemon, flow: str) -> None:
    """Kill somebody, start it again, and wait until the daemon answers."""
    dies.kill()
    if isinstance(dies, Daemon):
        dies.start(ready_seconds=0)
    else:
        dies.start()
    wait_until("it answers", partial(answers, daemon, flow))


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("victim", ["daemon", "coordinator", "source", "target"])
def test_somebody_dies_at_every_step(topic_name: str, lab: Lab, make_cluster: MakeCluster, victim: str) -> None:
    """There and back, again and again, killed one step later each time; the same command again brings it to its end."""
    clusters = [make_cluster(start=False) for _ in range(2)]
    start_clusters(clusters)
    east, west = clusters
    create(east, topic_name, 3)
    produce(east, topic_name, spread(90))
    daemon = both_ways(lab, east, west, topic_name)
    coordinator = lab.coordinator(daemon).start()
    daemon.document["coordinator"] |= {"endpoints": [coordinator.rpc]}
    daemon.write()
    daemon.start(ready_seconds=0)
    wait_copied(east, west, topic_name)
    sides = [(east, west, lab.flow), (west, east, f"{lab.flow}-back")]
    for turn, step in enumerate(STEPS):
        here, there, flow = sides[turn % 2]
        wait_until("it copies", partial(copies, daemon, flow))
        produce(here, topic_name, spread(30, 1000 * (turn + 1)))
        verb = ("switchover", flow, "--producers-stopped", "--reverse", "--yes")
        seen = steps_told(daemon, step)
        order(daemon, *verb, "--no-wait")
        wait_step(daemon, step, seen)
        victims: dict[str, Daemon | Cluster] = {
            "daemon": daemon,
            "coordinator": coordinator,
            "source": here,
            "target": there,
        }
        again(victims[victim], daemon, flow)
        order(daemon, *verb)
        switch = last_switch(daemon, flow)
        assert (switch["outcome"], switch["known_loss"]) == ("done", 0), (step, switch)
        produce(there, topic_name, spread(6, 1000 * (turn + 1) + 500))
        wait_copied(there, here, topic_name)
        assert_equal(there, here, topic_name)
    found = sum(len(records) for records in read_all(east, topic_name).values())
    assert found == 90 + len(STEPS) * 36


@pytest.mark.long
def test_ordered_twice_at_once(east: Kafka, west: Kafka, topic_name: str, lab: Lab) -> None:
    """From two daemons with coordinators of their own: one switch, that both follow."""
    create(east, topic_name, 3)
    produce(east, topic_name, spread(90))
    first = both_ways(lab, east, west, topic_name).start(ready_seconds=0)
    wait_copied(east, west, topic_name)
    second = beside(first, lab)
    verb = ("switchover", lab.flow, "--producers-stopped", "--reverse", "--yes")
    told = at_once((first, second), *verb)
    assert [code for code, _ in told] == [0, 0], told
    history = [switches(daemon, lab.flow, "switchover") for daemon in (first, second)]
    assert history[0] == history[1]
    assert len(history[0]) == 1
    assert bounds(west, topic_name) == dict.fromkeys(range(3), (0, 31))
    produce(west, topic_name, spread(30, 1000))
    wait_copied(west, east, topic_name)
    assert_equal(west, east, topic_name)


@pytest.mark.long
def test_aborted_before_the_fence(east: Kafka, west: Kafka, topic_name: str, lab: Lab) -> None:
    """An open transaction on the source holds it up, and is told; undone, the flow goes on as if nothing was."""
    create(east, topic_name, 3)
    produce(east, topic_name, spread(90))
    daemon = both_ways(lab, east, west, topic_name).start(ready_seconds=0)
    wait_copied(east, west, topic_name)
    with transactional(east, f"{topic_name}-open") as producer:
        producer.begin_transaction()
        producer.produce(topic_name, b"open", partition=0)
        assert producer.flush(30) == 0
        order(daemon, "switchover", lab.flow, "--producers-stopped", "--yes", "--no-wait")
        wait_until("it says why", lambda: "transaction is open" in str(last_switch(daemon, lab.flow)["waits_for"]))
        assert flow_of(daemon, lab.flow)["state"] == "DRAINING"
        assert order(daemon, "failback", lab.flow, "--producers-stopped", "--yes", code=4)
        told = order(daemon, "switch", "abort", lab.flow, "--reason", "another day")
        assert "another day" in told
        wait_until("it is undone", lambda: last_switch(daemon, lab.flow)["outcome"] == "aborted")
        producer.commit_transaction(30)
    assert flow_of(daemon, lab.flow)["state"] == "ACTIVE"
    produce(east, topic_name, spread(30, 1000))
    wait_copied(east, west, topic_name)
    assert_equal(east, west, topic_name)
    assert "aborted" in order(daemon, "switch", "history", lab.flow)
    assert order(daemon, "switch", "abort", lab.flow), "once more is nothing new"


@pytest.mark.long
@pytest.mark.parametrize("restarted", [False, True], ids=["up", "restarted"])
def test_the_target_dies_behind_the_fence(
    east: Kafka, topic_name: str, lab: Lab, make_cluster: MakeCluster, *, restarted: bool
) -> None:
    """The source decides alone that it opens again; its marker keeps offsets the same when the target returns."""
    target = make_cluster()
    create(east, topic_name, 3)
    produce(east, topic_name, spread(90))
    daemon = both_ways(lab, east, target, topic_name).start(ready_seconds=0)
    wait_copied(east, target, topic_name)
    assert order(daemon, "switch", "abort", lab.flow, "--target-lost", "--yes", code=4)
    order(daemon, "switchover", lab.flow, "--producers-stopped", "--reverse", "--yes", "--no-wait")
    wait_step(daemon, StepName.BEGIN_FENCE)
    daemon.freeze()
    target.kill()
    if restarted:
        daemon.kill()
        daemon.start(ready_seconds=0)
        wait_until("it answers", lambda: daemon.cli("flow", "list").returncode == 0)
    else:
        daemon.thaw()
    told = order(daemon, "switch", "abort", lab.flow, "--target-lost", "--yes", "--reason", "west burns")
    assert "the source is open again" in told, told
    assert bounds(east, topic_name) == dict.fromkeys(range(3), (0, 31)), "one marker each"
    produce(east, topic_name, spread(30, 1000))
    target.start()
    wait_until("it follows", lambda: _outcome(daemon, lab.flow) == "failed_forward", 90)
    wait_copied(east, target, topic_name)
    assert_equal(east, target, topic_name)
    assert flow_of(daemon, lab.flow)["state"] == "ACTIVE"


def _outcome(daemon: Daemon, flow: str) -> str:
    answer = daemon.cli("switch", "status", flow, "-o", "json")
    return "" if answer.returncode else str(last_switch(daemon, flow)["outcome"])
