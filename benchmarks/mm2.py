"""MirrorMaker 2 as a process under measurement, in the best configuration we found (RELIABILITY.md C4 and D2)."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from pathlib import Path

from benchmarks.measure import Child
from replicator.devkit import Cluster, ensure_distribution
from replicator.devkit.brokers.properties import LOG4J2

_HEAP_MB = 2048
_REPLICATION_FACTORS = (
    "replication.factor",
    "checkpoints.topic.replication.factor",
    "heartbeats.topic.replication.factor",
    "offset-syncs.topic.replication.factor",
    "offset.storage.replication.factor",
    "status.storage.replication.factor",
    "config.storage.replication.factor",
)


@dataclass(frozen=True, slots=True)
class Tuning:
    """What differs between our runs of it.

    Attributes:
        exactly_once: Whether its transactions are on.
        codec: The source's codec: it decompresses and compresses every record.
        linger_ms: How long its producer waits for a batch to fill.
        boundary_ms: How often it commits a transaction.
    """

    exactly_once: bool
    codec: str = "none"
    linger_ms: int = 100
    boundary_ms: int = 1000


@dataclass(slots=True)
class MirrorMaker:
    """Starts it in dedicated mode, each time under cluster aliases of its own.

    It finds the offsets it stored by alias, so a new pair of aliases starts at the beginning.

    Attributes:
        directory: Where its properties and logs go.
        source: The cluster to copy from.
        target: The cluster to copy to; topics keep their names.
    """

    directory: Path
    source: Cluster
    target: Cluster
    _runs: int = 0

    def start(self, topics: str, tuning: Tuning) -> Child:
        """Start it on the topics that this regular expression matches."""
        self._runs += 1
        home = self.directory / f"mm2-{self._runs}"
        home.mkdir(parents=True)
        one, other = f"A{self._runs}", f"B{self._runs}"
        properties = self._properties(one, other, topics, tuning)
        file = home / "mm2.properties"
        file.write_text("".join(f"{key} = {value}\n" for key, value in properties.items()))
        logging = home / "log4j2.properties"
        logging.write_text(LOG4J2)
        command = ensure_distribution().command(
            "org.apache.kafka.connect.mirror.MirrorMaker",
            *(str(file), "--clusters", other),
            jvm_flags=("-Xms256m", f"-Xmx{_HEAP_MB}m", f"-Dlog4j2.configurationFile=file:{logging}"),
        )
        return Child(command, home / "mm2.log")

    def _properties(self, one: str, other: str, topics: str, tuning: Tuning) -> dict[str, str]:
        flow = f"{one}->{other}"
        properties = {
            "clusters": f"{one}, {other}",
            f"{one}.bootstrap.servers": self.source.bootstrap,
            f"{other}.bootstrap.servers": self.target.bootstrap,
            f"{flow}.enabled": "true",
            f"{flow}.topics": topics,
            f"{other}->{one}.enabled": "false",
            "emit.heartbeats.enabled": "false",
            "tasks.max": "2",
            "replication.policy.class": "org.apache.kafka.connect.mirror.IdentityReplicationPolicy",
            **dict.fromkeys(_REPLICATION_FACTORS, "1"),
            "sync.topic.acls.enabled": "false",
            "refresh.topics.interval.seconds": "10",
            f"{one}.consumer.max.poll.records": "500",
            f"{one}.consumer.fetch.max.bytes": str(8 << 20),
            f"{one}.consumer.max.partition.fetch.bytes": str(1 << 20),
            f"{one}.consumer.receive.buffer.bytes": str(1 << 20),
            f"{other}.producer.acks": "all",
            f"{other}.producer.batch.size": str(320 << 10),
            f"{other}.producer.linger.ms": str(tuning.linger_ms),
            f"{other}.producer.buffer.memory": str(32 << 20),
            f"{other}.producer.max.request.size": str(8 << 20),
            f"{other}.producer.enable.idempotence": "true",  # its default reorders records with 5 requests in flight
            f"{other}.producer.max.in.flight.requests.per.connection": "5",
            f"{other}.producer.compression.type": tuning.codec,
            f"{other}.offset.flush.interval.ms": "10000",
        }
        if tuning.exactly_once:
            properties |= {
                f"{other}.exactly.once.source.support": "enabled",
                "dedicated.mode.enable.internal.rest": "true",
                "listeners": f"http://127.0.0.1:{_free_port()}",
                f"{one}.consumer.isolation.level": "read_committed",
                f"{flow}.transaction.boundary": "interval",
                f"{flow}.transaction.boundary.interval.ms": str(tuning.boundary_ms),
            }
        return properties


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as opened:
        return int(opened.getsockname()[1])
