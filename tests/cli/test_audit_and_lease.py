"""`audit`, `lease` and `failover --rehearse` as a person types them."""

from __future__ import annotations

import json
from pathlib import Path

from replicator.core.acl.audit_chain import GENESIS
from replicator.model.operations.audit import AuditEntry, Phase
from replicator.obs.audit import AuditLog, files_of
from tests.cli.conftest import Run
from tests.unit.rpc.fake_daemon import FakeDaemon


def test_audit_show(daemon: FakeDaemon, run: Run) -> None:
    """Who did what; one flow only where that is asked for."""
    daemon.audit.append(AuditEntry(0, "", Phase.INTENT, actor="ann", method="SetDesired", flow="a", reason="works"))
    daemon.audit.append(AuditEntry(0, "", Phase.OUTCOME, 1, actor="ann", method="SetDesired", flow="b", outcome="ok"))
    shown = run("audit", "show")
    assert shown.code == 0
    assert "works" in shown.out
    entries = json.loads(run("audit", "show", "--flow", "b", "-o", "json").out)["entries"]
    assert [(entry["seq"], entry["outcome"]) for entry in entries] == [(2, "ok")]


def test_audit_verify(tmp_path: Path, run: Run) -> None:
    """Offline; the last hash is told, and can be asked for."""
    log = AuditLog(tmp_path)
    for _ in range(3):
        log.append(AuditEntry(0, "", Phase.INTENT, actor="ann"))
    log.close()
    told = run("audit", "verify", str(tmp_path))
    assert (told.code, "entries 1 to 3" in told.out) == (0, True)
    last = told.out.split("last hash: ")[1].split()[0]
    assert run("audit", "verify", str(tmp_path), "--expect-last", last).code == 0
    assert run("audit", "verify", str(tmp_path), "--expect-last", GENESIS).code == 1
    [path] = files_of(tmp_path)
    path.write_bytes(path.read_bytes().replace(b"ann", b"bob", 1))
    broken = run("audit", "verify", str(path))
    assert broken.code == 1
    assert "line 2" in broken.err
    assert run("audit", "verify", str(tmp_path / "nowhere")).code == 2


def test_rehearse(daemon: FakeDaemon, run: Run) -> None:
    """Findings with what helps."""
    del daemon
    shown = run("failover", "--rehearse", "east-to-west")
    assert shown.code == 0
    assert "fix: look" in shown.out
    found = json.loads(run("failover", "--rehearse", "east-to-west", "-o", "json").out)
    assert [check["level"] for check in found["sections"][0]["checks"]] == ["ok", "warn"]
    assert run("failover", "--rehearse", "est-to-west").code == 2


def test_lease_list_of_an_older_daemon(daemon: FakeDaemon, run: Run) -> None:
    """It says that it does not know the call."""
    del daemon
    answer = run("lease", "list")
    assert answer.code == 2
    assert "does not know this call" in answer.err
