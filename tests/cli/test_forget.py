"""`mirror forget` and `flow forget`: told first, asked, done once."""

from __future__ import annotations

import json

from replicator.errors import PreflightFailed
from tests.cli.conftest import Run
from tests.unit.rpc.fake_daemon import FakeDaemon

FLOW = "east-to-west"


def test_a_mirror_is_forgotten_once(run: Run, daemon: FakeDaemon) -> None:
    """What is removed and what stays is told before anybody agrees; the second time there is nothing to do."""
    told = run("mirror", "forget", FLOW, "orders", "--dry-run")
    assert "would be removed from replicator.state, 3 records: mirrors (1), offset maps (2)" in told.out
    assert "stays: topic orders on west, with its records and settings" in told.out
    assert run("mirror", "forget", FLOW, "orders").code == PreflightFailed.exit_code
    assert daemon.forgotten == []
    assert "orders: forgotten" in run("mirror", "forget", FLOW, "orders", "--yes", "--reason", "gone").out
    assert daemon.forgotten == [(FLOW, "orders")]
    assert "orders: already forgotten, or never known" in run("mirror", "forget", FLOW, "orders", "--yes").out
    entry = daemon.audit.entries[-1]
    assert (entry.method, entry.topic, entry.reason, entry.after) == ("Forget", "orders", "gone", "3 records removed")


def test_a_flow_is_forgotten(run: Run, daemon: FakeDaemon) -> None:
    """All of it, by its name."""
    document = json.loads(run("flow", "forget", "old", "--yes", "-o", "json").out)
    assert (document["status"], document["records"], document["topic"]) == ("forgotten", 3, None)
    assert daemon.forgotten == [("old", None)]
    daemon.refuse = PreflightFailed("this daemon runs it")
    assert run("flow", "forget", "old", "--yes").code == PreflightFailed.exit_code
