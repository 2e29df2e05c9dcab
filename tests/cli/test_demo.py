"""The parts of `replicator demo` that need no cluster."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from replicator.cli.demo import sweeper
from replicator.cli.demo.records import TOPICS
from replicator.cli.demo.result import Result
from replicator.cli.demo.stage import Moment, flow_file, pace, workplace
from replicator.cli.demo.switches import Switched
from replicator.cli.demo.view import View
from replicator.config.load import load
from replicator.core.verify.record_diff import Difference, Kind
from replicator.engine.verify.result import PartitionVerdict, TopicVerdict, VerifyResult
from replicator.errors import UsageError
from tests.cli.conftest import Run


class FakeCluster:
    """As much of a cluster as the flow file needs."""

    def __init__(self, port: int, cluster_id: str) -> None:
        self.bootstrap = f"127.0.0.1:{port}"
        self.cluster_id = cluster_id


def test_the_flow_file_is_one(tmp_path: Path) -> None:
    """It loads, and copies the three topics."""
    path = tmp_path / "demo.yaml"
    east, west = FakeCluster(1, "4L6g3nShT-eMCtK--X86sw"), FakeCluster(2, "bkEEKpqnTXSriTIeKi45rw")
    path.write_text(flow_file(east, west, ("a", "b"), 20_000))  # type: ignore[arg-type]
    spec = load(path, {})
    assert [pattern.text for pattern in spec.flows[0].topics.include] == ["a", "b"]
    assert (spec.daemon.http[1], spec.daemon.rpc[1]) == (20_000, 20_001)


def test_records_have_the_faces_that_are_promised() -> None:
    """Plain JSON; keys and headers; one log that loses its front."""
    orders, payments, audit = TOPICS
    assert json.loads(orders.make(7).value or b"")["order"] == 7
    assert orders.make(7).key is None
    assert payments.make(7).key == b"customer-7"
    assert [name for name, _ in payments.make(7).headers] == ["currency", "trace"]
    assert 0 < audit.deleted < audit.backlog
    assert all(topic.make(3) == topic.make(3) != topic.make(4) for topic in TOPICS)


def test_pace_is_what_happened_between_two_moments() -> None:
    """CPU time belongs to the bytes of the same span."""
    found = pace(Moment(10.0, 0, 0, 1.0), Moment(12.0, 100_000_000, 5, 1.5))
    assert found is not None
    assert (found.bytes_per_second, found.cpu_seconds_per_gb) == (50_000_000, 5.0)
    assert pace(Moment(10.0, 5, 0, 1.0), Moment(12.0, 5, 0, 1.5)) is None


SOUND = Switched(3.0, 0, 1, 0)


def result(written: int = 30, **changes: object) -> Result:
    """Return what was found: 20 records compared, 10 deleted."""
    to_west = changes.pop("to_west", SOUND)
    first = changes.pop("first", ())
    part = PartitionVerdict(0, 10, 30, 20, 1000, "d", **changes)  # type: ignore[arg-type]
    topic = TopicVerdict("t", "t", (part,), first=first)  # type: ignore[arg-type]
    return Result(written, 10, VerifyResult((topic,), 1.0), None, 1.0, 2.0, to_west, SOUND)  # type: ignore[arg-type]


def test_equal_is_said_only_if_everything_is() -> None:
    """Each way to be unequal is one sentence at least."""
    assert result().equal
    assert result().rows()[-1] == ("equal", "yes", True)
    found = Difference(0, 12, Kind.VALUE, "x | y")
    bad = {
        "1 records differ": result(differences=1, first=(found,)),
        "3 offsets did not arrive": result(behind=3),
        "not comparable": result(target_only=5),
        "3 lost": result(to_west=Switched(3.0, 3, 1, 0)),
        "21 records were to be compared, 20 were": result(written=31),
    }
    for words, one in bad.items():
        assert words in "\n".join(one.differences())
        assert one.rows()[-1] == ("equal", "NO", False)


def test_piped_output_is_plain_and_narrow(capsys: pytest.CaptureFixture[str]) -> None:
    """80 columns, no escape sequence, no spinner; a wait says something only when it is long."""
    view = View(2)
    view.opening("Title", "word " * 40)
    view.step("First", "word " * 40)
    with view.waiting("waiting") as say:
        say("1 to go")
    view.fact("fact " * 40)
    view.table("Result", [("equal", "yes", True), ("long", "word " * 40, None)])
    out = capsys.readouterr().out
    assert all(len(line) <= 80 for line in out.splitlines())
    assert "\x1b" not in out
    assert "to go" not in out
    assert "[1/2] First" in out


def test_a_directory_that_holds_something_is_refused(run: Run, tmp_path: Path) -> None:
    """It would be wiped."""
    (tmp_path / "precious").touch()
    answer = run("demo", "--dir", str(tmp_path))
    assert (answer.code, "not empty" in answer.err) == (2, True)
    assert (tmp_path / "precious").exists()


def test_the_directory_is_gone_afterwards(tmp_path: Path) -> None:
    """One that was there before stays, empty."""
    for place in (tmp_path / "new", tmp_path / "old"):
        if place.name == "old":
            place.mkdir()
        with workplace(place, keep=False) as directory:
            (directory / "file").touch()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["old"]
    assert not list((tmp_path / "old").iterdir())
    with pytest.raises(UsageError), workplace(tmp_path, keep=False):
        pass
    with workplace(tmp_path / "kept", keep=True) as directory:
        (directory / "file").touch()
    assert (tmp_path / "kept" / "file").exists()


def test_the_sweeper_removes_what_a_killed_demo_left(tmp_path: Path) -> None:
    """It notices the end of its parent, whatever it was."""
    place = tmp_path / "left"
    place.mkdir()
    parent = (
        "import os, subprocess, sys, time\n"
        f"subprocess.Popen([sys.executable, '-I', '-S', {sweeper.__file__!r}, str(os.getpid()), {str(place)!r}],"
        " stdin=subprocess.PIPE, start_new_session=True)\n"
        "time.sleep(0.3)\n"
        "os.kill(os.getpid(), 9)\n"
    )
    assert subprocess.run([sys.executable, "-c", parent], check=False).returncode == -9
    deadline = time.monotonic() + 10
    while place.exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_importing_the_command_is_cheap() -> None:
    """Every `replicator` command imports it."""
    code = (
        "import sys, replicator.cli.demo.demo, replicator.cli.validate\n"
        "print([m for m in ('rich', 'confluent_kafka', 'replicator.devkit') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    assert Counter(done.stderr) == Counter()
