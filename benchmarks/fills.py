"""Offsets without a record, filled with markers: a compacted log in fragments, and one with a single long hole.

The source's cleaner makes both: a key written again and again vanishes but for its last record. A fragment costs one
batch and one fill, each waiting for the other, so what counts is how many partitions share a round.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from confluent_kafka import Producer

from benchmarks.corpus import PARTITIONS
from benchmarks.measure import BenchmarkError, Child, Cpu, others_seconds, process_cpu
from benchmarks.same import survivors
from benchmarks.topics import Probe, create_topics, log_stats
from replicator.devkit import Cluster

FRAGMENTS, LONG_HOLES = "fragments", "long holes"

_CONFIGS = {
    "cleanup.policy": "compact",
    "segment.ms": "1000",
    "min.cleanable.dirty.ratio": "0.0",
    "delete.retention.ms": "0",
    "max.compaction.lag.ms": "500",
}
_VALUE = b"x" * 100
_CLEANED_SECONDS = 120.0
_CLEANED_SHARE = 1.02
"""Records left, as a multiple of those that must be: what was written last stays in a segment that is not cleaned."""
_POLL_SECONDS = 0.02
_STALL_SECONDS = 90.0
_BEGUN_SHARE = 0.05
"""Measured from here on: before, the daemon waits for the claim and makes its first round."""


@dataclass(frozen=True, slots=True)
class FillRun:
    """What filling took, from the first twentieth of all offsets to the last.

    Attributes:
        offsets: Offsets that came to stand on the target meanwhile.
        markers: Markers among them, by their share of the whole log.
        runs: Runs of records among them, each with a hole behind it.
        seconds: How long it took.
        cpu: CPU time of the process tree.
        target_cpu: CPU time of the target's broker.
        others: Cores that were busy meanwhile with something else than this benchmark.
    """

    offsets: int
    markers: int
    runs: int
    seconds: float
    cpu: Cpu
    target_cpu: Cpu
    others: float

    @property
    def markers_per_second(self) -> float:
        """Markers per second, over all partitions."""
        return self.markers / self.seconds

    @property
    def runs_per_second(self) -> float:
        """Runs of records per second, over all partitions."""
        return self.runs / self.seconds


def run_fills(
    source: Cluster, target: Cluster, topic: str, target_topic: str, holes: int, hole: int, start: Callable[[], Child]
) -> FillRun:
    """Make a compacted topic with holes, let a replicator copy it, and compare what both sides hold.

    Args:
        source: The cluster to copy from.
        target: The cluster to copy to.
        topic: It is made here.
        target_topic: Its copy.
        holes: Holes in each partition.
        hole: Offsets without a record in each of them; one record stands between two.
        start: Starts the replicator.

    Raises:
        BenchmarkError: The cleaner did not run, or the copy got stuck or differs.
    """
    create_topics(source, {topic: PARTITIONS}, _CONFIGS)
    _write(source, topic, holes, hole)
    left = _await_cleaned(source, topic, holes * PARTITIONS)
    with Probe(source, {topic: PARTITIONS}) as probe:
        wanted = list(probe.ends().values())
    with start() as child:
        run = _watch(child, target, target_topic, wanted, left / sum(wanted))
    _check(source, topic, target, target_topic)
    return run


def _keys(holes: int, hole: int) -> Iterator[bytes]:
    """Yield the keys of one partition in order: one that stays, then those that will be gone."""
    for number in range(holes):
        yield b"stays-%d" % number
        for _ in range(hole):
            yield b"gone"


def _write(cluster: Cluster, topic: str, holes: int, hole: int) -> None:
    """Write the records, and after a pause one more, so that the segment before it is closed and can be cleaned."""
    producer = Producer(
        {"bootstrap.servers": cluster.bootstrap, "linger.ms": 50, "enable.idempotence": True, "log_level": 3}
    )
    for number, key in enumerate(_keys(holes, hole)):
        for partition in range(PARTITIONS):
            producer.produce(topic, _VALUE, key, partition)
        if not number % 500:
            producer.flush()
    producer.flush()
    _roll(cluster, topic)


def _roll(cluster: Cluster, topic: str) -> None:
    producer = Producer({"bootstrap.servers": cluster.bootstrap})
    time.sleep(2 * int(_CONFIGS["segment.ms"]) / 1000)
    for partition in range(PARTITIONS):
        producer.produce(topic, _VALUE, b"gone", partition)
    producer.flush()


def _await_cleaned(cluster: Cluster, topic: str, stay: int) -> int:
    """Return the number of records left."""
    deadline = time.monotonic() + _CLEANED_SECONDS
    while (left := log_stats(cluster, topic).records) > stay * _CLEANED_SHARE + 3 * PARTITIONS:
        if time.monotonic() > deadline:
            raise BenchmarkError(f"{left} records are left where the cleaner should have kept about {stay}")
        time.sleep(1)
    return left


@dataclass(frozen=True, slots=True)
class _Look:
    at: float
    offsets: int
    cpu: Cpu
    target_cpu: Cpu
    others: float

    @classmethod
    def take(cls, child: Child, target: Cluster, offsets: int) -> _Look:
        """Look at the processes."""
        pid = target.broker_pids[1]
        return cls(time.monotonic(), offsets, child.cpu(), process_cpu(pid), others_seconds())


def _watch(child: Child, target: Cluster, topic: str, wanted: list[int], records_share: float) -> FillRun:
    first: _Look | None = None
    last_at, last_sum = time.monotonic(), 0
    with Probe(target, {topic: PARTITIONS}) as probe:
        while True:
            ends = list(probe.ends().values())
            now, offsets = time.monotonic(), sum(ends)
            if offsets != last_sum:
                last_at, last_sum = now, offsets
            if first is None and offsets >= _BEGUN_SHARE * sum(wanted):
                first = _Look.take(child, target, offsets)
            if len(ends) == len(wanted) and all(map(int.__ge__, ends, wanted)):
                break
            child.check()
            if now - last_at > _STALL_SECONDS:
                raise BenchmarkError(f"stuck at {offsets} of {sum(wanted)} offsets: {child.log_tail()}")
            time.sleep(_POLL_SECONDS)
    last = _Look.take(child, target, offsets)
    if first is None or last.at - first.at < 1:
        raise BenchmarkError("it was over too soon to be measured")
    seconds, done = last.at - first.at, last.offsets - first.offsets
    records = round(done * records_share)
    others = (last.others - first.others) / seconds
    return FillRun(
        done, done - records, records, seconds, last.cpu - first.cpu, last.target_cpu - first.target_cpu, others
    )


def _check(source: Cluster, topic: str, target: Cluster, target_topic: str) -> None:
    """Compare what both sides hold: each cleaner goes on at its own pace, so what only one of them has is left out."""
    there, here = survivors(source, topic), survivors(target, target_topic)
    both = there.keys() & here.keys()
    if len(both) < 0.9 * min(len(there), len(here)) or any(there[at] != here[at] for at in both):
        raise BenchmarkError(f"void: {topic} differs from its copy")
