"""Clusters: several brokers that are started, watched and stopped together."""

from __future__ import annotations

import base64
import json
import shutil
import signal
import subprocess
import time
import uuid
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from replicator.devkit.archive import ensure_archive
from replicator.devkit.brokers.broker import Broker
from replicator.devkit.brokers.config import HOST, ClusterConfig
from replicator.devkit.brokers.ports import check_ports
from replicator.devkit.brokers.ready import cluster_id_at
from replicator.devkit.brokers.zookeeper import Zookeeper
from replicator.devkit.runtime.distribution import ensure_distribution, needs_zookeeper
from replicator.devkit.runtime.processes import STOP_SECONDS, ProcessRef, kill_processes, stop_processes
from replicator.errors import DevkitError

START_SECONDS = 90.0
"""Time limit for a start; about three seconds are normal."""

_POLL_SECONDS = 0.05


class Cluster:
    """One real Kafka cluster of local processes.

    Its brokers end when this Python process does, in whatever way, unless it is `releasable` and `release` was
    called. Use it as a context manager, or call `start` and `stop`. The data survives a stop, and a later start
    continues with it, until `wipe`.

    Attributes:
        config: The settings it was created with.
    """

    def __init__(self, config: ClusterConfig, *, releasable: bool = False) -> None:
        self.config = config
        self._releasable = releasable
        self._brokers: dict[int, Broker] = {}
        self._zookeeper: Zookeeper | None = None
        self._cluster_id: str | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def bootstrap(self) -> str:
        """``host:port,...`` of the plain-text DIRECT listeners."""
        return self.config.bootstrap

    @property
    def cluster_id(self) -> str:
        """The id of the cluster, as clients see it.

        Raises:
            DevkitError: It was never started.
        """
        if self._cluster_id is None:
            raise DevkitError(f"cluster {self.config.name} was never started")
        return self._cluster_id

    @property
    def processes(self) -> dict[int, ProcessRef]:
        """Node id to process, for brokers that are running or paused."""
        return {node: b.process for node, b in self._brokers.items() if b.process and b.alive}

    @property
    def zookeeper(self) -> ProcessRef | None:
        """The ZooKeeper that runs for the brokers; None if there is none."""
        return self._zookeeper.process if self._zookeeper is not None and self._zookeeper.alive else None

    @property
    def broker_pids(self) -> dict[int, int]:
        """Node id to pid, for brokers that are running or paused."""
        return {node: process.pid for node, process in self.processes.items()}

    def log_file(self, node_id: int) -> Path:
        """Return the log of one broker."""
        return self._broker(node_id).log_file

    def start(self, timeout_seconds: float = START_SECONDS) -> None:
        """Start every broker and wait until all serve.

        Raises:
            DevkitError: It could not be started; nothing is left running.
        """
        start_clusters([self], timeout_seconds)

    def stop(self, timeout_seconds: float = STOP_SECONDS) -> None:
        """Stop every broker with SIGTERM, and with SIGKILL those that take longer than the time limit."""
        stop_processes(self.processes.values(), timeout_seconds)
        if self._zookeeper is not None:  # after the brokers, which sign off there
            self._zookeeper.stop(timeout_seconds)
        self._reap()

    def kill(self) -> None:
        """Stop every broker with SIGKILL: quick, for clusters whose data is no longer needed, and for chaos."""
        kill_processes(self.processes.values())
        if self._zookeeper is not None:
            self._zookeeper.kill()
        self._reap()

    def kill_broker(self, node_id: int) -> None:
        """Stop one broker with SIGKILL."""
        self._broker(node_id).kill()

    def stop_broker(self, node_id: int, timeout_seconds: float = STOP_SECONDS) -> None:
        """Stop one broker with SIGTERM (it hands over its leaderships first), then with SIGKILL."""
        self._broker(node_id).stop(timeout_seconds)

    def start_broker(self, node_id: int, timeout_seconds: float = START_SECONDS) -> None:
        """Start one broker again and wait until it serves; after a kill that takes the session timeout, 3 s.

        Raises:
            DevkitError: It is already running, or did not serve in time.
        """
        broker = self._broker(node_id)
        if broker.alive:
            raise DevkitError(f"{broker.name} is already running")
        deadline = time.monotonic() + timeout_seconds
        while True:
            broker.launch()
            try:
                self._wait([broker], [node_id], deadline - time.monotonic())
            except DevkitError:
                # A ZooKeeper remembers a killed broker for the session timeout, which makes the next one exit.
                ended = node_id not in self.processes
                if self._zookeeper is None or not ended or time.monotonic() > deadline:
                    raise
            else:
                return

    def pause_broker(self, node_id: int) -> None:
        """Freeze one broker (SIGSTOP): its connections stay up, but nothing answers."""
        self._broker(node_id).signal(signal.SIGSTOP)

    def resume_broker(self, node_id: int) -> None:
        """Let a paused broker continue (SIGCONT)."""
        self._broker(node_id).signal(signal.SIGCONT)

    def wait_ready(self, timeout_seconds: float = START_SECONDS) -> None:
        """Wait until every broker answers and reports all nodes as serving.

        Raises:
            DevkitError: A broker has ended, or time is up; the error shows the end of its log.
        """
        nodes = self.config.node_ids
        self._wait([self._broker(node) for node in nodes], nodes, timeout_seconds)
        if self._zookeeper is not None:  # then the first broker chooses the cluster's id
            reported = cluster_id_at(HOST, self.config.ports(1).direct)
            if reported is None:
                raise DevkitError(f"cluster {self.config.name} does not report its id")
            self._cluster_id = reported

    def release(self) -> None:
        """Let the brokers outlive this process: from now on only their `processes` say how to stop them.

        Raises:
            DevkitError: The cluster was not created as `releasable`.
        """
        if not self._releasable:
            raise DevkitError(f"cluster {self.config.name} was not created as releasable")
        for node in (*self._brokers.values(), *filter(None, [self._zookeeper])):
            node.release()

    def wipe(self) -> None:
        """Remove the directory of a stopped cluster.

        Raises:
            DevkitError: It is running, or the directory is not one of ours.
        """
        if self.processes or self.zookeeper:
            raise DevkitError(f"cluster {self.config.name} is running", next_step="stop it first")
        wipe_directory(self.config.directory)

    def _broker(self, node_id: int) -> Broker:
        if node_id not in self._brokers:
            self.config.ports(node_id)  # refuses a node that is not part of the cluster
            raise DevkitError(f"cluster {self.config.name} was never started")
        return self._brokers[node_id]

    def _prepare(self) -> list[tuple[Broker, subprocess.Popen[bytes]]]:
        """Prepare everything except the processes; return the format tools that were started."""
        if self.processes:
            raise DevkitError(f"cluster {self.config.name} is already running", why=f"pids {self.broker_pids}")
        distribution = ensure_distribution(self.config.kafka_version)
        ensure_archive(distribution)
        for node in self.config.node_ids:
            check_ports(self.config, node)
        self._cluster_id = _identity(self.config)
        self._brokers = {
            node: Broker(self.config, node, distribution, releasable=self._releasable) for node in self.config.node_ids
        }
        if needs_zookeeper(self.config.kafka_version):
            self._zookeeper = Zookeeper(self.config, distribution, releasable=self._releasable)
        tools = []
        for broker in self._brokers.values():
            broker.write_files()
            tool = broker.begin_format(self._cluster_id)
            if tool is not None:
                tools.append((broker, tool))
        return tools

    def _launch(self) -> None:
        if self._zookeeper is not None:
            self._zookeeper.launch()
        for broker in self._brokers.values():
            broker.launch()

    def _wait(self, brokers: Sequence[Broker], expected: Sequence[int], timeout_seconds: float) -> None:
        deadline = time.monotonic() + timeout_seconds
        for broker in brokers:
            while not broker.serves(expected):
                if time.monotonic() > deadline:
                    raise DevkitError(
                        f"{broker.name} did not serve within {timeout_seconds:.0f} s",
                        why=broker.log_tail(),
                        next_step=f"read {broker.log_file}",
                    )
                time.sleep(_POLL_SECONDS)

    def _reap(self) -> None:
        for node in (*self._brokers.values(), *filter(None, [self._zookeeper])):
            node.reap()


def start_clusters(clusters: Sequence[Cluster], timeout_seconds: float = START_SECONDS) -> None:
    """Start several clusters at the same time and wait until all of them serve.

    It uses processes, not threads, so an interrupt (Ctrl-C) ends the wait at once.

    Raises:
        DevkitError: One of them could not be started; none is left running.
    """
    deadline = time.monotonic() + timeout_seconds
    tools: list[tuple[Broker, subprocess.Popen[bytes]]] = []
    try:
        for cluster in clusters:
            tools += cluster._prepare()  # noqa: SLF001 - the other half of the same module
        for broker, tool in tools:
            broker.end_format(tool)
        for cluster in clusters:
            cluster._launch()  # noqa: SLF001
        for cluster in clusters:
            cluster.wait_ready(max(0.0, deadline - time.monotonic()))
    except BaseException:
        for _, tool in tools:
            tool.kill()
            tool.wait()
        for cluster in clusters:
            cluster.kill()
        raise


def is_cluster_directory(directory: Path) -> bool:
    """Whether a directory holds the data of one of our clusters."""
    return (directory / _IDENTITY).is_file()


def wipe_directory(directory: Path) -> None:
    """Remove the directory of a stopped cluster.

    Raises:
        DevkitError: The directory is not empty, and not ours.
    """
    if not directory.exists():
        return
    if not is_cluster_directory(directory) and any(directory.iterdir()):
        raise DevkitError(f"{directory} is not the directory of a local cluster", why=f"it has no {_IDENTITY}")
    shutil.rmtree(directory)


_IDENTITY = "cluster.json"


def _identity(config: ClusterConfig) -> str:
    """Return the cluster id stored with the data, or store a new one.

    Raises:
        DevkitError: The data was written by a cluster of a different shape, and cannot be used by this one.
    """
    file = config.directory / _IDENTITY
    shape = {"brokers": config.brokers, "kafka_version": config.kafka_version}
    if not file.exists():
        if config.directory.exists() and any(config.directory.iterdir()):
            raise DevkitError(
                f"{config.directory} contains something else", next_step="choose another directory for the cluster"
            )
        config.directory.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps({"cluster_id": _new_cluster_id(), **shape}))
    stored = json.loads(file.read_text())
    if {key: stored[key] for key in shape} != shape:
        raise DevkitError(
            f"the data of cluster {config.name} belongs to a cluster of a different shape",
            why=f"it has {stored['brokers']} broker(s) of Kafka {stored['kafka_version']}, "
            f"not {config.brokers} of {config.kafka_version}",
            next_step=f"use the same shape, or remove {config.directory} (`replicator dev down --wipe`)",
        )
    return str(stored["cluster_id"])


def _new_cluster_id() -> str:
    """Return an id like Kafka's: a random UUID in base64, without a leading dash (tools would see an option)."""
    while True:
        text = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        if not text.startswith("-"):
            return text
