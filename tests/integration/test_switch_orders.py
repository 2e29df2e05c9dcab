"""Orders that must not be taken, and what is left out of those that are."""

from __future__ import annotations

import pytest

from tests.integration.harness import Lab
from tests.integration.kafka_client import Kafka, assert_equal, bounds, create, delete, wait_copied, wait_until
from tests.integration.load import produce
from tests.integration.test_switchover import PARTITIONS, both_ways, flow_of, last_switch, order, spread


@pytest.mark.long
def test_a_failback_of_the_wrong_flow(east: Kafka, west: Kafka, topic_name: str, lab: Lab) -> None:
    """The way back stands by, and was never begun: nothing is to come back by it, and the open side stays open."""
    create(east, topic_name, PARTITIONS)
    produce(east, topic_name, spread(90))
    back = f"{lab.flow}-back"
    daemon = both_ways(lab, east, west, topic_name).start(ready_seconds=0)
    wait_copied(east, west, topic_name)
    wait_until("the way back stands by", lambda: "promoted" in str(flow_of(daemon, back)["reason"]))
    order(daemon, "switchover", lab.flow, "--producers-stopped", "--yes")
    told = order(daemon, "failback", back, "--producers-stopped", "--yes", code=3)
    assert f"replicator failback {lab.flow}" in told, told
    assert "was never started" in order(daemon, "failover", back, "--confirm", back, code=3)
    assert flow_of(daemon, lab.flow)["state"] == "SWITCHED_OVER"
    produce(west, topic_name, spread(60, 1000))
    order(daemon, "failback", lab.flow, "--producers-stopped", "--yes")
    produce(east, topic_name, spread(60, 2000))
    wait_copied(east, west, topic_name)
    assert_equal(east, west, topic_name)


@pytest.mark.long
def test_a_mirror_that_is_gone_is_left_to_the_operator(east: Kafka, west: Kafka, topic_name: str, lab: Lab) -> None:
    """What is recorded of it can be removed, and of the flow, once nobody copies them; the copies stay."""
    stays, gone = f"{topic_name}-stays", f"{topic_name}-gone"
    for topic in (stays, gone):
        create(east, topic, PARTITIONS)
        produce(east, topic, spread(90))
    daemon = both_ways(lab, east, west, f"{topic_name}-*").start(ready_seconds=0)
    for topic in (stays, gone):
        wait_copied(east, west, topic)
    there = bounds(west, gone)
    assert "selects" in order(daemon, "mirror", "forget", lab.flow, gone, "--yes", code=3)
    delete(east, gone)
    daemon.wait_state(gone, "FAULTED", "source_missing")
    assert f"stays: topic {gone} on west" in order(daemon, "mirror", "forget", lab.flow, gone, "--dry-run")
    assert daemon.mirror(gone)
    assert "forgotten" in order(daemon, "mirror", "forget", lab.flow, gone, "--yes")
    wait_until("it is not shown any more", lambda: not daemon.mirror(gone))
    assert "already forgotten" in order(daemon, "mirror", "forget", lab.flow, gone, "--yes")
    assert bounds(west, gone) == there
    produce(east, stays, spread(30, 1000))
    wait_copied(east, west, stays)

    assert "this daemon runs flow" in order(daemon, "flow", "forget", lab.flow, "--yes", code=3)
    assert daemon.stop() == 0
    daemon.document["flows"][f"{lab.flow}-new"] = daemon.document["flows"].pop(lab.flow) | {
        "topics": {"include": [f"{topic_name}-new-*"]}
    }
    del daemon.document["flows"][f"{lab.flow}-back"]
    daemon.write()
    daemon.start(ready_seconds=0)
    wait_until("it answers", lambda: daemon.cli("flow", "list").returncode == 0)
    told = order(daemon, "flow", "forget", lab.flow, "--yes")
    assert f"topics on west, with their records and settings: {stays}" in told, told
    assert "already forgotten" in order(daemon, "flow", "forget", lab.flow, "--yes")
    assert bounds(west, gone) == there


@pytest.mark.long
def test_a_topic_that_is_gone_is_left_out(east: Kafka, west: Kafka, topic_name: str, lab: Lab) -> None:
    """Deleted on the source, or taken out of the file: told, and the rest is switched, there and back."""
    stays, gone, dropped = (f"{topic_name}-{end}" for end in ("stays", "gone", "dropped"))
    for topic in (stays, gone, dropped):
        create(east, topic, PARTITIONS)
        produce(east, topic, spread(90))
    daemon = both_ways(lab, east, west, f"{topic_name}-*").start(ready_seconds=0)
    for topic in (stays, gone, dropped):
        wait_copied(east, west, topic)
    delete(east, gone)
    for name in (lab.flow, f"{lab.flow}-back"):
        daemon.document["flows"][name]["topics"] = {"include": [f"{topic_name}-*"], "exclude": [dropped]}
    daemon.write()
    daemon.stop()
    daemon.start(ready_seconds=0)
    wait_until("both flows are up", lambda: "promoted" in str(flow_of(daemon, f"{lab.flow}-back")["reason"]))
    told = daemon.cli("failover", lab.flow, "--rehearse").stdout
    assert f"{gone} was deleted on the source: a switchover leaves it out" in " ".join(told.split()), told
    verb = ("switchover", lab.flow, "--producers-stopped", "--reverse")
    told = order(daemon, *verb, "--dry-run")
    assert f"topics (1): {stays}" in told, told
    assert f"left out: {gone} was deleted on its source" in told, told
    assert f"left out: {dropped} is no longer selected by the flow" in told, told
    assert "nothing is lost" in order(daemon, *verb, "--yes")
    assert {one["topic"] for one in last_switch(daemon, lab.flow)["left_out"]} == {gone, dropped}
    produce(west, stays, spread(60, 1000))
    wait_copied(west, east, stays)
    assert_equal(west, east, stays)
    order(daemon, "failback", lab.flow, "--producers-stopped", "--yes")
    produce(east, stays, spread(60, 2000))
    produce(east, dropped, spread(60, 2000))
    wait_copied(east, west, stays)
    assert_equal(east, west, stays)
    # What was left out is copied on from where it stood, should it be wanted again.
    for name in (lab.flow, f"{lab.flow}-back"):
        daemon.document["flows"][name]["topics"] = {"include": [f"{topic_name}-*"]}
    daemon.write()
    daemon.stop()
    daemon.start(ready_seconds=0)
    wait_copied(east, west, dropped)
    assert_equal(east, west, dropped)
