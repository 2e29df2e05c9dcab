"""One process of a local cluster: a broker or a ZooKeeper."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from replicator.devkit.brokers.properties import LOG4J1, LOG4J2
from replicator.devkit.runtime import guard
from replicator.devkit.runtime.distribution import Distribution
from replicator.devkit.runtime.processes import STOP_SECONDS, ProcessRef, kill_processes, stop_processes
from replicator.errors import DevkitError

_TAIL_LINES = 25
_TAIL_BYTES = 16 << 10


class Node:
    """One JVM with its own directory.

    Attributes:
        name: Its name in messages.
        process: Its JVM; None before the first start.
        log_file: The output of it and its JVM, over all its starts.

    Args:
        name: Its name in messages.
        directory: Where all its files are.
        distribution: The jars.
        releasable: Whether it may outlive us.
    """

    def __init__(self, name: str, directory: Path, distribution: Distribution, *, releasable: bool) -> None:
        self.name = name
        self.process: ProcessRef | None = None
        self.log_file = directory / f"{directory.name.partition('-')[0]}.log"
        self._directory = directory
        self._distribution = distribution
        self._releasable = releasable
        self._guard: subprocess.Popen[bytes] | None = None

    @property
    def alive(self) -> bool:
        """Whether its process is running (or paused)."""
        return self.process is not None and self.process.alive

    def write_logging(self) -> None:
        """Write the logging configuration."""
        self._directory.mkdir(parents=True, exist_ok=True)
        self._logging_file.write_text(LOG4J2 if self._distribution.uses_log4j2 else LOG4J1)

    def spawn(self, command: list[str]) -> None:
        """Start the process, without waiting until it serves.

        Raises:
            DevkitError: It cannot be started.
        """
        mode = "release" if self._releasable else "keep"
        with self.log_file.open("ab") as log:
            child = subprocess.Popen(
                [sys.executable, "-I", "-S", guard.__file__, str(os.getpid()), mode, *command],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                cwd=self._directory,
                start_new_session=True,  # a Ctrl-C is for us to handle, not for the broker
            )
        self._guard = child
        self.process = ProcessRef.of(self._pid_from_guard(child))

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the broker.

        Raises:
            DevkitError: It is not running.
        """
        if self.process is None or not self.process.signal(number):
            raise DevkitError(f"{self.name} is not running")

    def stop(self, timeout_seconds: float = STOP_SECONDS) -> None:
        """Stop it with SIGTERM, then SIGKILL; nothing happens if it is not running."""
        if self.process is not None:
            stop_processes([self.process], timeout_seconds)
        self.reap()

    def kill(self) -> None:
        """Stop it with SIGKILL; nothing happens if it is not running."""
        if self.process is not None:
            kill_processes([self.process])
        self.reap()

    def reap(self) -> None:
        """Collect the exit status of a broker that has ended, so that no zombie is left."""
        if self._guard is not None and not self.alive:
            self._close_guard(self._guard)

    def release(self) -> None:
        """Let a releasable broker outlive us."""
        if self._guard is not None and self._guard.stdin is not None:
            self._guard.stdin.write(b"r")
            self._guard.stdin.flush()
            self._close_guard(self._guard)

    def log_tail(self) -> str:
        """Return the last lines of the log."""
        try:
            with self.log_file.open("rb") as log:
                log.seek(max(0, log.seek(0, os.SEEK_END) - _TAIL_BYTES))
                lines = log.read().decode(errors="replace").splitlines()
        except FileNotFoundError:
            return ""
        return "\n".join(lines[-_TAIL_LINES:])

    @property
    def _logging_file(self) -> Path:
        return self._directory / "logging.properties"

    @property
    def _logging_flag(self) -> str:
        key = "log4j2.configurationFile" if self._distribution.uses_log4j2 else "log4j.configuration"
        return f"-D{key}=file:{self._logging_file}"

    def _pid_from_guard(self, child: subprocess.Popen[bytes]) -> int:
        """Return the broker's pid, which the guard prints before anything else."""
        line = child.stdout.readline() if child.stdout else b""
        if not line.strip().isdigit():
            self._close_guard(child)
            raise DevkitError(f"{self.name} could not be started", why=self.log_tail())
        return int(line)

    def _close_guard(self, child: subprocess.Popen[bytes]) -> None:
        """Wait for a guard that has nothing left to do."""
        child.wait()
        for pipe in (child.stdin, child.stdout):
            if pipe is not None:
                pipe.close()
        self._guard = None
