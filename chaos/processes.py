"""One process of a run: started with a guard beside it, so that it ends when we do, in whatever way."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.measure import process_cpu, tree_peak_rss
from chaos.errors import ChaosError
from replicator.devkit.runtime import guard
from replicator.devkit.runtime.processes import ProcessRef, kill_processes, stop_processes

_STOP_SECONDS_MAX = 30.0
_GUARD_SECONDS_MAX = 10.0
_TAIL_BYTES = 3000


class Child:
    """A process that runs, was ended by us, or ended by itself.

    Attributes:
        log: What it writes to standard output and error, over all its starts.
        peak_rss_bytes: Highest peak of resident memory over all its starts, as of the last `sample`.
    """

    def __init__(self, name: str, command: Sequence[str], log: Path) -> None:
        self.log = log
        self.peak_rss_bytes = 0
        self._name = name
        self._command = list(command)
        self._guard: subprocess.Popen[bytes] | None = None
        self._process: ProcessRef | None = None
        self._cpu_before, self._cpu_now = 0.0, 0.0
        self._log_bytes_at_start = 0

    @property
    def alive(self) -> bool:
        """Whether it runs, or is paused."""
        return self._process is not None and self._process.alive

    def has_logged(self) -> bool:
        """Return whether it has written anything since its last start: until then it may still be loading its code."""
        return self.log.stat().st_size > self._log_bytes_at_start

    def start(self) -> None:
        """Start it.

        Raises:
            ChaosError: It runs already, or could not be started.
        """
        if self.alive:
            raise ChaosError(f"{self._name} runs already")
        with self.log.open("ab") as out:
            self._log_bytes_at_start = out.tell()
            child = subprocess.Popen(
                [sys.executable, "-I", "-S", guard.__file__, str(os.getpid()), "keep", *self._command],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=out,
                start_new_session=True,  # a Ctrl-C is ours to handle, in order
            )
        self._guard = child
        line = child.stdout.readline() if child.stdout else b""
        if not line.strip().isdigit():
            raise ChaosError(f"{self._name} could not be started", why=self.log_tail(), next_step=f"read {self.log}")
        self._process = ProcessRef.of(int(line))

    def signal(self, number: signal.Signals) -> None:
        """Send a signal; nothing happens if it does not run."""
        if self._process is not None:
            self._process.signal(number)

    def kill(self) -> None:
        """Stop it with SIGKILL; nothing happens if it is not running."""
        if self._process is not None:
            self.sample()
            kill_processes([self._process])
            self.reap()

    def stop(self, seconds_max: float = _STOP_SECONDS_MAX) -> int:
        """End it by SIGTERM, later by SIGKILL; return its exit status, 128 + signal where one ended it."""
        if self._process is None:
            return 0
        self.sample()
        stop_processes([self._process], seconds_max)
        return self.reap()

    def reap(self) -> int:
        """Take the exit status of a process that has ended."""
        if self._guard is None:
            return 0
        status = self._guard.wait(_GUARD_SECONDS_MAX)
        if self._guard.stdout is not None:
            self._guard.stdout.close()
        self._guard, self._process = None, None
        self._cpu_before, self._cpu_now = self._cpu_before + self._cpu_now, 0.0
        return status

    def sample(self) -> None:
        """Note its CPU time and memory; what it used after the last look before its end is not counted."""
        if self._process is not None and self._process.alive:
            pid = self._process.pid
            self._cpu_now = max(self._cpu_now, process_cpu(pid).total)
            self.peak_rss_bytes = max(self.peak_rss_bytes, tree_peak_rss(pid))

    @property
    def cpu_seconds(self) -> float:
        """CPU time over all its starts, as of the last `sample`."""
        return self._cpu_before + self._cpu_now

    def log_tail(self) -> str:
        """Return the end of what it said."""
        return self.log.read_bytes()[-_TAIL_BYTES:].decode(errors="replace") if self.log.exists() else ""
