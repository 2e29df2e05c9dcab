"""`validate --connect` of a flow and its way back: a healthy pair is sound, whichever of the two stands by."""

from __future__ import annotations

import json
import subprocess
from typing import Any

import pytest

from tests.integration.harness import REPLICATOR, Daemon, Lab
from tests.integration.kafka_client import Kafka, create, wait_copied, wait_until
from tests.integration.load import produce
from tests.integration.test_switchover import both_ways, flow_of, order


def failures(daemon: Daemon) -> list[str]:
    """Return what `validate --connect` of the daemon's own file calls a failure."""
    words = [str(REPLICATOR), "validate", str(daemon.file), "--connect", "-o", "json"]
    answer = subprocess.run(words, capture_output=True, text=True, check=False, timeout=120)
    document: dict[str, Any] = json.loads(answer.stdout)
    checks = [check for section in document["connect"]["sections"] for check in section["checks"]]
    found = [f"{check['name']}: {check['text']} | {check['fix']}" for check in checks if check["level"] == "fail"]
    assert (answer.returncode == 0) == (not found), answer.stdout + answer.stderr
    return found


@pytest.mark.long
def test_a_healthy_pair_is_sound(east: Kafka, west: Kafka, topic_name: str, lab: Lab) -> None:
    """Before a switch, after it, and after the switch back; also with topics that came since the last one."""
    create(east, topic_name)
    produce(east, topic_name, [{"value": b"1"}])
    daemon = both_ways(lab, east, west, topic_name)
    back = f"{lab.flow}-back"
    for flow in daemon.document["flows"].values():
        flow["topics"] = {"include": [{"prefix": topic_name}]}
    daemon.write()
    daemon.start(ready_seconds=0)
    wait_copied(east, west, topic_name)
    wait_until("the way back stands by", lambda: "promoted" in str(flow_of(daemon, back)["reason"]))
    assert failures(daemon) == []

    order(daemon, "switchover", lab.flow, "--producers-stopped", "--reverse", "--yes")
    since = f"{topic_name}-since"
    create(west, since)
    produce(west, since, [{"value": b"2"}])
    wait_copied(west, east, since)
    assert failures(daemon) == []

    order(daemon, "switchover", back, "--producers-stopped", "--reverse", "--yes")
    again = f"{topic_name}-again"
    create(east, again)
    for topic in (topic_name, since, again):
        produce(east, topic, [{"value": b"3"}])
        wait_copied(east, west, topic)
    assert failures(daemon) == []
    assert {str(mirror["reason"]) for mirror in flow_of(daemon, lab.flow)["mirrors"]} == {"None"}
