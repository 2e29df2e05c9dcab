"""A flow changes to its other region and back: nothing lost, nothing doubled, groups exact."""

from __future__ import annotations

import json
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.integration.group_tools import positions
from tests.integration.harness import Daemon, Lab
from tests.integration.kafka_client import (
    Kafka,
    assert_equal,
    bounds,
    commit,
    config_of,
    create,
    read_all,
    wait_copied,
    wait_until,
)
from tests.integration.load import produce

PARTITIONS = 3


def both_ways(lab: Lab, east: Kafka, west: Kafka, topic: str, **flow: Any) -> Daemon:
    """Make a daemon that runs a flow and its way back."""
    daemon = lab.daemon(east, west, topic, replication_factor=1, **flow)
    # It is copied to as well: what a killed daemon may have sent there is waited out shortly, too.
    daemon.document["clusters"]["east"] |= {"client": daemon.document["clusters"]["west"]["client"]}
    forth = dict(daemon.document["flows"][lab.flow])
    daemon.document["flows"][f"{lab.flow}-back"] = forth | {"from": "west", "to": "east", "reverse_of": lab.flow}
    daemon.write()
    return daemon


def beside(daemon: Daemon, lab: Lab) -> Daemon:
    """Start a second daemon of the same flows, with a coordinator and a store of its own."""
    second = lab.daemon({}, {})
    second.document |= {name: daemon.document[name] for name in ("clusters", "flows")}
    second.write()
    second.start(ready_seconds=0)
    wait_until("it answers", lambda: second.cli("switch", "status", lab.flow).returncode == 0)
    return second


def spread(count: int, first: int = 0) -> Iterable[dict[str, Any]]:
    """Return numbered records, the same number for each partition."""
    return ({"value": b"%d" % at, "partition": at % PARTITIONS} for at in range(first, first + count))


def flow_of(daemon: Daemon, name: str) -> dict[str, Any]:
    """Return the status of one of several flows."""
    return next(flow for flow in daemon.status()["flows"] if flow["flow"] == name)


def last_switch(daemon: Daemon, flow: str) -> dict[str, Any]:
    """Return the last switch of a flow as the command line prints it."""
    answer = daemon.cli("switch", "status", flow, "-o", "json")
    assert answer.returncode == 0, answer.stderr
    return dict(json.loads(answer.stdout)["switch"])


def _reasons(daemon: Daemon, flow: str) -> set[str]:
    return {str(mirror["reason"]) for mirror in flow_of(daemon, flow)["mirrors"]}


def order(daemon: Daemon, *words: str, code: int = 0) -> str:
    """Give an order on the command line, and return what it said."""
    answer = daemon.cli(*words, seconds=180)
    assert answer.returncode == code, answer.stdout + answer.stderr + daemon.log_tail()
    return answer.stdout + answer.stderr


def at_once(daemons: Iterable[Daemon], *words: str) -> list[tuple[int, str]]:
    """Give an order to several daemons at once; return the exit code of each, and what it said."""
    with ThreadPoolExecutor() as pool:
        answers = list(pool.map(lambda daemon: daemon.cli(*words, seconds=120), daemons))
    return [(one.returncode, one.stdout + one.stderr) for one in answers]


def switches(daemon: Daemon, flow: str, verb: str) -> list[str]:
    """Return the ids of a flow's switches of one kind, newest last."""
    found = json.loads(daemon.cli("switch", "history", flow, "-o", "json").stdout)["switches"]
    return [one["id"] for one in found if one["verb"] == verb]


def test_there_and_back(east: Kafka, west: Kafka, topic_name: str, lab: Lab) -> None:
    """By three commands, each of them twice; offsets stay the same on both sides all the way."""
    create(east, topic_name, PARTITIONS)
    produce(east, topic_name, spread(300))
    commit(east, f"{topic_name}-group", topic_name, dict.fromkeys(range(PARTITIONS), 40))
    daemon = both_ways(lab, east, west, topic_name).start(ready_seconds=0)
    wait_copied(east, west, topic_name)
    wait_until("the way back stands by", lambda: "promoted" in str(flow_of(daemon, f"{lab.flow}-back")["reason"]))
    ends = bounds(east, topic_name)

    told = order(daemon, "switchover", lab.flow, "--producers-stopped", "--reverse", "--dry-run")
    assert "abort" in told
    assert bounds(east, topic_name) == ends
    verb = ("switchover", lab.flow, "--producers-stopped", "--reverse", "--yes", "--reason", "drill")
    told = order(daemon, *verb)
    assert "nothing is lost" in told, told
    assert "consumer groups: 1 exact, 0 not" in told
    assert "already done" in order(daemon, *verb)
    switch = last_switch(daemon, lab.flow)
    assert (switch["outcome"], switch["reason"], switch["known_loss"]) == ("done", "drill", 0)
    assert flow_of(daemon, lab.flow)["state"] == "SWITCHED_OVER"
    assert {number: (start, end + 1) for number, (start, end) in ends.items()} == bounds(west, topic_name)
    assert positions(west, f"{topic_name}-group", topic_name, PARTITIONS) == [40] * PARTITIONS

    produce(west, topic_name, spread(200, 300))
    commit(west, f"{topic_name}-group", topic_name, dict.fromkeys(range(PARTITIONS), 60))
    wait_copied(west, east, topic_name)
    assert_equal(west, east, topic_name)
    back = f"{lab.flow}-back"
    group = f"{topic_name}-group"
    wait_until("the group follows", lambda: positions(east, group, topic_name, PARTITIONS) == [60] * PARTITIONS)
    told = order(daemon, "switchover", back, "--producers-stopped", "--reverse", "--yes")
    assert "nothing is lost" in told
    assert flow_of(daemon, back)["state"] == "SWITCHED_OVER"

    produce(east, topic_name, spread(100, 500))
    wait_copied(east, west, topic_name)
    assert_equal(east, west, topic_name)
    assert flow_of(daemon, lab.flow)["state"] == "ACTIVE"
    assert sum(len(records) for records in read_all(west, topic_name).values()) == 600
    daemon.stop()
    daemon.start(ready_seconds=0)
    wait_until("it is shown after a restart, too", lambda: _reasons(daemon, back) == {"fenced"})
    history = json.loads(daemon.cli("switch", "history", lab.flow, "-o", "json").stdout)["switches"]
    assert [one["verb"] for one in history] == ["switchover"]


@pytest.mark.long
def test_settings_that_were_held_back(east: Kafka, west: Kafka, topic_name: str, lab: Lab) -> None:
    """The type of record times, limits and the codec are the source's own again once the target is open."""
    own = {"message.timestamp.type": "LogAppendTime", "compression.type": "lz4", "retention.ms": "900000"}
    create(east, topic_name, 1, 1, **own)
    produce(east, topic_name, ({"value": b"%d" % at, "partition": 0} for at in range(30)))
    daemon = both_ways(lab, east, west, topic_name).start(ready_seconds=0)
    wait_copied(east, west, topic_name)
    assert config_of(west, topic_name)["message.timestamp.type"] == "CreateTime"
    order(daemon, "switchover", lab.flow, "--producers-stopped", "--reverse", "--yes")
    opened = config_of(west, topic_name)
    assert {name: opened[name] for name in own} == own
    assert "message.timestamp.before.max.ms" not in opened
    wait_until("the old source is a mirror", lambda: config_of(east, topic_name).get("compression.type") == "producer")
    produce(west, topic_name, ({"value": b"%d" % at, "partition": 0} for at in range(30, 60)))
    wait_copied(west, east, topic_name)
    # The type that a reader is told follows the topic's setting; the times themselves are the same.
    there, here = read_all(west, topic_name)[0], read_all(east, topic_name)[0]
    assert [(one.offset, one.timestamp, one.value) for one in there] == [
        (one.offset, one.timestamp, one.value) for one in here
    ]


@pytest.mark.long
def test_a_daemon_on_each_site(east: Kafka, west: Kafka, topic_name: str, lab: Lab) -> None:
    """Each runs the flow to its own cluster: the other one follows what was ordered here, and the way back."""
    create(east, topic_name, PARTITIONS)
    produce(east, topic_name, spread(90))
    here = both_ways(lab, east, west, topic_name)
    there = lab.daemon(east, west, topic_name)
    there.document["flows"], there.document["clusters"] = here.document["flows"], here.document["clusters"]
    for daemon, site in ((here, "west"), (there, "east")):
        daemon.document["daemon"] |= {"site": site}
        daemon.write()
        daemon.start(ready_seconds=0)
    wait_copied(east, west, topic_name)
    told = order(here, "switchover", lab.flow, "--producers-stopped", "--reverse", "--yes")
    assert "west is open, and the other side follows" in told, told
    produce(west, topic_name, spread(30, 100))
    wait_copied(west, east, topic_name)
    assert_equal(west, east, topic_name)

    back = f"{lab.flow}-back"
    told = order(here, "failback", lab.flow, "--producers-stopped", "--yes")
    # What the other daemon does is told by the one that was asked, up to the end: applications may start now.
    assert f"of {back} is done" in told, told
    assert "east is open, and the other side follows" in told, told
    assert last_switch(there, back)["outcome"] == "done"
    assert flow_of(there, back)["state"] == "SWITCHED_OVER"
    assert last_switch(there, back)["known_loss"] == 0
    produce(east, topic_name, spread(30, 200))
    wait_copied(east, west, topic_name)
    assert_equal(east, west, topic_name)
    assert flow_of(here, lab.flow)["state"] == "ACTIVE"
