"""One broker process: its files, its start, its end."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Collection
from pathlib import Path

from replicator.devkit.brokers.config import HOST, ClusterConfig
from replicator.devkit.brokers.node import Node
from replicator.devkit.brokers.ports import check_ports
from replicator.devkit.brokers.properties import keystore_file, render, server_properties
from replicator.devkit.brokers.ready import serving_brokers
from replicator.devkit.runtime.distribution import Distribution, needs_zookeeper
from replicator.errors import DevkitError
from replicator.model.security import Mechanism


class Broker(Node):
    """One combined broker and controller node; for versions with a ZooKeeper, only a broker.

    Attributes:
        node_id: Its number in the cluster.
    """

    def __init__(
        self, config: ClusterConfig, node_id: int, distribution: Distribution, *, releasable: bool = False
    ) -> None:
        name, directory = f"broker {node_id} of cluster {config.name}", config.directory / f"broker-{node_id}"
        super().__init__(name, directory, distribution, releasable=releasable)
        self.node_id = node_id
        self._config = config

    @property
    def _properties_file(self) -> Path:
        return self._directory / "server.properties"

    @property
    def _formatted_file(self) -> Path:
        """Written after the format tool succeeded: without it, the data directory may be incomplete."""
        return self._directory / "formatted"

    def write_files(self) -> None:
        """Write everything the broker reads when it starts; its data is left alone."""
        self.write_logging()
        properties = server_properties(self._config, self.node_id, self._directory)
        self._properties_file.write_text(render(properties))
        security = self._config.security
        if security is not None and security.certificate is not None:
            store = keystore_file(self._directory)
            store.touch(mode=0o600)
            store.write_text(security.certificate.key_file.read_text() + security.certificate.cert_file.read_text())

    def begin_format(self, cluster_id: str) -> subprocess.Popen[bytes] | None:
        """Start Kafka's format tool on the data directory; return None if there is nothing (more) to format.

        Raises:
            DevkitError: The cluster should have SCRAM users, which this version's tool cannot create.
        """
        if _scram_arguments(self._config) and not self._distribution.formats_scram:
            raise DevkitError(
                f"Kafka {self._config.kafka_version} cannot create SCRAM users with a new cluster",
                next_step="use PLAIN, or a newer version",
            )
        if needs_zookeeper(self._config.kafka_version) or self._formatted_file.exists():
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
            DevkitError: It failed; the error shows its output.
        """
        if tool.wait() != 0:
            raise DevkitError(f"the storage of {self.name} could not be formatted", why=self.log_tail())
        self._formatted_file.touch()

    def launch(self) -> None:
        """Start the process, without waiting until it serves.

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
        self.spawn(command)

    def serves(self, expected: Collection[int]) -> bool:
        """Whether it answers, and reports the expected nodes as serving.

        Raises:
            DevkitError: Its process has ended; the error shows the end of its log.
        """
        if not self.alive:
            raise DevkitError(
                f"{self.name} has ended" if self.process else f"{self.name} was never started",
                why=self.log_tail(),
                next_step=f"read {self.log_file}",
            )
        return serving_brokers(HOST, self._config.ports(self.node_id).direct).keys() >= set(expected)


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
