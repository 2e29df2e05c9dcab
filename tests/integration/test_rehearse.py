"""`failover --rehearse` on real clusters: what it says of a flow that is well, and of one whose source is gone."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from tests.integration.conftest import MakeCluster
from tests.integration.harness import Daemon, Lab
from tests.integration.kafka_client import Kafka, bounds, create, wait_until
from tests.integration.load import Load


def findings(daemon: Daemon, *, code: int) -> dict[str, list[dict[str, Any]]]:
    """Return what the rehearsal finds, by name."""
    answer = daemon.cli("failover", "--rehearse", daemon.flow_name, "-o", "json")
    assert answer.returncode == code, answer.stdout + answer.stderr
    found: dict[str, list[dict[str, Any]]] = {}
    for check in json.loads(answer.stdout)["sections"][0]["checks"]:
        found.setdefault(check["name"], []).append(check)
    return found


def test_a_flow_that_is_well(east: Kafka, west: Kafka, topic_name: str, lab: Lab) -> None:
    """Nothing is red; the clusters' clocks are read, and are this machine's; and nothing was changed."""
    create(east, topic_name, 3)
    daemon = lab.daemon(east, west, topic_name, replication_factor=3).start()
    with Load(east, {topic_name: 3}, per_second=500):
        time.sleep(1.0)
    wait_until("it is level", lambda: daemon.flow()["lag_records"] == 0)
    before = bounds(west, topic_name)
    found = findings(daemon, code=0)
    assert all(check["level"] != "fail" for checks in found.values() for check in checks), found
    for name in ("reachable", "cluster id", "leases", "mirrors", "lag", "transactions", "replicas", "fence", "clocks"):
        assert [check["level"] for check in found[name]] == ["ok"] * len(found[name]), found[name]
    assert "agree with this machine's within 0." in found["clocks"][0]["text"]
    assert bounds(west, topic_name) == before
    text = daemon.cli("failover", "--rehearse", daemon.flow_name).stdout
    assert "passed" in text


@pytest.mark.long
def test_the_source_is_gone(make_cluster: MakeCluster, west: Kafka, topic_name: str, lab: Lab) -> None:
    """It is yellow, and how much data is at risk grows to red."""
    source = make_cluster()
    create(source, topic_name, 1)
    daemon = lab.daemon(source, west, topic_name, replication_factor=1, objectives={"rpo": "5s"}).start()
    daemon.wait_state(topic_name, "ACTIVE")
    source.kill()
    time.sleep(6.0)
    found = findings(daemon, code=3)
    assert [check["level"] for check in found["rpo"]] == ["fail"]
    assert sorted(check["level"] for check in found["reachable"]) == ["ok", "warn"]
