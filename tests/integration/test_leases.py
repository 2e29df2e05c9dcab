"""Several daemons share a flow under one coordinator: hand-overs, kills, frozen processes, a coordinator that dies."""

from __future__ import annotations

import json
import time
from functools import partial
from typing import Any

import pytest

from tests.integration.group_tools import positions
from tests.integration.harness import Daemon, Lab
from tests.integration.kafka_client import Kafka, assert_equal, bounds, commit, create, read_all, wait_until
from tests.integration.load import Load

PARTITIONS = 6
SHARDS = 4
TTL_SECONDS = 3.0
"""As `Lab.daemon` sets it."""
_FOLLOW_SECONDS = TTL_SECONDS + 2.0
_SLOW_MACHINE_SECONDS = 20.0


def team(east: Kafka, west: Kafka, topic: str, lab: Lab, count: int = 2) -> tuple[Daemon, list[Daemon]]:
    """Start a coordinator and daemons that ask it."""
    create(east, topic, PARTITIONS)
    daemons = [lab.daemon(east, west, topic, replication_factor=1, shards=SHARDS) for _ in range(count)]
    coordinator = lab.coordinator(daemons[0]).start()
    for daemon in daemons:
        daemon.document["coordinator"] |= {"endpoints": [coordinator.rpc]}
        daemon.write()
        daemon.start()
    return coordinator, daemons


def leases(coordinator: Daemon) -> dict[str, Any]:
    """Return the leases of the one flow, as the command line prints them; empty while there is none."""
    answer = coordinator.cli("lease", "list", "-o", "json")
    assert answer.returncode == 0, answer.stderr
    flows = json.loads(answer.stdout)["flows"]
    return dict(flows[0]) if flows else {}


def shares(coordinator: Daemon) -> dict[str, int]:
    """Return how many shards each daemon holds."""
    table = leases(coordinator)
    held = [lease["holder"] for lease in table.get("leases", []) if lease["holder"]]
    return {member["instance"]: held.count(member["instance"]) for member in table.get("members", [])}


def is_even(coordinator: Daemon, daemons: int) -> bool:
    """Return whether that many daemons hold all shards, evenly."""
    found = shares(coordinator)
    return len(found) == daemons and sum(found.values()) == SHARDS and max(found.values()) - min(found.values()) <= 1


def copied_by(daemon: Daemon, topic: str) -> set[int]:
    """Return the partitions that this daemon copies itself."""
    mirror = daemon.mirror(topic)
    return {
        partition["partition"]
        for partition in mirror.get("partitions", [])
        if partition["state"] == "ACTIVE" and partition["reason"] != "held_elsewhere"
    }


def assert_whole(daemon: Daemon, topic: str) -> None:
    """Check that any daemon tells of all partitions, and translates offsets of each."""
    answer = daemon.cli("flow", "status", "-o", "json")
    assert answer.returncode == 0, answer.stderr
    [mirror] = json.loads(answer.stdout)["flows"][0]["mirrors"]
    assert [one["partition"] for one in mirror["partitions"]] == list(range(PARTITIONS))
    assert all(one["reason"] is None and one["source_end"] is not None for one in mirror["partitions"]), mirror
    assert len({one["holder"] for one in mirror["partitions"]}) == 2
    for partition in range(PARTITIONS):
        place = ("--topic", topic, "--partition", str(partition), "--offset", "1")
        answer = daemon.cli("offsets", "translate", daemon.flow_name, *place, "-o", "json")
        assert answer.returncode == 0, answer.stdout + answer.stderr


def wait_alone(daemon: Daemon, topic: str) -> float:
    """Wait until a daemon copies every partition; return how long it took."""
    began = time.monotonic()
    wait_until(
        "it copies everything",
        lambda: copied_by(daemon, topic) == set(range(PARTITIONS)),
        _FOLLOW_SECONDS + _SLOW_MACHINE_SECONDS,
        0.05,
    )
    return time.monotonic() - began


@pytest.mark.long
def test_a_flow_is_shared_and_handed_over(
    east: Kafka, west: Kafka, topic_name: str, lab: Lab, record_testsuite_property: Any
) -> None:
    """Evenly; on SIGTERM the other one takes over at once, after SIGKILL within a TTL; nothing is doubled or lost."""
    coordinator, (one, two) = team(east, west, topic_name, lab)
    with Load(east, {topic_name: PARTITIONS}, per_second=3000) as load:
        wait_until("the load is spread", lambda: is_even(coordinator, 2), 60.0)
        wait_until(
            "each copies its part",
            lambda: (
                copied_by(one, topic_name) | copied_by(two, topic_name) == set(range(PARTITIONS))
                and not copied_by(one, topic_name) & copied_by(two, topic_name)
            ),
        )
        assert_whole(one, topic_name)
        placed = {number: 5 + number for number in range(PARTITIONS)}
        commit(east, topic_name, topic_name, placed)
        wait_until(
            "a group follows over the partitions of both",
            lambda: positions(west, topic_name, topic_name, PARTITIONS) == list(placed.values()),
        )
        assert one.stop() == 0
        record_testsuite_property("handed_over_seconds", wait_alone(two, topic_name))
        one.start()
        wait_until("the load is spread again", lambda: is_even(coordinator, 2), 60.0)
        two.kill()
        record_testsuite_property("taken_over_seconds", wait_alone(one, topic_name))
    load.check(topic_name, assert_equal(east, west, topic_name))
    one.stop()
    wait_until("nobody is left", lambda: not leases(coordinator)["members"], 20.0)


@pytest.mark.long
def test_the_coordinator_dies(east: Kafka, west: Kafka, topic_name: str, lab: Lab) -> None:
    """Copying goes on and says so; a daemon that dies meanwhile is followed all the same."""
    coordinator, (one, two) = team(east, west, topic_name, lab)
    with Load(east, {topic_name: PARTITIONS}, per_second=2000) as load:
        wait_until("the load is spread", lambda: is_even(coordinator, 2), 60.0)
        coordinator.kill()
        wait_until("it is said", lambda: "no coordinator answers" in str(one.flow()["reason"]), 30.0)
        before = one.metric("replicator_records_total")
        time.sleep(2 * TTL_SECONDS)
        wait_until("it goes on", lambda: one.metric("replicator_records_total") > before)
        two.kill()
        wait_alone(one, topic_name)
        coordinator.start()
        wait_until("it is found again", lambda: one.flow()["reason"] is None, 30.0)
        wait_until("it is told who holds what", lambda: list(shares(coordinator).values()) == [SHARDS], 30.0)
    load.check(topic_name, assert_equal(east, west, topic_name))


@pytest.mark.long
def test_a_frozen_daemon_comes_back(east: Kafka, west: Kafka, topic_name: str, lab: Lab) -> None:
    """Both hold what the frozen one held, for a moment, three times: nothing is doubled."""
    coordinator, (one, two) = team(east, west, topic_name, lab)
    with Load(east, {topic_name: PARTITIONS}, per_second=6000) as load:
        for frozen, other in ((one, two), (two, one), (one, two)):
            wait_until("the load is spread", lambda: is_even(coordinator, 2), 60.0)
            frozen.freeze()
            wait_alone(other, topic_name)
            time.sleep(1.0)
            frozen.thaw()
    load.check(topic_name, assert_equal(east, west, topic_name))


@pytest.mark.long
@pytest.mark.timeout(300)
def test_another_number_of_shards(east: Kafka, west: Kafka, topic_name: str, lab: Lab) -> None:
    """A daemon with another number waits, and says for what; it goes on once nobody else can have an effect."""
    create(east, topic_name, PARTITIONS)
    one = lab.daemon(east, west, topic_name, replication_factor=1, shards=2)
    two = lab.daemon(east, west, topic_name, replication_factor=1, shards=3)
    with Load(east, {topic_name: PARTITIONS}, per_second=2000) as load:
        one.start()
        one.wait_state(topic_name, "ACTIVE")
        two.start(ready_seconds=0)
        wait_until("it says what it waits for", lambda: "with 2 shards, this file says 3" in str(two.flow()["reason"]))
        assert copied_by(one, topic_name) == set(range(PARTITIONS))
        assert one.stop() == 0
        wait_alone(two, topic_name)
        two.kill()
        one.start(ready_seconds=0)  # killed: its last signs have to be waited out
        wait_until("it waits again", lambda: "with 3 shards, this file says 2" in str(one.flow()["reason"]))
        wait_until("it goes on", lambda: copied_by(one, topic_name) == set(range(PARTITIONS)), 120.0)
    load.check(topic_name, assert_equal(east, west, topic_name))


def _says(daemon: Daemon, words: str) -> bool:
    """Return whether the status of a daemon's flow says so."""
    return words in str(daemon.flow()["reason"])


@pytest.mark.long
def test_the_daemon_that_coordinates_is_frozen(east: Kafka, west: Kafka, topic_name: str, lab: Lab) -> None:
    """The others go on with what they hold, and say so; each ends in time; what the frozen one held waits for it."""
    create(east, topic_name, PARTITIONS)
    daemons = [lab.daemon(east, west, topic_name, replication_factor=1, shards=SHARDS) for _ in range(3)]
    first, *others = daemons
    for daemon in daemons:  # all of one file: the one that is named is the coordinator
        daemon.document["coordinator"] |= {"endpoints": [first.rpc]}
        daemon.write()
        daemon.start()
    with Load(east, {topic_name: PARTITIONS}, per_second=200) as load:
        wait_until("the load is spread", lambda: is_even(first, 3), 60.0)
        wait_until("everybody copies", lambda: all(copied_by(daemon, topic_name) for daemon in daemons))
        first.freeze()
        for other in others:
            said = partial(_says, other, "no coordinator answers")
            wait_until("it is said", said, 60.0)
        theirs = copied_by(others[0], topic_name) | copied_by(others[1], topic_name)
        assert theirs
        ends = bounds(west, topic_name)
        for number in theirs:
            wait_until(
                "what the others hold goes on",
                lambda number=number: bounds(west, topic_name)[number][1] > ends[number][1],  # type: ignore[misc]
            )
        for other in others:
            began = time.monotonic()
            other.process.terminate()
            other.process.wait(60.0)
            print(f"ended by SIGTERM after {time.monotonic() - began:.1f} s with {other.process.returncode}")  # noqa: T201
        first.thaw()
        wait_alone(first, topic_name)
    assert_equal(east, west, topic_name)
    load.check(topic_name, read_all(west, topic_name))
