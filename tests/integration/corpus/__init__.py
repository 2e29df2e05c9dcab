"""Every shape of Kafka log, made on real brokers: `SHAPES` is the table, `begin` and `write` make the logs.

By hand: ``python -m tests.integration.corpus --bootstrap HOST:PORT [--shape NAME]``.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

from replicator.devkit import Cluster
from tests.integration.corpus.compaction import COMPACTION
from tests.integration.corpus.plain import PLAIN
from tests.integration.corpus.segments import SEGMENTS, plant
from tests.integration.corpus.shape import Shape
from tests.integration.corpus.starts import STARTS
from tests.integration.corpus.transactional import TRANSACTIONAL
from tests.integration.kafka_client import Kafka

SHAPES: dict[str, Shape] = {**PLAIN, **TRANSACTIONAL, **COMPACTION, **STARTS, **SEGMENTS}
_AT_ONCE = 8


def begin(cluster: Cluster, topics: Mapping[str, Shape]) -> None:
    """Create topics (name to shape) with all that stands there before a copy begins; restarts the only broker."""
    segments = {topic: shape.segment() for topic, shape in topics.items() if shape.segment is not None}
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        crafted = [pool.submit(topics[topic].begin, cluster, topic) for topic in segments]
        for each in crafted:
            each.result()
    if segments:
        plant(cluster, segments)
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        others = [pool.submit(shape.begin, cluster, topic) for topic, shape in topics.items() if topic not in segments]
        for each in others:
            each.result()


def write(cluster: Kafka, topics: Mapping[str, Shape], rounds: int = 1) -> None:
    """Write rounds of records to topics, several topics at once, one round after the other."""

    def all_rounds(topic: str, shape: Shape) -> None:
        for number in range(rounds):
            shape.write(cluster, topic, number)

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        for each in [pool.submit(all_rounds, topic, shape) for topic, shape in topics.items()]:
            each.result()
