"""Clusters that outlive the command that started them, for `replicator dev up`, `status` and `down`.

One directory holds the state file ``devkit.json`` and a data directory for each cluster. The state file names
every broker by pid and start time, so that only our own brokers are ever signalled.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from replicator.devkit.brokers.config import HOST, PORTS_PER_BROKER, ClusterConfig
from replicator.devkit.brokers.ready import serving_brokers
from replicator.devkit.cluster import Cluster, is_cluster_directory, start_clusters, wipe_directory
from replicator.devkit.runtime.distribution import cache_dir, locked
from replicator.devkit.runtime.processes import ProcessRef, stop_processes
from replicator.errors import DevkitError

SCHEMA_VERSION = 1


@dataclass(frozen=True, slots=True)
class LocalBroker:
    """One broker that was started."""

    node_id: int
    port: int
    log_file: str
    process: ProcessRef


@dataclass(frozen=True, slots=True)
class LocalCluster:
    """One cluster that was started.

    Attributes:
        asked: The settings it was started with, as text, to compare with those of a second `up`.
        zookeeper: The ZooKeeper of its brokers, for versions that need one.
    """

    name: str
    cluster_id: str
    kafka_version: str
    bootstrap: str
    asked: dict[str, str]
    brokers: tuple[LocalBroker, ...]
    zookeeper: ProcessRef | None = None

    @property
    def alive(self) -> tuple[LocalBroker, ...]:
        """The brokers whose processes are running."""
        return tuple(broker for broker in self.brokers if broker.process.alive)

    def serving(self) -> tuple[LocalBroker, ...]:
        """Return the brokers that answer and are part of their cluster."""
        return tuple(b for b in self.alive if b.node_id in serving_brokers(HOST, b.port))


def default_directory() -> Path:
    """Return where `dev up` keeps its clusters by default."""
    return cache_dir() / "dev"


def plan(
    directory: Path,
    names: Sequence[str],
    *,
    brokers: int,
    base_port: int,
    ports_apart: int,
    kafka_version: str,
    overrides: dict[str, str],
) -> list[ClusterConfig]:
    """Return the clusters for these options; each starts `ports_apart` ports above the one before.

    Raises:
        DevkitError: A name is used twice, or the ports of two clusters would collide.
    """
    if len(set(names)) != len(names):
        raise DevkitError("every cluster needs its own name", why=", ".join(names))
    if brokers * PORTS_PER_BROKER > ports_apart:
        raise DevkitError(f"{brokers} brokers need more than the {ports_apart} ports reserved for a cluster")
    return [
        ClusterConfig(
            name=name,
            directory=directory / name,
            base_port=base_port + index * ports_apart,
            brokers=brokers,
            kafka_version=kafka_version,
            overrides=overrides,
        )
        for index, name in enumerate(names)
    ]


def up(directory: Path, configs: Sequence[ClusterConfig]) -> tuple[list[LocalCluster], bool]:
    """Start the clusters that are not running yet; return all of `configs`, and whether all were running already.

    Until all of them serve, they end with this process; from then on they stay.

    Raises:
        DevkitError: One could not be started, or runs with other settings. None that was started here is left running.
    """
    with locked(directory / "devkit.lock"):
        known = {cluster.name: cluster for cluster in load(directory)}
        missing = [config for config in configs if not _runs(known.get(config.name), config)]
        for config in missing:
            if config.name in known:  # some of its brokers may still be running
                _stop(known.pop(config.name))
        clusters = [Cluster(config, releasable=True) for config in missing]
        start_clusters(clusters)
        try:
            known |= {cluster.config.name: _describe(cluster) for cluster in clusters}
            _save(directory, list(known.values()))
            for cluster in clusters:
                cluster.release()
        except BaseException:
            for cluster in clusters:
                cluster.kill()
            raise
        return [known[config.name] for config in configs], not missing


def down(directory: Path, *, wipe: bool = False) -> list[str]:
    """Stop every cluster of that directory and return the names of those that ran; with `wipe` remove their data."""
    if not directory.is_dir():
        return []
    with locked(directory / "devkit.lock"):
        clusters = load(directory)
        ran = [cluster.name for cluster in clusters if cluster.alive]
        # All at once: a quorum that loses its majority cannot shut down cleanly anyway, and waits for its time limit.
        stop_processes([broker.process for cluster in clusters for broker in cluster.brokers])
        stop_processes([cluster.zookeeper for cluster in clusters if cluster.zookeeper is not None])
        _save(directory, [])
        if wipe:
            for child in directory.iterdir():
                if is_cluster_directory(child):
                    wipe_directory(child)
        return ran


def load(directory: Path) -> list[LocalCluster]:
    """Return what the state file of that directory says; nothing if there is none.

    Raises:
        DevkitError: It cannot be read.
    """
    file = directory / "devkit.json"
    try:
        stored = json.loads(file.read_text())
        return [_parsed(cluster) for cluster in stored["clusters"]]
    except FileNotFoundError:
        return []
    except (ValueError, KeyError, TypeError) as error:
        raise DevkitError(
            f"{file} is damaged",
            why=f"{type(error).__name__}: {error}",
            next_step="end the brokers of that directory (`ps -ef` shows them), then remove the file",
        ) from error


def _save(directory: Path, clusters: Sequence[LocalCluster]) -> None:
    content = {"schema_version": SCHEMA_VERSION, "clusters": [dataclasses.asdict(c) for c in clusters]}
    new = directory / "devkit.json.new"
    new.write_text(json.dumps(content, indent=2) + "\n")
    new.replace(directory / "devkit.json")


def _parsed(stored: dict[str, Any]) -> LocalCluster:
    brokers = [LocalBroker(**{**b, "process": ProcessRef(**b["process"])}) for b in stored["brokers"]]
    zookeeper = ProcessRef(**stored["zookeeper"]) if stored.get("zookeeper") else None
    return LocalCluster(**{**stored, "brokers": tuple(brokers), "zookeeper": zookeeper})


def _describe(cluster: Cluster) -> LocalCluster:
    config = cluster.config
    return LocalCluster(
        name=config.name,
        cluster_id=cluster.cluster_id,
        kafka_version=config.kafka_version,
        bootstrap=cluster.bootstrap,
        asked=_asked(config),
        brokers=tuple(
            LocalBroker(node, config.ports(node).direct, str(cluster.log_file(node)), process)
            for node, process in cluster.processes.items()
        ),
        zookeeper=cluster.zookeeper,
    )


def _asked(config: ClusterConfig) -> dict[str, str]:
    return {
        "brokers": str(config.brokers),
        "base port": str(config.base_port),
        "Kafka version": config.kafka_version,
        **config.overrides,
    }


def _runs(known: LocalCluster | None, config: ClusterConfig) -> bool:
    """Whether all of it is running; refuses one that runs with other settings."""
    if known is None or not known.alive:
        return False
    asked = _asked(config)
    if known.asked != asked:
        keys = sorted(k for k in asked | known.asked if asked.get(k) != known.asked.get(k))
        raise DevkitError(
            f"cluster {config.name} is running with other settings",
            why="; ".join(f"{k} is {known.asked.get(k)}, not {asked.get(k)}" for k in keys),
            next_step="replicator dev down, then dev up again",
        )
    return len(known.alive) == len(known.brokers) and (known.zookeeper is None or known.zookeeper.alive)


def _stop(cluster: LocalCluster) -> None:
    stop_processes([broker.process for broker in cluster.brokers])
    if cluster.zookeeper is not None:
        stop_processes([cluster.zookeeper])
