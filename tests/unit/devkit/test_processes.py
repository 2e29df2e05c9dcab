"""Only our own processes are signalled, and the guard lets none behind."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from replicator.devkit.runtime import guard
from replicator.devkit.runtime.processes import ProcessRef, kill_processes, stop_processes

_SLEEP = ["/bin/sleep", "300"]
_STUBBORN = [
    sys.executable,
    "-c",
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('set', flush=True); time.sleep(300)",
]


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    """A process that does nothing for long."""
    with subprocess.Popen(_SLEEP) as process:
        yield process
        process.kill()


def _guarded(mode: str, *command: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-I", "-S", guard.__file__, str(os.getpid()), mode, *command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def _child_of(process: subprocess.Popen[str]) -> ProcessRef:
    assert process.stdout is not None
    return ProcessRef.of(int(process.stdout.readline()))


def test_a_recycled_pid_is_left_alone(sleeper: subprocess.Popen[bytes]) -> None:
    """Same number, other start time: not the process we knew."""
    real = ProcessRef.of(sleeper.pid)
    earlier = dataclasses.replace(real, start_ticks=real.start_ticks - 1)
    other_boot = dataclasses.replace(real, boot_id="another")

    kill_processes([earlier, other_boot])

    assert not earlier.alive
    assert not other_boot.alive
    assert not earlier.signal(signal.SIGKILL)
    assert real.alive


def test_a_process_that_ended_is_not_alive(sleeper: subprocess.Popen[bytes]) -> None:
    """Not even while it waits for its parent as a zombie."""
    process = ProcessRef.of(sleeper.pid)

    stop_processes([process])

    assert not process.alive
    assert process.wait(0)
    sleeper.wait()
    with pytest.raises(ProcessLookupError):
        ProcessRef.of(sleeper.pid)


def test_stop_reaches_a_paused_process(sleeper: subprocess.Popen[bytes]) -> None:
    """SIGTERM alone would wait for SIGCONT."""
    process = ProcessRef.of(sleeper.pid)
    process.signal(signal.SIGSTOP)

    stop_processes([process], timeout_seconds=5)

    assert sleeper.wait() == -signal.SIGTERM


def test_stop_kills_what_does_not_end_in_time() -> None:
    """The bound is a bound."""
    with subprocess.Popen(_STUBBORN, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()

        stop_processes([ProcessRef.of(process.pid)], timeout_seconds=0.2)

        assert process.wait() == -signal.SIGKILL


def test_the_guard_ends_with_its_command() -> None:
    """And passes its status on."""
    with _guarded("keep", "sh", "-c", "exit 7") as process:
        assert process.wait(10) == 7


def test_a_command_that_cannot_start_ends_the_guard() -> None:
    """As a shell would say it."""
    with _guarded("keep", "/nowhere/at/all") as process:
        assert process.wait(10) == 127


def test_the_command_dies_with_the_guard() -> None:
    """Even if that is killed."""
    with _guarded("keep", *_SLEEP) as process:
        child = _child_of(process)

        process.kill()

        assert child.wait(5)


@pytest.mark.parametrize("mode", ["keep", "release"])
def test_the_command_dies_with_the_parent(mode: str) -> None:
    """The parent is a process in between, killed without warning."""
    program = (
        "import os, subprocess, sys, time\n"
        "subprocess.Popen([sys.executable, '-I', '-S', sys.argv[1], str(os.getpid()), *sys.argv[2:]],"
        " stdin=subprocess.PIPE)\n"
        "time.sleep(300)\n"
    )
    command = [sys.executable, "-c", program, guard.__file__, mode, *_SLEEP]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        child = _child_of(parent)
        assert child.alive

        parent.kill()

        assert child.wait(5)


def test_a_guard_whose_parent_is_another_starts_nothing() -> None:
    """It came too late: the parent it was started for is gone."""
    with subprocess.Popen(
        [sys.executable, "-I", "-S", guard.__file__, "1", "keep", *_SLEEP], stdout=subprocess.PIPE
    ) as process:
        assert process.communicate(timeout=10)[0] == b""
        assert process.returncode == 125


def test_a_released_command_outlives_the_guard() -> None:
    """That is how `dev up` leaves its clusters."""
    with _guarded("release", *_SLEEP) as process:
        child = _child_of(process)

        assert process.stdin is not None
        process.stdin.write("r")
        process.stdin.flush()

        assert process.wait(10) == 0
    assert child.alive
    kill_processes([child])
