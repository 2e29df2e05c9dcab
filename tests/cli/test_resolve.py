"""`mirror resolve`: what it costs is told first, and exactly what was told is ordered."""

from __future__ import annotations

import json
import time
from dataclasses import replace

import pytest

from replicator.errors import PreflightFailed, TimedOut, UsageError
from replicator.model.operations.resolution import How
from replicator.model.status.states import MirrorState
from tests.cli.conftest import Run
from tests.unit.rpc.fake_daemon import FakeDaemon
from tests.unit.rpc.samples import SKIPPED

AUDIT = ("mirror", "resolve", "east-to-west", "audit-2026", "--how", "skip")
TOLD = """\
overtaken_by_retention, resolved by skip:
  1. audit-2026-0 goes on at the source's offset 900: 400 offsets are given up
PARTITION  FROM   TO  OFFSETS  LOSS
        0   500  900      400  the source's records, deleted by retention before they were copied
"""


def test_a_dry_run_tells_and_orders_nothing(run: Run, daemon: FakeDaemon) -> None:
    """Losses in offsets, and what would be done."""
    assert run(*AUDIT, "--dry-run") == (0, f"{TOLD}audit-2026: would resolve\n", "")
    assert not daemon.resolved


def test_nobody_to_ask_is_no_consent(run: Run, daemon: FakeDaemon) -> None:
    """Without a terminal only --yes orders it."""
    refused = run(*AUDIT)

    assert refused.code == PreflightFailed.exit_code
    assert "--yes" in refused.err
    assert not daemon.resolved


def test_what_was_told_is_what_is_ordered(run: Run, daemon: FakeDaemon) -> None:
    """The digest of the plan goes along, with who wants it and why."""
    done = run(*AUDIT, "--yes", "--reason", "ticket 7", "-p", "0")

    assert done == (0, f"{TOLD}audit-2026: resolved\n", "")
    ((flow, order),) = daemon.resolved
    assert (flow, order.how, order.partitions) == ("east-to-west", How.SKIP, (0,))
    assert (order.digest, order.why) == (SKIPPED.digest, "ticket 7")
    assert order.actor


@pytest.mark.usefixtures("daemon")
def test_a_repeated_command_does_nothing(run: Run) -> None:
    """Nothing stands still any more: said so, with exit status 0."""
    done = run("mirror", "resolve", "east-to-west", "orders.eu", "--how", "skip", "--yes", "-o", "json")

    assert done.code == 0
    assert json.loads(done.out)["status"] == "already_resolved"


@pytest.mark.usefixtures("daemon")
def test_json_names_each_loss(run: Run) -> None:
    """Field by field."""
    found = json.loads(run(*AUDIT, "--dry-run", "-o", "json").out)

    assert found["schema_version"] == 1
    assert (found["status"], found["reasons"]) == ("would_resolve", ["overtaken_by_retention"])
    assert found["losses"] == [{"partition": 0, "first": 500, "end": 900, "text": SKIPPED.losses[0].text}]


@pytest.mark.usefixtures("daemon")
def test_a_topic_that_is_not_mirrored_is_named(run: Run) -> None:
    """With the nearest one."""
    refused = run("mirror", "resolve", "east-to-west", "audit-2025", "--how", "skip", "--yes")

    assert refused.code == 2
    assert "audit-2026" in refused.err


def test_a_pattern_means_all_that_stand_still(run: Run, daemon: FakeDaemon) -> None:
    """Each is told and ordered by itself; what is not resolved like this is named, and holds back no other."""
    words = ("mirror", "resolve", "east-to-west", "*", "--how", "skip")
    still = [mirror.topic for mirror in daemon.status.flows[0].mirrors if mirror.state is MirrorState.FAULTED]
    told = run(*words, "--dry-run")
    assert told.code == 0, told.err
    assert all(f"{topic}: would resolve" in told.out for topic in still)
    assert not daemon.resolved
    assert run(*words).code == PreflightFailed.exit_code, "nobody to ask"
    rows = json.loads(run(*words, "--dry-run", "-o", "json").out)["topics"]
    assert [(row["topic"], row["status"]) for row in rows] == [(topic, "would_resolve") for topic in still]

    done = run(*words, "--yes")
    assert done.code == 0, done.err
    assert [order.topic for _, order in daemon.resolved] == still
    assert all(order.digest == SKIPPED.digest for _, order in daemon.resolved)
    assert run("mirror", "resolve", "east-to-west", "nothing-*", "--how", "skip", "--yes").code == 0

    daemon.refuse = UsageError("it does not help", next_step="use --how accept")
    refused = run(*words, "--yes")
    assert refused.code == PreflightFailed.exit_code
    assert "were not resolved by skip" in refused.err
    assert "use --how accept" in refused.err


def test_one_time_out_counts_for_all_topics_of_a_pattern(run: Run, daemon: FakeDaemon) -> None:
    """Not one after the other for each of them: none of these is ever copied again."""
    still = [mirror for mirror in daemon.status.flows[0].mirrors if mirror.state is MirrorState.FAULTED]
    many = tuple(replace(still[0], topic=f"{still[0].topic}-{number}") for number in range(20))
    flow = replace(daemon.status.flows[0], mirrors=many)
    daemon.status = replace(daemon.status, flows=(flow, *daemon.status.flows[1:]))
    began = time.monotonic()
    late = run("mirror", "resolve", flow.flow, "*", "--how", "skip", "--yes", "--wait", "--timeout", "600ms")
    assert late.code == TimedOut.exit_code
    assert "20 of 20 topics are not yet ACTIVE" in late.err
    assert time.monotonic() - began < 20 * 0.6
    assert "for all topics" in " ".join(run("mirror", "resolve", "--help").out.split())
