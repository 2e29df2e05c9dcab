"""A cheap check that a copy is one, so that a fast but wrong run does not count."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from confluent_kafka import Consumer, KafkaError, Message, TopicPartition

from benchmarks.corpus import PARTITIONS
from benchmarks.measure import BenchmarkError
from benchmarks.topics import Probe, log_stats
from replicator.devkit import Cluster

_SAMPLE_RECORDS = 50
_MARKERS_MAX = 400
"""Offsets at the end of a partition that may hold transaction markers instead of records."""

_READ_TIMEOUT_SECONDS = 20.0


def check_equal(source: Cluster, source_topic: str, target: Cluster, target_topic: str, *, identical: bool) -> None:
    """Compare the number of records, ends, and samples of records from each partition.

    Args:
        source: The cluster copied from.
        source_topic: Its topic.
        target: The cluster copied to.
        target_topic: Its topic.
        identical: Whether offsets must be equal too.

    Raises:
        BenchmarkError: Says what differs.
    """
    wanted, found = log_stats(source, source_topic).records, log_stats(target, target_topic).records
    if wanted != found:
        raise BenchmarkError(f"void: {source_topic} has {wanted} records, its copy {found}")
    with Probe(source, {source_topic: PARTITIONS}) as probe:
        ends = list(probe.ends().values())
    with Probe(target, {target_topic: PARTITIONS}) as probe:
        target_ends = list(probe.ends().values())
    if identical and ends != target_ends:
        raise BenchmarkError(f"void: {source_topic} ends at {ends}, its copy at {target_ends}")
    with _Sampler(source, source_topic) as original, _Sampler(target, target_topic) as copy:
        for partition in range(PARTITIONS):
            end, target_end = ends[partition], target_ends[partition]
            pairs = [
                (original.head(partition, 0), copy.head(partition, 0)),
                (original.tail(partition, end), copy.tail(partition, target_end)),
            ]
            if identical:
                middle = end // 2
                pairs.append((original.head(partition, middle), copy.head(partition, middle)))
            if any(_content(one, identical) != _content(other, identical) for one, other in pairs):
                raise BenchmarkError(f"void: partition {partition} of {source_topic} differs from its copy")


def survivors(cluster: Cluster, topic: str) -> dict[tuple[int, int], object]:
    """Return what a compacted topic holds now: partition and offset of each record, to its time, key and value."""
    found: dict[tuple[int, int], object] = {}
    with _Sampler(cluster, topic) as sampler:
        for partition in range(PARTITIONS):
            for message in sampler.all(partition):
                found[partition, message.offset() or 0] = (message.timestamp()[1], message.key(), message.value())
    return found


def _content(messages: list[Message], identical: bool) -> list[object]:  # noqa: FBT001 - a property of the comparison
    """Return what must be equal in each record; a time that the source's broker gave becomes the record's own."""
    return [(m.offset() if identical else None, m.timestamp()[1], m.key(), m.value(), m.headers()) for m in messages]


class _Sampler:
    """Reads a few records at a time from one topic."""

    def __init__(self, cluster: Cluster, topic: str) -> None:
        self._topic = topic
        self._consumer = Consumer(
            {
                "bootstrap.servers": cluster.bootstrap,
                "group.id": "bench-check",
                "enable.auto.commit": False,
                "enable.partition.eof": True,
                "max.partition.fetch.bytes": 256 << 10,
                "fetch.wait.max.ms": 10,  # the end of a partition is what we wait for, again and again
                "isolation.level": "read_committed",
            }
        )

    def __enter__(self) -> _Sampler:  # noqa: PYI034 - nobody derives from it
        return self

    def __exit__(self, *_: object) -> None:
        self._consumer.close()

    def head(self, partition: int, offset: int) -> list[Message]:
        """Return the records from an offset on."""
        return list(itertools.islice(self._read(partition, offset), _SAMPLE_RECORDS))

    def all(self, partition: int) -> Iterator[Message]:
        """Yield every record."""
        return self._read(partition, 0)

    def tail(self, partition: int, end: int) -> list[Message]:
        """Return the last records before the end."""
        return list(self._read(partition, max(0, end - _MARKERS_MAX)))[-_SAMPLE_RECORDS:]

    def _read(self, partition: int, offset: int) -> Iterator[Message]:
        """Yield the records from an offset to the end."""
        self._consumer.assign([TopicPartition(self._topic, partition, offset)])
        while True:
            message = self._consumer.poll(_READ_TIMEOUT_SECONDS)
            if message is None:
                raise BenchmarkError(f"no answer about partition {partition} of {self._topic}")
            error = message.error()
            if error is None:
                yield message
            elif error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 - its public name, in this library
                return
            else:
                raise BenchmarkError(f"{self._topic} cannot be read: {error}")
