"""Processes under measurement: their start, their CPU time and memory, their end; and the machine they run on."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from replicator.devkit.runtime import guard
from replicator.devkit.runtime.java import find_java, java_version
from replicator.devkit.runtime.processes import ProcessRef, stop_processes

ROOT = Path(__file__).resolve().parents[1]
GIGABYTE = 1e9
MEGABYTE = 1e6

_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
_STOP_SECONDS = 20.0
_TAIL_BYTES = 3000
_MEMBERS_SECONDS = 1.0
# Fields of /proc/PID/stat after the command's name, counted from the state (proc(5) counts from 1 at the pid).
_UTIME, _STIME, _CUTIME, _CSTIME, _STARTTIME = 11, 12, 13, 14, 19
_IDLE, _IO_WAIT, _BUSY_FIELDS = 3, 4, 9
"""Columns of the first line of /proc/stat; those after the steal time are part of others."""


class BenchmarkError(Exception):
    """A run that gives no figure: what was measured failed, or did something wrong."""


@dataclass(frozen=True, slots=True)
class Cpu:
    """CPU time in seconds."""

    user: float = 0.0
    system: float = 0.0

    @property
    def total(self) -> float:
        """User and system time together, in seconds."""
        return self.user + self.system

    def __add__(self, other: Cpu) -> Cpu:
        return Cpu(self.user + other.user, self.system + other.system)

    def __sub__(self, other: Cpu) -> Cpu:
        return Cpu(self.user - other.user, self.system - other.system)


def tree(pid: int) -> list[int]:
    """Return a process and all its descendants that live now."""
    found = [pid]
    for parent in found:  # grows while it is walked
        for children in Path(f"/proc/{parent}/task").glob("*/children"):
            try:
                found += map(int, children.read_text().split())
            except OSError:  # that thread has just ended
                continue
    return found


def process_cpu(pid: int) -> Cpu:
    """Return the CPU time of a process so far, that of ended and awaited children included; none if it is gone."""
    fields = _stat(pid)
    if not fields:
        return Cpu()
    user = int(fields[_UTIME]) + int(fields[_CUTIME])
    system = int(fields[_STIME]) + int(fields[_CSTIME])
    return Cpu(user / _TICKS_PER_SECOND, system / _TICKS_PER_SECOND)


def tree_peak_rss(pid: int) -> int:
    """Return the sum of the peaks of resident memory over a process tree, in bytes."""
    total = 0
    for member in tree(pid):
        try:
            lines = Path(f"/proc/{member}/status").read_text().splitlines()
        except OSError:
            continue
        total += sum(int(line.split()[1]) << 10 for line in lines if line.startswith("VmHWM:"))
    return total


def _stat(pid: int) -> list[str]:
    """Return the fields of /proc/PID/stat from the state on; empty when the process is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


class Child:
    """One process under measurement; it ends when this Python process does, in whatever way.

    Attributes:
        pid: The process itself, not the guard beside it.
        log: What it writes to standard output and error.
    """

    def __init__(self, command: Sequence[str], log: Path, env: Mapping[str, str] | None = None) -> None:
        self.log = log
        with log.open("ab") as out:
            self._guard = subprocess.Popen(
                [sys.executable, "-I", "-S", guard.__file__, str(os.getpid()), "keep", *command],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=out,
                env=None if env is None else {**os.environ, **env},
                start_new_session=True,  # a Ctrl-C is ours to handle
            )
        line = self._guard.stdout.readline() if self._guard.stdout else b""
        if not line.strip().isdigit():
            raise BenchmarkError(f"{command[0]} could not be started: {self.log_tail()}")
        self.pid = int(line)
        self._process = ProcessRef.of(self.pid)
        self._members = [self.pid]
        self._members_at = -_MEMBERS_SECONDS

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def age_seconds(self) -> float:
        """Time since the kernel made the process; the kernel notes that in steps of 10 ms, rounded down."""
        return time.clock_gettime(time.CLOCK_BOOTTIME) - self._process.start_ticks / _TICKS_PER_SECOND

    def cpu(self) -> Cpu:
        """Return the CPU time of its process tree so far.

        The tree is walked once a second only: that costs more than the rest of a look, on a JVM's many threads.
        """
        now = time.monotonic()
        if now - self._members_at > _MEMBERS_SECONDS:
            self._members, self._members_at = tree(self.pid), now
        total = Cpu()
        for member in self._members:
            total += process_cpu(member)
        return total

    def peak_rss(self) -> int:
        """Return the sum of the peaks of resident memory over its process tree, in bytes."""
        return tree_peak_rss(self.pid)

    def check(self) -> None:
        """Refuse to go on with a process that has ended.

        Raises:
            BenchmarkError: Shows the end of its log.
        """
        if not self._process.alive:
            raise BenchmarkError(f"the process under measurement has ended: {self.log_tail()}")

    def stop(self) -> int:
        """End it by SIGTERM, after 20 s by SIGKILL; return its exit status (128 + signal when one ended it)."""
        stop_processes([self._process], _STOP_SECONDS)
        status = self._guard.wait()
        if self._guard.stdout:
            self._guard.stdout.close()
        return status

    def log_tail(self) -> str:
        """Return the end of what it said."""
        return self.log.read_text(errors="replace")[-_TAIL_BYTES:] if self.log.exists() else ""


def busy_seconds() -> float:
    """Return the time that was spent since boot, over all cores: not idle here, or taken by the hypervisor."""
    fields = [int(field) for field in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:_BUSY_FIELDS]]
    return (sum(fields) - fields[_IDLE] - fields[_IO_WAIT]) / _TICKS_PER_SECOND


def others_seconds() -> float:
    """Return the time that everything but this process and its descendants was busy since boot, over all cores."""
    return busy_seconds() - sum(process_cpu(member).total for member in tree(os.getpid()))


def describe_machine() -> list[str]:
    """Return what the figures depend on, one sentence each."""
    cpu = [line.split(":", 1)[1].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")]
    memory = next(int(line.split()[1]) for line in _lines("/proc/meminfo") if line.startswith("MemTotal:"))
    return [
        f"CPU: {cpu[0] if cpu else platform.processor()}, {os.cpu_count()} cores; RAM {memory / 2**20:.1f} GiB",
        f"Linux {platform.release()}; Python {platform.python_version()}; Java {java_version(find_java())}",
        f"Load averages when the run began: {', '.join(f'{load:.2f}' for load in os.getloadavg())}",
    ]


def describe_commit() -> str:
    """Return the commit of the working tree, and whether files differ from it."""
    git = shutil.which("git")
    if git is None:
        return "unknown (no git)"

    def ask(*words: str) -> str:
        return subprocess.run([git, *words], cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip()

    commit = ask("rev-parse", "--short=12", "--verify", "--quiet", "HEAD") or "none yet"
    return f"{commit}{' with uncommitted changes' if ask('status', '--porcelain') else ''}"


def _lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines()
