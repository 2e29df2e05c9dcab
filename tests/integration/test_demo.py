"""`replicator demo` as a newcomer runs it: to its end, interrupted, killed, and kept."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.long

COMMAND = (sys.executable, "-m", "replicator.cli.main", "demo", "--dir")
BOUND_SECONDS = 110
"""A minute on a warm machine that does nothing else; the tests' machine does."""


@pytest.fixture(autouse=True)
def _interruptible() -> Iterator[None]:
    """Let children take SIGINT, also where these tests run in the background of a shell, which ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def left_over(directory: Path) -> list[str]:
    """Return the command lines of processes that know this directory."""
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = file.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(directory) in words:
            found.append(words)
    return found


def wait_until_gone(directory: Path, seconds: float = 20) -> None:
    """Wait until neither files nor processes are left."""
    deadline = time.monotonic() + seconds
    while directory.exists() or left_over(directory):
        assert time.monotonic() < deadline, (directory.exists(), left_over(directory))
        time.sleep(0.1)


def start(directory: Path, *options: str) -> subprocess.Popen[str]:
    """Start a demo with its output in a pipe."""
    return subprocess.Popen(
        [*COMMAND, str(directory), *options], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


@pytest.mark.timeout(240)
def test_the_demo_ends_with_equal_and_leaves_nothing(tmp_path: Path) -> None:
    """Every step is told, the last screen says yes, and the machine is as before."""
    process = start(tmp_path / "demo")
    out, _ = process.communicate(timeout=BOUND_SECONDS)
    assert process.returncode == 0, out
    assert [int(step) for step in re.findall(r"^\[(\d)/8\]", out, re.MULTILINE)] == [1, 2, 3, 4, 5, 6, 7, 8]
    assert re.search(r"^  equal +yes$", out, re.MULTILINE), out
    assert re.search(r"^  CPU +[\d.]+ seconds per GB$", out, re.MULTILINE), out
    assert all(len(line) <= 80 for line in out.splitlines())
    assert "\x1b" not in out
    wait_until_gone(tmp_path / "demo", 1)


@pytest.mark.timeout(240)
@pytest.mark.parametrize("step", [1, 3, 5, 7])
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_wherever_it_is_stopped_nothing_is_left(tmp_path: Path, step: int, how: signal.Signals) -> None:
    """By Ctrl-C, by a supervisor, by the kernel."""
    place = tmp_path / "demo"
    process = start(place)
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith(f"[{step}/8]"):
            break
    time.sleep(0.5)
    process.send_signal(how)
    out, _ = process.communicate(timeout=30)
    assert process.returncode == (-9 if how is signal.SIGKILL else 130)
    assert "Traceback" not in out
    wait_until_gone(place)


@pytest.mark.timeout(240)
def test_a_kept_demo_goes_on_and_is_ended_as_it_says(tmp_path: Path) -> None:
    """The commands it prints work."""
    place = tmp_path / "demo"
    process = start(place, "--keep")
    out, _ = process.communicate(timeout=BOUND_SECONDS)
    assert process.returncode == 0, out
    commands = [line.strip() for line in out[out.index("Still running") :].splitlines() if line.startswith("  ")]
    show = runner()
    try:
        state = next(command for command in commands if "flow status" in command)
        deadline = time.monotonic() + 60
        while "ACTIVE  lag 0" not in (told := show(state)):
            assert time.monotonic() < deadline, told
            time.sleep(0.5)
        assert "equal" in show(next(command for command in commands if "verify" in command))
        assert "passed" in show(next(command for command in commands if "validate" in command))
        assert "replicator_" in show(next(command for command in commands if "curl" in command))
    finally:
        show(commands[-1])
    deadline = time.monotonic() + 20
    while left_over(place):
        assert time.monotonic() < deadline
        time.sleep(0.1)


def runner() -> Callable[[str], str]:
    """Run a command of the kept demo as a shell would."""
    replicator = str(Path(sys.executable).with_name("replicator"))

    def show(command: str) -> str:
        words = command.replace("replicator ", f"{replicator} ")
        done = subprocess.run(["bash", "-c", words], capture_output=True, text=True, check=False, timeout=60)  # noqa: S607
        return done.stdout + done.stderr

    return show
