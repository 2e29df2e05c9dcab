"""What a run runs on: two clusters, a proxy before each of their brokers, and daemons of one flow.

Every broker has two listeners: DIRECT for the load, the watch and the checker, and REPL, whose advertised port is
Toxiproxy's: the daemons find every broker behind a proxy, also after a metadata answer. Without Toxiproxy they use
DIRECT.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from chaos.clients import Admin, wait_until
from chaos.daemon import Daemon
from chaos.disks import SmallDisk
from chaos.errors import ChaosError
from chaos.processes import Child
from chaos.records import PARTITIONS, Topic
from chaos.toxics import Toxics
from chaos.toxiproxy import start_server
from replicator.devkit import Cluster, ClusterConfig, free_base_port, start_clusters
from replicator.devkit.brokers.config import PORTS_PER_BROKER

READY_SECONDS_MAX = 90.0

_PROXY_PORT = 5
"""Of the ten ports of a broker, the one its proxy listens on."""


@dataclass(frozen=True, slots=True)
class Shape:
    """How big a bench is, and what it has.

    Attributes:
        source_nodes: Nodes of the source cluster.
        target_nodes: Nodes of the target cluster.
        daemons: How many daemons run the flow.
        toxiproxy: The server's binary; None for no proxies.
        target_disks: Target nodes whose data is on a small disk.
        state_disks: Daemons whose state directory is on a small disk.
        seed: For Toxiproxy's own draws.
    """

    source_nodes: int
    target_nodes: int
    daemons: int
    toxiproxy: Path | None
    target_disks: frozenset[int]
    state_disks: frozenset[int]
    seed: int


class Bench:
    """Everything that runs. A context manager: what it started has ended after it.

    Attributes:
        source: The cluster that is copied from.
        target: The cluster that is copied to.
        daemons: Of the one flow.
        toxics: None without Toxiproxy.
        disks: Target node to its small disk.
        exits: Daemons that ended by themselves, one text each.
    """

    def __init__(self, directory: Path, shape: Shape, topics: Sequence[Topic]) -> None:
        self.directory = directory
        self.topics = topics
        self.exits: list[str] = []
        self.toxics: Toxics | None = None
        self.disks: dict[int, SmallDisk] = {}
        self._shape = shape
        self._server: Child | None = None
        self.source = self._cluster("source", shape.source_nodes)
        self.target = self._cluster("target", shape.target_nodes)
        ends = [
            cluster.config.repl_bootstrap if shape.toxiproxy else cluster.bootstrap
            for cluster in (self.source, self.target)
        ]
        self.daemons = [
            Daemon(number, directory / f"daemon-{number + 1}", ends[0], ends[1]) for number in range(shape.daemons)
        ]
        self.source_admin, self.target_admin = Admin(self.source.bootstrap), Admin(self.target.bootstrap)

    def _cluster(self, name: str, nodes: int) -> Cluster:
        base = free_base_port(nodes)
        proxied = {node: base + PORTS_PER_BROKER * (node - 1) + _PROXY_PORT for node in range(1, nodes + 1)}
        repl = proxied if self._shape.toxiproxy else {}
        return Cluster(ClusterConfig(name, self.directory / name, base, brokers=nodes, repl_advertised=repl))

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    # -- start and end ----------------------------------------------------------------------------------------------

    def _start(self) -> None:
        if self._shape.toxiproxy is not None:
            self._start_proxies(self._shape.toxiproxy)
        start_clusters([self.source, self.target])
        if self._shape.target_disks:
            self._move_to_disks()
        self.source_admin.create(
            [topic.name for topic in self.topics],
            PARTITIONS,
            min(3, self._shape.source_nodes),
            {"retention.ms": "-1", "message.timestamp.type": "CreateTime"},
        )
        for number, daemon in enumerate(self.daemons):
            if number in self._shape.state_disks:
                daemon.give_disk()
            daemon.start()
        for daemon in self.daemons:
            wait_until(f"{daemon.name} is ready", daemon.is_ready, READY_SECONDS_MAX, f"read {daemon.child.log}")

    def _start_proxies(self, binary: Path) -> None:
        port = free_base_port(1)
        self._server = start_server(binary, port, self.directory / "toxiproxy.log", seed=self._shape.seed)
        self.toxics = Toxics(port)
        for cluster in (self.source, self.target):
            for node, listen in cluster.config.repl_advertised.items():
                self.toxics.add_proxy(proxy_name(cluster, node), listen, cluster.config.ports(node).repl)

    def _move_to_disks(self) -> None:
        """Put data on small disks. A cluster's directory is its own until the first start, hence a second one."""
        self.target.stop()
        for node in sorted(self._shape.target_disks):
            self.disks[node] = SmallDisk(self.target.config.directory / f"broker-{node}" / "data")
            self.disks[node].mount()
        self.target.start()

    def _close(self) -> None:
        with contextlib.ExitStack() as ends:  # each of them, whatever another one raises; the last first
            for disk in (*self.disks.values(), *(daemon.disk for daemon in self.daemons)):
                if disk is not None and disk.path.is_mount():
                    ends.callback(disk.unmount)
            if self._server is not None:
                ends.callback(self._server.kill)
            for cluster in (self.source, self.target):
                ends.callback(cluster.kill)
            for daemon in self.daemons:
                ends.callback(daemon.kill)
                ends.callback(self._write_status, daemon)

    def _write_status(self, daemon: Daemon) -> None:
        """Keep what a daemon says at the end, for whoever reads the logs."""
        with contextlib.suppress(OSError):
            status = json.dumps(daemon.status(), indent=1)
            daemon.child.log.with_name("status.json").write_text(status)

    # -- watching ---------------------------------------------------------------------------------------------------

    def supervise(self) -> None:
        """Look after the processes.

        Raises:
            ChaosError: Toxiproxy has ended.
        """
        self.exits += [said for daemon in self.daemons if (said := daemon.supervise())]
        if self._server is not None and not self._server.alive:
            raise ChaosError("toxiproxy has ended", why=self._server.log_tail(), next_step=f"read {self._server.log}")

    def wait_in_sync(self, cluster: Cluster) -> None:
        """Wait until every replica of a cluster is in sync, so that a node of it may be harmed.

        Raises:
            ChaosError: It is not within the bound.
        """
        admin = self.source_admin if cluster is self.source else self.target_admin
        nodes = cluster.config.brokers
        wait_until(
            f"the {cluster.config.name} has its replicas in sync",
            lambda: admin.all_in_sync(nodes),
            READY_SECONDS_MAX,
            f"read {cluster.log_file(1)}",
        )

    def proxies(self, link: int) -> list[str]:
        """Return the proxies of a link: 0 is the source's, 1 the target's."""
        cluster = (self.source, self.target)[link]
        return [proxy_name(cluster, node) for node in cluster.config.node_ids]


def proxy_name(cluster: Cluster, node: int) -> str:
    """Return the name of the proxy before a broker."""
    return f"{cluster.config.name}-{node}"
