"""What it costs to keep 1,000 partitions in step while nobody writes to them."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from confluent_kafka import Producer

from benchmarks.measure import BenchmarkError, Child, Cpu, others_seconds
from benchmarks.topics import Probe, create_topics, delete_topics
from replicator.devkit import Cluster

TOPICS = 100
PARTITIONS_PER_TOPIC = 10

_SETTLE_SECONDS = 15.0
_COPIED_SECONDS = 180.0
_POLL_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class IdleRun:
    """What idling took.

    Attributes:
        all_copied_seconds: From the start of the process until one record was visible in each of the 1,000 partitions.
        seconds: How long it was measured, after that and a pause.
        cpu: CPU time of the process tree in these seconds.
        peak_rss: Peak of its resident memory since its start, in bytes.
        others: Cores that were busy meanwhile with something else than this benchmark.
    """

    all_copied_seconds: float
    seconds: float
    cpu: Cpu
    peak_rss: int
    others: float

    @property
    def cpu_percent(self) -> float:
        """CPU time as a share of one core."""
        return 100 * self.cpu.total / self.seconds


def source_topics(label: str) -> dict[str, int]:
    """Return topic names with their numbers of partitions."""
    return {f"{label}.{number:03d}": PARTITIONS_PER_TOPIC for number in range(TOPICS)}


def run_idle(
    source: Cluster, target: Cluster, label: str, target_prefix: str, seconds: float, start: Callable[[], Child]
) -> IdleRun:
    """Give a replicator 1,000 partitions of one record each, wait until they are copied, then watch it idle.

    Args:
        source: The cluster to copy from; topics ``LABEL.*`` are made there, and removed at the end.
        target: The cluster to copy to.
        label: First part of the topics' names.
        target_prefix: What the replicator puts before the names on the target.
        seconds: How long to watch.
        start: Starts the replicator on ``LABEL.*``.

    Raises:
        BenchmarkError: It ended, or did not copy them in three minutes.
    """
    topics = source_topics(label)
    copies = {f"{target_prefix}{topic}": count for topic, count in topics.items()}
    create_topics(source, topics)
    _fill(source, topics)
    try:
        with start() as child:
            all_copied_seconds = _await_copied(child, target, copies)
            time.sleep(_SETTLE_SECONDS)
            before, others, begun = child.cpu(), others_seconds(), time.monotonic()
            time.sleep(seconds)
            child.check()
            cpu, elapsed = child.cpu() - before, time.monotonic() - begun
            others = (others_seconds() - others) / elapsed
            return IdleRun(all_copied_seconds, elapsed, cpu, child.peak_rss(), others)
    finally:
        delete_topics(source, list(topics))
        delete_topics(target, list(copies))


def _fill(source: Cluster, topics: dict[str, int]) -> None:
    producer = Producer({"bootstrap.servers": source.bootstrap})
    for topic, count in topics.items():
        for partition in range(count):
            producer.produce(topic, b"{}", partition=partition)
    producer.flush()


def _await_copied(child: Child, target: Cluster, copies: dict[str, int]) -> float:
    """Return the age of the process when every partition had a record, in seconds."""
    deadline = time.monotonic() + _COPIED_SECONDS
    with Probe(target, copies) as probe:
        while not all((ends := probe.ends()).values()):
            child.check()
            if time.monotonic() > deadline:
                missing = sum(not end for end in ends.values())
                raise BenchmarkError(f"{missing} of 1,000 partitions were not copied in {_COPIED_SECONDS:.0f} s")
            time.sleep(_POLL_SECONDS)
    return child.age_seconds
