"""`replicator import mm2`: what goes where, what is told, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from replicator.config.load import load
from tests.cli.conftest import Run

FILE = """\
clusters = A, B
A.bootstrap.servers = a:9092
B.bootstrap.servers = b:9092
A.security.protocol = SASL_SSL
A.sasl.mechanism = PLAIN
A.sasl.jaas.config = x.PlainLoginModule required username="mm2" password="canary-word";
A->B.enabled = true
A->B.groups = app-.*
tasks.max = 4
transforms = mask
"""
SUMMARY = """\
LINE  MIRRORMAKER 2        BECAME     HERE
   1  clusters             converted  clusters
   2  A.bootstrap.servers  converted  clusters.A.bootstrap
   3  B.bootstrap.servers  converted  clusters.B.bootstrap
   4  A.security.protocol  converted  clusters.A.security.protocol
   5  A.sasl.mechanism     converted  clusters.A.security.mechanism
   6  A.sasl.jaas.config   by hand    the secret stays out of the file: set A_PASSWORD, or use password_file
   7  A->B.enabled         converted  flow A-to-B
   8  A->B.groups          overruled  sync.group.offsets.enabled is off: no group offsets are written to the target
   9  tasks.max            built in   one daemon copies a whole flow; `shards` spread it over several
  10  transforms           none       records are never changed; instead: a stream processor after the copy

mm2.properties: 1 built in, 1 by hand, 6 converted, 1 none, 1 overruled
flows: A-to-B
set before you start it: A_PASSWORD
next: replicator validate FILE --connect
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the directory in which the command runs, with a file to import."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mm2.properties").write_text(FILE)
    return tmp_path


def test_to_standard_output(run: Run, here: Path) -> None:
    """The flow file alone, so that it can be piped; the summary on standard error."""
    result = run("import", "mm2", "mm2.properties")
    assert result.code == 0
    assert result.err == SUMMARY
    assert result.out.startswith("# yaml-language-server")
    (here / "flow.yaml").write_text(result.out)
    assert [flow.name for flow in load(here / "flow.yaml", {"A_PASSWORD": "x"}).flows] == ["A-to-B"]
    assert "canary-word" not in result.out + result.err


def test_to_a_file_that_is_only_replaced_by_force(run: Run, here: Path) -> None:
    """A flow file that was edited since is not lost by a second import."""
    assert run("import", "mm2", "mm2.properties", "-o", "flow.yaml").code == 0
    written = (here / "flow.yaml").read_text()
    (here / "flow.yaml").write_text("mine")
    result = run("import", "mm2", "mm2.properties", "-o", "flow.yaml")
    assert (result.code, result.out) == (2, "")
    assert result.err == (
        "error: flow.yaml already exists\nnext: choose another name, or repeat the command with --force\n"
    )
    assert (here / "flow.yaml").read_text() == "mine"
    result = run("import", "mm2", "mm2.properties", "--output", "flow.yaml", "--force")
    assert (result.code, result.out) == (0, "")
    assert result.err.endswith("next: replicator validate flow.yaml --connect\n")
    assert (here / "flow.yaml").read_text() == written


def test_the_written_file_passes_validate(run: Run, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As it is, with the variables it names set."""
    run("import", "mm2", "mm2.properties", "-o", "flow.yaml")
    monkeypatch.setenv("A_PASSWORD", "x")
    result = run("validate", str(here / "flow.yaml"))
    assert (result.code, result.out.splitlines()[-1]) == (0, f"{here}/flow.yaml: ok")


def test_a_variable_that_is_not_set_is_named(run: Run, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody has to look it up."""
    run("import", "mm2", "mm2.properties", "-o", "flow.yaml")
    monkeypatch.delenv("A_PASSWORD", raising=False)
    result = run("validate", str(here / "flow.yaml"))
    assert result.code == 78
    assert "set A_PASSWORD: password for A" in result.err


def test_a_file_that_cannot_be_understood(run: Run, here: Path) -> None:
    """All mistakes with file and line; nothing is written."""
    (here / "mm2.properties").write_text("clusters = A, B\nA.bootstrap.servers = a\nA->B.enabled = true\n")
    result = run("import", "mm2", "mm2.properties", "-o", "flow.yaml")
    assert result.code == 78
    assert result.err == (
        "error: mm2.properties cannot be read as a MirrorMaker 2 properties file\n"
        "  mm2.properties:1:1: clusters: no address for 'B'; needed: B.bootstrap.servers\n"
        "  mm2.properties:2:1: \"A.bootstrap.servers\": 'a' has no port;"
        " allowed: host:port (kafka-1:9092, 127.0.0.1:9092, [::1]:9092)\n"
        "next: correct it, then: replicator import mm2 mm2.properties\n"
    )
    assert not (here / "flow.yaml").exists()


@pytest.mark.usefixtures("here")
def test_files_that_cannot_be_read_or_written(run: Run) -> None:
    """A missing file, a directory, a missing directory."""
    result = run("import", "mm2", "other.properties")
    assert (result.code, result.err) == (
        78,
        "error: other.properties cannot be read\nwhy: No such file or directory\n",
    )
    assert run("import", "mm2", ".").code == 78
    result = run("import", "mm2", "mm2.properties", "-o", "no/flow.yaml")
    assert (result.code, result.err) == (2, "error: no/flow.yaml cannot be written\nwhy: No such file or directory\n")


def test_import_alone_shows_what_can_be_imported(run: Run) -> None:
    """The noun has room for other replicators."""
    result = run("import", "--help")
    assert result.code == 0
    assert "mm2" in result.out
