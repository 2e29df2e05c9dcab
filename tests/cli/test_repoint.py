"""`flow repoint`: told first, asked, done, and waited for."""

from __future__ import annotations

import json

from replicator.errors import PreflightFailed, UsageError
from tests.cli.conftest import Run
from tests.unit.rpc.fake_daemon import FakeDaemon

FLOW = "east-to-west"


def test_a_flow_is_moved(run: Run, daemon: FakeDaemon) -> None:
    """What goes on, what does not and why is told before anybody agrees."""
    told = run("flow", "repoint", FLOW, "--from", "north", "--dry-run").out
    assert "from east to north: 5 partitions go on in place, 1,200 offsets to copy" in told
    assert "orders-1 differs from north: it stops (content_mismatch); it ends at 80, north's log at 100; " in told
    assert "they differ from offset 70 on (ours: 2023-11-14T22:13:20.000+00:00, there: no record)" in told
    assert "orders-2 was not compared: its leader does not answer" in told
    assert "and 1 more" in told
    assert run("flow", "repoint", FLOW, "--from", "north").code == PreflightFailed.exit_code
    assert daemon.repointed == []
    assert f"{FLOW}: ordered" in run("flow", "repoint", FLOW, "--from", "north", "--yes", "--reason", "lost").out
    assert daemon.repointed == [(FLOW, "north")]
    entry = daemon.audit.entries[-1]
    assert (entry.method, entry.reason, entry.after) == ("Repoint", "lost", "from east to north: ordered")


def test_the_plan_as_json(run: Run, daemon: FakeDaemon) -> None:
    """With every number."""
    document = json.loads(run("flow", "repoint", FLOW, "--from", "north", "--dry-run", "-o", "json").out)
    assert (document["status"], document["goes_on"], document["to_copy"], document["stopped_count"]) == (
        "would_move",
        5,
        1200,
        3,
    )
    assert document["stopped"][0]["difference"] == {"offset": 70, "ours_ms": 1_700_000_000_000, "theirs_ms": None}
    assert daemon.repointed == []


def test_a_refusal_is_told(run: Run, daemon: FakeDaemon) -> None:
    """With the next step; and an impossible duration before anything is asked."""
    daemon.refuse = PreflightFailed("it does not copy", next_step="replicator failback")
    assert run("flow", "repoint", FLOW, "--from", "north", "--yes").code == PreflightFailed.exit_code
    assert run("flow", "repoint", FLOW, "--from", "north", "--timeout", "soon").code == UsageError.exit_code
