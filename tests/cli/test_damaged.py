"""`flow damaged`: told with what it means, cleared once, and the worst of it only by its key said twice."""

from __future__ import annotations

import json
from dataclasses import replace

from replicator.errors import PreflightFailed, UsageError
from tests.cli.conftest import Run
from tests.unit.rpc.fake_daemon import FakeDaemon
from tests.unit.rpc.samples import DAMAGED

FLOW = "east-to-west"
GROUP, OWN = (one.key for one in DAMAGED)


def test_it_lists_what_cannot_be_read(run: Run, daemon: FakeDaemon) -> None:
    """With the command that clears each; a cluster that was not asked is not called sound."""
    daemon.unasked = ("east",)
    told = run("flow", "damaged", FLOW)
    assert "the record of consumer group 'billing' of flow 0e1f" in told.out
    assert f"clear offset 41: replicator flow damaged {FLOW} --clear {GROUP}\n" in told.out
    assert f"clear offset 7: replicator flow damaged {FLOW} --clear {OWN} --confirm {OWN}\n" in told.out
    assert "east could not be asked" in told.err
    document = json.loads(run("flow", "damaged", FLOW, "-o", "json").out)
    assert [one["key"] for one in document["records"]] == [GROUP, OWN]
    assert (document["records"][0]["offset"], document["unasked"]) == (41, ["east"])
    assert run("flow", "damaged", FLOW, "-o", "name").out.split() == [GROUP, OWN]
    daemon.damage.clear()
    assert "every record can be read" in run("flow", "damaged", FLOW).out


def test_one_is_cleared_once(run: Run, daemon: FakeDaemon) -> None:
    """Nobody is there to be asked, so the key is given twice; the second time there is nothing to do."""
    assert "would clear" in run("flow", "damaged", FLOW, "--clear", GROUP, "--dry-run").out
    assert run("flow", "damaged", FLOW, "--clear", GROUP).code == PreflightFailed.exit_code
    assert len(daemon.damage) == 2
    words = ("flow", "damaged", FLOW, "--clear", GROUP, "--confirm", GROUP, "--reason", "disk")
    done = run(*words)
    assert "without it: it is left" in done.out
    assert f"{GROUP}: cleared" in done.out
    assert [one.key for one in daemon.damage] == [OWN]
    entry = daemon.audit.entries[-1]
    assert (entry.method, entry.flow, entry.reason, entry.outcome) == ("ClearDamaged", FLOW, "disk", "ok")
    assert entry.after == "the record of consumer group 'billing' of flow 0e1f cleared"
    assert f"{GROUP}: already cleared, or never damaged" in run(*words).out
    assert json.loads(run(*words, "-o", "json").out)["status"] == "already_cleared"
    daemon.unasked = ("east",)
    assert run(*words).code == PreflightFailed.exit_code, "it may stand there"


def test_the_worst_takes_the_key_twice(run: Run, daemon: FakeDaemon) -> None:
    """And says what is lost, with the command to go on."""
    refused = run("flow", "damaged", FLOW, "--clear", OWN)
    assert refused.code == PreflightFailed.exit_code
    assert "all is lost" in refused.err
    assert f"--clear {OWN} --confirm {OWN}" in refused.err
    assert run("flow", "damaged", FLOW, "--clear", OWN, "--confirm", GROUP).code == UsageError.exit_code
    assert len(daemon.damage) == 2
    assert run("flow", "damaged", FLOW, "--clear", OWN.upper(), "--confirm", OWN).code == 0
    assert [one.key for one in daemon.damage] == [GROUP]


def test_words_that_cannot_be_meant(run: Run, daemon: FakeDaemon) -> None:
    """A key that is none, two records of one key, and options without their order."""
    for words in (("--clear", "zz"), ("--confirm", OWN), ("--dry-run",)):
        assert run("flow", "damaged", FLOW, *words).code == UsageError.exit_code
    daemon.damage.append(replace(DAMAGED[0], cluster="east"))
    both = run("flow", "damaged", FLOW, "--clear", GROUP, "--confirm", GROUP)
    assert both.code == UsageError.exit_code
    assert "--cluster" in both.err
    done = run("flow", "damaged", FLOW, "--clear", GROUP, "--confirm", GROUP, "--cluster", "east")
    assert done.code == 0
    assert [one.cluster for one in daemon.damage] == ["west", "west"]
