"""`replicator config`."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from replicator.cli.config import app
from replicator.config.load import effective
from replicator.config.schema import schema
from replicator.errors import ConfigError

FILE = """\
version: 1
clusters:
  a: {bootstrap: "${A:-a:1}", security: {protocol: SASL_SSL, mechanism: PLAIN, username: u, password: "${P}"}}
  b: {bootstrap: "b:1"}
flows: {f: {from: a, to: b, topics: {include: [x]}}}
"""


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a file with a secret from the environment."""
    monkeypatch.setenv("P", "canary")
    path = tmp_path / "flow.yaml"
    path.write_text(FILE)
    return path


def test_schema() -> None:
    """The output is the schema and nothing else."""
    result = CliRunner().invoke(app, ["schema"])
    assert (result.exit_code, json.loads(result.stdout)) == (0, schema())


def test_effective(file: Path) -> None:
    """JSON and YAML say the same; the YAML is a flow file again."""
    as_json = CliRunner().invoke(app, ["effective", str(file), "-o", "json"])
    as_yaml = CliRunner().invoke(app, ["effective", str(file)])
    values = json.loads(as_json.stdout)
    assert values["clusters"]["a"]["security"].items() >= {"username": "u", "password": "***"}.items()
    assert values["coordinator"]["lease_ttl"] == "10s"
    assert "canary" not in as_json.stdout + as_yaml.stdout
    again = file.with_name("again.yaml")
    again.write_text(as_yaml.stdout)
    again.chmod(0o600)
    assert effective(again, {}) == values
    assert as_yaml.stdout.startswith("version: 1\n")


def test_effective_of_a_bad_file(file: Path) -> None:
    """The error is left to `main`, which prints it and exits with 78."""
    file.write_text("version: 1\n")
    result = CliRunner().invoke(app, ["effective", str(file)])
    assert isinstance(result.exception, ConfigError)
    assert result.exception.exit_code == 78


def test_template(tmp_path: Path) -> None:
    """The template is a file that loads."""
    result = CliRunner().invoke(app, ["template"])
    path = tmp_path / "replicator.yaml"
    path.write_text(result.stdout)
    assert effective(path, {})["flows"]


def test_importing_the_commands_is_cheap() -> None:
    """Every `replicator` command imports this module."""
    code = "import sys, replicator.cli.config; print([m for m in ('pydantic', 'ruamel.yaml') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
