"""How tests of administration reach and read a cluster."""

from __future__ import annotations

import asyncio
from typing import Protocol

from replicator.core.verify.rows import Row
from replicator.engine.logs.ranges.partition_reader import PartitionReader
from replicator.model import security
from replicator.model.names import TopicPartition
from replicator.model.spec import Isolation

COMMITTED, UNCOMMITTED = Isolation.READ_COMMITTED, Isolation.READ_UNCOMMITTED


class Kafka(Protocol):
    """What these tests need of a cluster."""

    @property
    def bootstrap(self) -> str:
        """Addresses, separated by commas."""


async def read(reader: PartitionReader, part: TopicPartition, start: int, end: int, chunks: int = 1000) -> list[Row]:
    """Return what a reader reads, in a thread; it is left early after so many chunks."""

    def work() -> list[Row]:
        reader.open(part, start, end)
        return [row for _ in range(chunks) for row in reader.chunk()]

    return await asyncio.to_thread(work)


def spec(cluster: Kafka, credentials: security.Security | None = None) -> security.ClusterSpec:
    """Return how to reach a cluster."""
    pairs = (address.rsplit(":", 1) for address in cluster.bootstrap.split(","))
    bootstrap = tuple((host, int(port)) for host, port in pairs)
    return security.ClusterSpec("east", bootstrap, security=credentials or security.Security())
