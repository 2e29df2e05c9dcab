"""``python -m benchmarks.fence``: how long it takes until every one of 1,000 partitions is fenced, by either route.

A cluster of three brokers on this machine; no daemon runs. The time is that of `engine.work.fence.FenceWriter.stand`:
markers in every partition, and the look that finds the epoch in each of them.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from pathlib import Path

from benchmarks.topics import create_topics
from replicator.devkit import Cluster, ClusterConfig, free_base_port, start_clusters
from replicator.engine.work.fence import FenceWriter
from replicator.model.names import TopicPartition, data_transactional_id
from replicator.model.security import ClusterSpec
from replicator.model.units import parse_bootstrap
from replicator.wire.cluster import Cluster as Wire
from replicator.wire.messages.data.transactions import init_producer_id

_TOPICS = 100
_BROKERS = 3
_UID = "benchmark"
_SECONDS_MAX = 120.0


async def _measure(cluster: Cluster, partitions: list[TopicPartition]) -> dict[str, float]:
    wire = Wire(ClusterSpec("target", parse_bootstrap(cluster.bootstrap)))
    await wire.open()
    found: dict[str, float] = {}
    try:
        for route, in_bulk in (("bulk", True), ("transaction", False), ("bulk again", True)):
            identity = await init_producer_id(wire, data_transactional_id(_UID))
            fence = FenceWriter(wire, _UID, identity.producer_id, identity.producer_epoch, in_bulk=in_bulk)
            began = time.monotonic()
            stood = await fence.stand(partitions, _SECONDS_MAX)
            found[route] = time.monotonic() - began
            if len(stood.ends) != len(partitions):
                raise SystemExit(f"{route}: {len(stood.ends)} of {len(partitions)} partitions tell their end")
    finally:
        wire.close()
    return found


def main() -> None:
    """Start a cluster, measure, print."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    arguments.add_argument("--partitions", type=int, default=1000)
    count = arguments.parse_args().partitions
    each = max(1, count // _TOPICS)
    names = {f"fenced-{number:03}": each for number in range(count // each)}
    with tempfile.TemporaryDirectory(prefix="fence-") as directory:
        config = ClusterConfig("target", Path(directory) / "target", free_base_port(_BROKERS), brokers=_BROKERS)
        cluster = Cluster(config)
        try:
            start_clusters([cluster])
            create_topics(cluster, names)
            partitions = [TopicPartition(name, number) for name in names for number in range(each)]
            for route, seconds in asyncio.run(_measure(cluster, partitions)).items():
                print(f"{route:12} {len(partitions)} partitions, {_BROKERS} brokers: {seconds:.2f} s")
        finally:
            cluster.kill()


if __name__ == "__main__":
    main()
