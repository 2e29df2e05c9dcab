"""Some mirrors of a flow change to the other region alone, and the rest of it goes on as if nothing had been."""

from __future__ import annotations

import time
from typing import Any

import pytest

from tests.integration.conftest import MakeCluster
from tests.integration.group_tools import positions
from tests.integration.harness import Daemon, Lab
from tests.integration.kafka_client import (
    Kafka,
    assert_equal,
    bounds,
    commit,
    create,
    read_all,
    wait_copied,
    wait_until,
)
from tests.integration.load import Load, produce
from tests.integration.test_switchover import PARTITIONS, both_ways, flow_of, last_switch, order, spread

LOST = 7


def states(daemon: Daemon, flow: str) -> dict[str, tuple[str, Any]]:
    """Return state and reason of each mirror."""
    return {one["topic"]: (one["state"], one["reason"]) for one in flow_of(daemon, flow)["mirrors"]}


def two_topics(east: Kafka, west: Kafka, name: str, lab: Lab) -> tuple[Daemon, str, str]:
    """Copy two topics, with a group that has read of both; return the daemon and the topics."""
    moves, stays = f"{name}-moves", f"{name}-stays"
    for topic in (moves, stays):
        create(east, topic, PARTITIONS)
        produce(east, topic, spread(150))
        commit(east, f"{name}-group", topic, dict.fromkeys(range(PARTITIONS), 20))
    daemon = both_ways(lab, east, west, f"{name}-*").start(ready_seconds=0)
    for topic in (moves, stays):
        wait_copied(east, west, topic)
    wait_until("the way back stands by", lambda: "promoted" in str(flow_of(daemon, f"{lab.flow}-back")["reason"]))
    return daemon, moves, stays


@pytest.mark.long
def test_one_topic_there_and_back(east: Kafka, west: Kafka, topic_name: str, lab: Lab) -> None:
    """Under load on the other one; offsets stay the same on both sides of both, and groups follow each its own way."""
    daemon, moves, stays = two_topics(east, west, topic_name, lab)
    group, back = f"{topic_name}-group", f"{lab.flow}-back"
    verb = ("switchover", lab.flow, "--topics", moves, "--producers-stopped", "--reverse", "--yes")
    with Load(east, {stays: PARTITIONS}, per_second=500):
        told = order(daemon, *verb)
        assert f"(only {moves}) is done" in told, told
        assert "consumer groups: 1 exact, 0 not" in told
        assert "already done" in order(daemon, *verb)
        produce(west, moves, spread(90, 1000))
        wait_copied(west, east, moves)
    assert last_switch(daemon, lab.flow)["topics"] == [moves]
    assert flow_of(daemon, lab.flow)["state"] == flow_of(daemon, back)["state"] == "ACTIVE"
    assert states(daemon, lab.flow) == {moves: ("STOPPED", "fenced"), stays: ("ACTIVE", None)}
    assert states(daemon, back) == {moves: ("ACTIVE", None)}
    assert_equal(west, east, moves)
    assert_equal(east, west, stays)

    daemon.kill()
    daemon.start(ready_seconds=0)
    commit(west, group, moves, dict.fromkeys(range(PARTITIONS), 60))
    commit(east, group, stays, dict.fromkeys(range(PARTITIONS), 45))
    wait_until("it follows back", lambda: positions(east, group, moves, PARTITIONS) == [60] * PARTITIONS)
    wait_until("it follows", lambda: positions(west, group, stays, PARTITIONS) == [45] * PARTITIONS)
    assert positions(west, group, moves, PARTITIONS) == [60] * PARTITIONS
    assert positions(east, group, stays, PARTITIONS) == [45] * PARTITIONS

    told = order(daemon, "switchover", back, "--producers-stopped", "--yes", code=3)
    assert f"replicator switchover {back} --topics {moves}" in told, told
    both = ("switchover", lab.flow, "--topics", moves, "--topics", stays, "--producers-stopped", "--yes")
    assert f"--topics {stays}" in order(daemon, *both, code=3)
    told = order(daemon, "switchover", back, "--topics", moves, "--producers-stopped", "--reverse", "--yes")
    assert "nothing is lost" in told, told
    for topic in (moves, stays):
        produce(east, topic, spread(60, 2000))
        wait_copied(east, west, topic)
        assert_equal(east, west, topic)
    wait_until("both are copied", lambda: set(states(daemon, lab.flow).values()) == {("ACTIVE", None)})
    assert flow_of(daemon, back)["state"] == "FENCED"
    assert "stands by" in flow_of(daemon, back)["reason"]

    order(daemon, "switchover", lab.flow, "--producers-stopped", "--reverse", "--yes")
    for topic in (moves, stays):
        produce(west, topic, spread(60, 3000))
        wait_copied(west, east, topic)
        assert_equal(west, east, topic)
    assert states(daemon, lab.flow) == {moves: ("STOPPED", "fenced"), stays: ("STOPPED", "fenced")}


@pytest.mark.long
def test_the_rest_of_a_flow_follows(east: Kafka, west: Kafka, topic_name: str, lab: Lab) -> None:
    """A flow of which one topic is away already is switched as a whole; what was away stays where it is."""
    daemon, moves, stays = two_topics(east, west, topic_name, lab)
    back = f"{lab.flow}-back"
    order(daemon, "switchover", lab.flow, "--topics", moves, "--producers-stopped", "--reverse", "--yes")
    marks = bounds(west, moves)
    order(daemon, "switchover", lab.flow, "--producers-stopped", "--reverse", "--yes")
    assert bounds(west, moves) == marks, "it was fenced a second time"
    for topic in (moves, stays):
        produce(west, topic, spread(60, 1000))
        wait_copied(west, east, topic)
        assert_equal(west, east, topic)
    assert flow_of(daemon, lab.flow)["state"] == "SWITCHED_OVER"
    order(daemon, "switchover", back, "--producers-stopped", "--reverse", "--yes")
    for topic in (moves, stays):
        produce(east, topic, spread(60, 2000))
        wait_copied(east, west, topic)
        assert_equal(east, west, topic)


@pytest.mark.long
def test_one_topic_fails_over_and_back(west: Kafka, topic_name: str, lab: Lab, make_cluster: MakeCluster) -> None:
    """The source dies with records of both; of the one that failed over they are its tail, the other is copied on."""
    source = make_cluster()
    daemon, moves, stays = two_topics(source, west, topic_name, lab)
    daemon.freeze()
    # The fetch that is under way takes this one along: it lies in the daemon's socket, and is copied later.
    produce(source, moves, [{"value": b"kept", "partition": 1}])
    time.sleep(1.0)
    for topic in (moves, stays):
        produce(source, topic, ({"value": b"lost %d" % at, "partition": 1} for at in range(LOST)))
    source.kill()
    daemon.thaw()
    told = order(daemon, "failover", lab.flow, "--topics", moves, "--confirm", lab.flow)
    assert f"(only {moves}) is done" in told, told
    produce(west, moves, spread(30, 1000))
    here = read_all(west, moves)

    source.start()
    wait_until("the tail is measured", lambda: last_switch(daemon, lab.flow)["known_tail"] == LOST, 60)
    assert_equal(source, west, stays)
    told = order(daemon, "failback", lab.flow, "--producers-stopped", "--yes", code=3)
    assert f"replicator failback {lab.flow} --topics {moves}" in told, told
    verb = ("failback", lab.flow, "--topics", moves, "--producers-stopped", "--yes")
    assert f"holds {LOST} offsets that were never copied" in order(daemon, *verb, code=3)
    told = order(daemon, "failback", lab.flow, "--confirm", last_switch(daemon, lab.flow)["confirm"])
    assert "nothing is lost" in told, told
    for topic in (moves, stays):
        produce(source, topic, spread(30, 2000))
        wait_copied(source, west, topic)
        assert_equal(source, west, topic)
    assert {number: some[: len(here[number])] for number, some in read_all(source, moves).items()} == here
    assert set(states(daemon, lab.flow).values()) == {("ACTIVE", None)}


@pytest.mark.long
def test_a_failback_leaves_what_was_switched_alone(east: Kafka, west: Kafka, topic_name: str, lab: Lab) -> None:
    """One topic was switched alone, the rest failed over: only the rest comes back, and both sides are copied."""
    daemon, moves, stays = two_topics(east, west, topic_name, lab)
    back = f"{lab.flow}-back"
    order(daemon, "switchover", lab.flow, "--topics", moves, "--producers-stopped", "--reverse", "--yes")
    order(daemon, "failover", lab.flow, "--confirm", lab.flow)
    produce(west, stays, spread(30, 1000))
    told = order(daemon, "failback", lab.flow, "--producers-stopped", "--dry-run")
    assert f"topics (1): {stays}" in told, told
    assert f"left out: {moves} was switched alone" in told, told
    marks = bounds(west, moves), bounds(east, moves)
    told = order(daemon, "failback", lab.flow, "--producers-stopped", "--yes")
    assert f"left out: {moves} was switched alone" in told, told
    assert (bounds(west, moves), bounds(east, moves)) == marks, "it was fenced"
    produce(west, moves, spread(60, 2000))
    produce(east, stays, spread(60, 3000))
    wait_copied(west, east, moves)
    wait_copied(east, west, stays)
    assert_equal(west, east, moves)
    assert_equal(east, west, stays)
    assert states(daemon, lab.flow) == {moves: ("STOPPED", "fenced"), stays: ("ACTIVE", None)}
    assert states(daemon, back)[moves] == ("ACTIVE", None)

    daemon.kill()
    daemon.start(ready_seconds=0)
    wait_until("it answers", lambda: daemon.cli("switch", "status", back).returncode == 0)
    order(daemon, "switchover", back, "--topics", moves, "--producers-stopped", "--reverse", "--yes")
    for topic in (moves, stays):
        produce(east, topic, spread(60, 4000))
        wait_copied(east, west, topic)
        assert_equal(east, west, topic)
