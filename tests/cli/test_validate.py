"""`replicator validate` without a cluster: summary, rights, mistakes, and what --connect says of nobody at home."""

from __future__ import annotations

import json
import re
import shlex
import socket
from pathlib import Path

import pytest

from tests.cli.conftest import Run

FILE = """\
version: 1
clusters:
  east:
    bootstrap: "127.0.0.1:PORT"
    security: {protocol: SASL_PLAINTEXT, mechanism: SCRAM-SHA-256, username: repl, password: "${P}"}
  west: {bootstrap: "127.0.0.2:PORT", cluster_id: "4L6g3nShT-eMCtK--X86sw"}
flows:
  e2w:
    from: east
    to: west
    topics: {include: ["orders.*", {prefix: billing-}], exclude: ["*.tmp"], rename: {prefix: "east."}}
    limits: {in_flight_bytes: 32MiB}
"""


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a file whose clusters are on a port where nobody listens."""
    monkeypatch.setenv("P", "canary-word")
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        port = held.getsockname()[1]
    path = tmp_path / "flow.yaml"
    path.write_text(FILE.replace("PORT", str(port)))
    return path


def test_a_right_file_is_summed_up(run: Run, file: Path) -> None:
    """Clusters, flow, topics, limits, ok; no secret."""
    result = run("validate", str(file), "--no-acls")
    assert result.code == 0
    lines = result.out.splitlines()
    assert lines[2] == "flow e2w: east -> west"
    assert "  topics: orders.*, prefix billing-, but not *.tmp" in lines
    assert "  name on the target: east.<name>" in lines
    assert "  limits: 32 MiB in flight, no rate limit" in lines
    assert "must be 4L6g3nShT-eMCtK--X86sw" in lines[1]
    assert lines[-1].endswith("flow.yaml: ok")
    assert "kafka-acls" not in result.out
    assert "canary-word" not in result.out + result.err


def test_rights_are_shown_unless_refused(run: Run, file: Path) -> None:
    """Commands for both clusters, each with the user the file names."""
    commands = [shlex.split(line) for line in run("validate", str(file)).out.splitlines() if line.startswith("kafka")]
    topics = [words[words.index("--topic") + 1] for words in commands if "--topic" in words]
    assert topics == [
        "billing-",
        "orders.",
        "replicator.state",
        "east.billing-",
        "east.orders.",
        "east.billing-",
        "east.orders.",
        "replicator.state",
        "replicator.state",
    ]
    assert all(words.count("User:repl") == 1 for words in commands[:3])
    out = run("validate", str(file)).out
    assert "cover more than the flow selects" in out
    lines = out.splitlines()
    (at,) = (number for number, line in enumerate(lines) if line.endswith("--operation ClusterAction --cluster"))
    assert lines[at - 1].startswith("# WriteTxnMarkers, only if the source has transactions or compacted topics")
    assert "127.0.0.2" in lines[at]  # the target
    groups = [line.split("--operation ", 1)[1] for line in lines if "--group" in line and line.startswith("kafka")]
    assert groups == ["Describe --group '*'", "Describe --operation Read --group '*'"]


def test_a_wrong_file_shows_all_its_mistakes(run: Run, file: Path) -> None:
    """Exit 78, as everywhere."""
    file.write_text(file.read_text().replace("from: east", "from: esat").replace("limits", "limit"))
    result = run("validate", str(file))
    assert result.code == 78
    assert len([line for line in result.err.splitlines() if "flow.yaml:" in line]) >= 2
    assert not result.out
    assert "next: replicator validate" not in result.err  # that is what was just done


def test_json_is_one_document(run: Run, file: Path) -> None:
    """What the table says, for CI; nothing was asked of a cluster."""
    result = run("validate", str(file), "-o", "json")
    document = json.loads(result.out)
    assert (result.code, document["schema_version"], document["connect"]) == (0, 1, None)
    assert [cluster["alias"] for cluster in document["clusters"]] == ["east", "west"]
    assert [entry["role"] for entry in document["rights"]] == ["source", "target"]
    assert "canary-word" not in result.out


def test_clusters_that_do_not_answer_are_red(run: Run, file: Path) -> None:
    """Exit 3; every cluster is tried, and the flow is not."""
    result = run("validate", str(file), "--connect")
    assert result.code == 3
    assert result.out.count("FAIL  reachable") == 2
    assert "fix: check clusters.west.bootstrap" in result.out
    assert "WARN  not checked: east and west could not be asked" in result.out
    assert "refused: 0 ok, 1 warn, 2 fail" in result.out
    assert result.err.startswith("error: 2 checks failed\nwhy: ")
    document = json.loads(run("validate", str(file), "--connect", "-o", "json").out)
    assert document["connect"]["passed"] is False


def test_findings_fit_a_narrow_terminal_and_commands_stay_whole(run: Run, file: Path, terminal: object) -> None:
    """Text is folded, a command to copy is not."""
    assert callable(terminal)
    terminal(60)
    out = re.sub(r"\x1b\[[0-9;]*m", "", run("validate", str(file), "--connect", "--acls").out)
    findings = out[out.index("cluster east\n") :]
    assert all(len(line) <= 60 or "fix: " in line for line in findings.splitlines()), findings
    assert all("--add" in line for line in out.splitlines() if line.startswith("kafka-acls"))
