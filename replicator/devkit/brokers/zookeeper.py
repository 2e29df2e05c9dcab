"""The ZooKeeper of a cluster whose Kafka has no quorum of its own: one process, as in Kafka's quick start."""

from __future__ import annotations

from replicator.devkit.brokers.config import HOST, ClusterConfig
from replicator.devkit.brokers.node import Node
from replicator.devkit.brokers.ports import port_is_free
from replicator.devkit.brokers.properties import render
from replicator.devkit.runtime.distribution import Distribution
from replicator.errors import DevkitError

_HEAP_MB = 128
_TICK_MS = 500
"""Session timeouts are between 2 and 20 of these."""


class Zookeeper(Node):
    """One stand-alone ZooKeeper; it listens where the first broker's controller would."""

    def __init__(self, config: ClusterConfig, distribution: Distribution, *, releasable: bool = False) -> None:
        name, directory = f"the ZooKeeper of cluster {config.name}", config.directory / "zookeeper"
        super().__init__(name, directory, distribution, releasable=releasable)
        self._config = config

    def launch(self) -> None:
        """Start the process, without waiting: brokers wait until it serves.

        Raises:
            DevkitError: Its port is taken, or it cannot be started.
        """
        port = self._config.ports(1).controller
        if not port_is_free(port):
            raise DevkitError(
                f"{self.name} cannot listen",
                why=f"another process has {HOST}:{port}",
                next_step=f"end that process (`ss -ltnp` names it), or choose a base port other than "
                f"{self._config.base_port}",
            )
        self.write_logging()
        settings = {
            "dataDir": str(self._directory / "data"),
            "clientPort": str(port),
            "clientPortAddress": HOST,
            "tickTime": str(_TICK_MS),
            "maxClientCnxns": "0",
            "admin.enableServer": "false",
        }
        file = self._directory / "zookeeper.properties"
        file.write_text(render(settings))
        heap = (f"-Xmx{_HEAP_MB}m", "-Djava.awt.headless=true")
        flags = (*heap, *self._config.jvm_flags, self._logging_flag)
        main_class = "org.apache.zookeeper.server.quorum.QuorumPeerMain"
        self.spawn(self._distribution.command(main_class, str(file), jvm_flags=flags))
