"""Errors, exit codes and start-up of the command line."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from replicator import __version__
from replicator.cli import main, remote
from replicator.cli.printing import failure, output
from replicator.cli.remote import WATCH_DEFAULT
from replicator.errors import BugError, ConfigError, PreflightFailed, ReplicatorError
from tests.cli.conftest import Run

ROOT = Path(__file__).parents[2]


def test_an_error_is_what_why_next() -> None:
    """Parts that are not there leave no line."""
    assert failure.describe(ReplicatorError("a", why="b", next_step="c")) == "error: a\nwhy: b\nnext: c\n"
    assert failure.describe(ReplicatorError("a")) == "error: a\n"


def test_a_configuration_error_lists_every_problem() -> None:
    """All at once, each with its place."""
    error = ConfigError("2 mistakes", problems=["f.yaml:1:2: x", "f.yaml:3:4: y"])

    assert failure.describe(error) == "error: 2 mistakes\n  f.yaml:1:2: x\n  f.yaml:3:4: y\n"


@pytest.mark.parametrize("raised", [RuntimeError("inside"), BugError("inside")])
def test_the_unexpected_is_called_a_bug_with_its_traceback(
    run: Run, monkeypatch: pytest.MonkeyPatch, raised: Exception
) -> None:
    """Enough to report it."""

    def fail(*_: object, **__: object) -> None:
        raise raised

    monkeypatch.setattr(remote, "connect", fail)
    result = run("flow", "list")

    assert (result.code, result.out) == (1, "")
    assert "this is a bug" in result.err
    assert "Traceback" in result.err


def test_interrupted_is_130(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a shell expects after Ctrl-C."""

    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(remote, "connect", interrupt)

    assert run("flow", "list").code == 130


def test_no_daemon_is_told_with_the_next_step(run: Run) -> None:
    """Exit 1, nothing on standard output."""
    result = run("flow", "list", "--address", "127.0.0.1:1")

    assert (result.code, result.out) == (1, "")
    assert result.err.startswith("error: no daemon answers at 127.0.0.1:1\n")
    assert "next: start one with `replicator run FILE`" in result.err


@pytest.mark.parametrize(
    "words",
    [
        "flow pause",
        "flow nonsense",
        "flow list -o xml",
        "flow list --address nowhere",
        "flow list -w=5",
        "flow pause f --wait --timeout soon",
    ],
)
def test_what_cannot_be_meant_is_2(run: Run, words: str) -> None:
    """Refused before anything is asked of a daemon."""
    assert run(*words.split()).code == 2


def test_version(run: Run) -> None:
    """One line, for scripts."""
    assert run("--version") == (0, f"replicator {__version__}\n", "")


def test_a_bare_watch_gets_its_interval() -> None:
    """Before an option, at the end, and not where one is given."""
    assert main.expand_watch(["-w", "-o", "json"]) == ["-w", WATCH_DEFAULT, "-o", "json"]
    assert main.expand_watch(["flow", "list", "--watch"]) == ["flow", "list", "--watch", WATCH_DEFAULT]
    assert main.expand_watch(["-w", "500ms", "east"]) == ["-w", "500ms", "east"]
    assert main.expand_watch(["-w", "east"]) == ["-w", WATCH_DEFAULT, "east"]
    assert main.expand_watch(["-w", "1d"]) == ["-w", WATCH_DEFAULT, "1d"]  # days are no unit, here as in a flow file


def test_start_up_loads_nothing_slow() -> None:
    """What makes `--help` quick is what it does not import."""
    slow = ("grpc", "google.protobuf", "pydantic", "structlog", "rich", "aiokafka", "confluent_kafka")
    code = f"import sys, replicator.cli.main\nprint([name for name in {slow!r} if sys.modules.get(name) is not None])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)

    assert done.stdout.strip() == "[]"


def test_numbers_as_people_read_them() -> None:
    """A dash for unknown; zero is a number."""
    assert [output.number(value) for value in (None, 0, 1_234_567)] == ["-", "0", "1,234,567"]
    spans = (None, 0.0, 3.24, 95, 7_380, 367_200)
    assert [output.age(span) for span in spans] == ["-", "0.0s", "3.2s", "1m35s", "2h03m", "4d06h"]
    assert [output.text(value) for value in (None, "", 0, "x")] == ["-", "-", "0", "x"]


def test_an_error_is_told_without_a_complaint_of_a_closed_pipe() -> None:
    """What was printed before it may have no reader any more; its own exit code is kept."""
    program = (
        "from replicator.cli import main; from replicator.errors import PreflightFailed\n"
        "@main.app.command('tell')\n"
        "def tell():\n"
        "    print('a row')\n"
        "    raise PreflightFailed('2 of 3 differ')\n"
        "main.main(['tell'])"
    )
    read, write = os.pipe()
    os.close(read)
    environ = {key: value for key, value in os.environ.items() if key != "PYTHONUNBUFFERED"}
    words = [sys.executable, "-c", program]
    done = subprocess.run(words, stdout=write, stderr=subprocess.PIPE, env=environ, cwd=ROOT, check=False)
    os.close(write)
    assert (done.returncode, done.stderr) == (PreflightFailed.exit_code, b"error: 2 of 3 differ\n")


@pytest.mark.parametrize("words", [("validate", "configs/minimal.yaml"), ("--help",)])
def test_a_reader_that_closes_the_pipe_is_no_error(words: tuple[str, ...]) -> None:
    """As in `replicator ... | head -1`: it ends as SIGPIPE would end it, and complains of nothing."""
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [sys.executable, "-m", "replicator.cli.main", *words],
        stdout=write,
        stderr=subprocess.PIPE,
        cwd=ROOT,
        check=False,
    )
    os.close(write)
    assert (done.returncode, done.stderr) == (main.PIPE_CLOSED, b"")
