"""One broker process: its files, its start, its end."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Collection
from pathlib import Path

from replicator.devkit import guard
from replicator.devkit.config import HOST, ClusterConfig
from replicator.devkit.distribution import Distribution
from replicator.devkit.ports import check_ports
from replicator.devkit.processes import STOP_SECONDS, ProcessRef, kill_processes, stop_processes
from replicator.devkit.properties import LOG4J1, LOG4J2, keystore_file, render, server_properties
from replicator.devkit.ready import serving_brokers
from replicator.errors import DevkitError
from replicator.model.security import Mechanism

_TAIL_LINES = 25
_TAIL_BYTES = 16 << 10


class Broker:
    """One combined broker and controller node.

    Attributes:
        node_id: Its number in the cluster.
        process: The broker's JVM; None before the first start.
        log_file: What it and its JVM say, over all its starts.
    """

    def __init__(
        self, config: ClusterConfig, node_id: int, distribution: Distribution, *, releasable: bool = False
    ) -> None:
        self.node_id = node_id
        self.process: ProcessRef | None = None
        self._config = config
        self._distribution = distribution
        self._releasable = releasable
        self._directory = config.directory / f"broker-{node_id}"
        self._guard: subprocess.Popen[bytes] | None = None
        self.log_file = self._directory / "broker.log"

    @property
    def name(self) -> str:
        """How messages call it."""
        return f"broker {self.node_id} of cluster {self._config.name}"

    @property
    def alive(self) -> bool:
        """Whether its process runs (or is paused)."""
        return self.process is not None and self.process.alive

    @property
    def _properties_file(self) -> Path:
        return self._directory / "server.properties"

    @property
    def _formatted_file(self) -> Path:
        """Written after the format tool succeeded: without it, the data directory may be half made."""
        return self._directory / "formatted"

    def write_files(self) -> None:
        """Write everything the broker reads at its start; its data is left alone."""
        self._directory.mkdir(parents=True, exist_ok=True)
        properties = server_properties(self._config, self.node_id, self._directory)
        self._properties_file.write_text(render(properties))
        self._logging_file.write_text(LOG4J2 if self._distribution.uses_log4j2 else LOG4J1)
        security = self._config.security
        if security is not None and security.certificate is not None:
            store = keystore_file(self._directory)
            store.touch(mode=0o600)
            store.write_text(security.certificate.key_file.read_text() + security.certificate.cert_file.read_text())

    def begin_format(self, cluster_id: str) -> subprocess.Popen[bytes] | None:
        """Start Kafka's format tool on the data directory; return None if that was done in an earlier run."""
        if self._formatted_file.exists():
            return None
        shutil.rmtree(self._directory / "data", ignore_errors=True)
        command = self._distribution.command(
            "kafka.tools.StorageTool",
            *("format", "--cluster-id", cluster_id, "--config", str(self._properties_file)),
            *_scram_arguments(self._config),
            jvm_flags=("-Xmx128m", *self._config.jvm_flags, self._logging_flag),
        )
        with self.log_file.open("ab") as log:
            return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def end_format(self, tool: subprocess.Popen[bytes]) -> None:
        """Wait for the format tool.

        Raises:
            DevkitError: It failed; shows what it said.
        """
        if tool.wait() != 0:
            raise DevkitError(f"the storage of {self.name} could not be formatted", why=self.log_tail())
        self._formatted_file.touch()

    def launch(self) -> None:
        """Start the process; it serves some time later.

        Raises:
            DevkitError: One of its ports is taken, or the process cannot be started.
        """
        check_ports(self._config, self.node_id)
        command = self._distribution.command(
            "kafka.Kafka",
            str(self._properties_file),
            jvm_flags=(
                *(f"-Xms{self._config.heap_mb}m", f"-Xmx{self._config.heap_mb}m", "-Djava.awt.headless=true"),
                *(*self._config.jvm_flags, self._logging_flag),
            ),
        )
        mode = "release" if self._releasable else "keep"
        with self.log_file.open("ab") as log:
            child = subprocess.Popen(
                [sys.executable, "-I", "-S", guard.__file__, str(os.getpid()), mode, *command],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                cwd=self._directory,
                start_new_session=True,  # a Ctrl-C is ours to handle, in order, not the broker's
            )
        self._guard = child
        self.process = ProcessRef.of(self._pid_from_guard(child))

    def serves(self, expected: Collection[int]) -> bool:
        """Whether it answers and knows the expected nodes to be serving.

        Raises:
            DevkitError: Its process has ended; shows the end of its log.
        """
        if not self.alive:
            raise DevkitError(
                f"{self.name} has ended" if self.process else f"{self.name} was never started",
                why=self.log_tail(),
                next_step=f"read {self.log_file}",
            )
        return serving_brokers(HOST, self._config.ports(self.node_id).direct).keys() >= set(expected)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the broker.

        Raises:
            DevkitError: It does not run.
        """
        if self.process is None or not self.process.signal(number):
            raise DevkitError(f"{self.name} does not run")

    def stop(self, timeout_seconds: float = STOP_SECONDS) -> None:
        """End it by SIGTERM, then SIGKILL; nothing happens if it does not run."""
        if self.process is not None:
            stop_processes([self.process], timeout_seconds)
        self.reap()

    def kill(self) -> None:
        """End it by SIGKILL; nothing happens if it does not run."""
        if self.process is not None:
            kill_processes([self.process])
        self.reap()

    def reap(self) -> None:
        """Take the exit status of a broker that has ended, so that no zombie stays behind."""
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


def _scram_arguments(config: ClusterConfig) -> list[str]:
    """Return the options that create the SCRAM users with the cluster's first metadata."""
    if config.security is None:
        return []
    scram = {Mechanism.SCRAM_SHA_256, Mechanism.SCRAM_SHA_512}.intersection(config.security.mechanisms)
    return [
        argument
        for mechanism in sorted(scram)
        for name, password in config.security.users.items()
        for argument in ("--add-scram", f"{mechanism}=[name={name},password={password}]")
    ]
