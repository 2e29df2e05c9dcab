"""Steady load: 2,000 records of 1 KB a second, and how late each is, on the target and on the source itself.

The same load in transactions: all partitions take part in each, and a record waits for its commit on both sides; on the
target also for the fill that stands for the marker of the transaction before.
Each record carries the time at which it was *due* to be sent, not the time at which it was: a stall of the sender or
of a broker then shows in every record behind it. The reader of the source is the plain consumer to compare with.
"""

from __future__ import annotations

import multiprocessing
import random
import struct
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection

from confluent_kafka import Consumer, Producer, TopicPartition

from benchmarks.corpus import PARTITIONS, make_record
from benchmarks.measure import BenchmarkError, Child, Cpu, others_seconds
from benchmarks.topics import Probe, create_topics
from replicator.devkit import Cluster

RECORDS_PER_SECOND = 2000
RECORD_BYTES = 1024

_WARM_UP_SECONDS = 10.0
_DUE = struct.Struct(">q")
_VISIBLE_SECONDS = 60.0
_LATE_SECONDS = 20.0
_SETTLE_SECONDS = 3.0
_NANOSECONDS = 1e9
_MILLISECONDS = 1e3


@dataclass(frozen=True, slots=True)
class Spread:
    """Delays from the due time to arrival, in milliseconds."""

    p50: float
    p99: float
    highest: float

    @classmethod
    def of(cls, seconds: list[float]) -> Spread:
        """Return the spread of delays given in seconds."""
        ordered = sorted(seconds)

        def at(share: float) -> float:
            return ordered[min(len(ordered) - 1, int(share * len(ordered)))] * _MILLISECONDS

        return cls(at(0.5), at(0.99), ordered[-1] * _MILLISECONDS)


@dataclass(frozen=True, slots=True)
class SteadyRun:
    """What steady load took.

    Attributes:
        seconds: How long it was measured, after the warm-up.
        target: Delays of a reader of the target.
        source: Delays of a plain consumer of the source, in the same seconds.
        cpu: CPU time of the replicator's process tree in these seconds.
        peak_rss: Peak of its resident memory, in bytes.
        others: Cores that were busy meanwhile with something else than this benchmark.
    """

    seconds: float
    target: Spread
    source: Spread
    cpu: Cpu
    peak_rss: int
    others: float

    @property
    def cpu_percent(self) -> float:
        """CPU time as a share of one core."""
        return 100 * self.cpu.total / self.seconds


def run_steady(
    source: Cluster,
    target: Cluster,
    topic: str,
    target_topic: str,
    seconds: float,
    start: Callable[[], Child],
    commit_ms: int = 0,
) -> SteadyRun:
    """Start a replicator on a new topic, and load it.

    Args:
        source: The cluster to copy from.
        target: The cluster to copy to.
        topic: It is made here.
        target_topic: Its copy.
        seconds: How long to measure, after a warm-up.
        start: Starts the replicator.
        commit_ms: Time between the commits of transactions over all partitions; 0 for none.

    Raises:
        BenchmarkError: It ended, or a record did not arrive.
    """
    create_topics(source, {topic: PARTITIONS})
    _fill_one_each(source, topic)
    with start() as child:
        _await_visible(child, target, target_topic)
        time.sleep(_SETTLE_SECONDS)
        return _measure(source, target, topic, target_topic, seconds, child, commit_ms)


def _fill_one_each(source: Cluster, topic: str) -> None:
    producer = Producer({"bootstrap.servers": source.bootstrap})
    for partition in range(PARTITIONS):
        producer.produce(topic, _DUE.pack(0), partition=partition)
    producer.flush()


def _await_visible(child: Child, target: Cluster, topic: str) -> None:
    deadline = time.monotonic() + _VISIBLE_SECONDS
    with Probe(target, {topic: PARTITIONS}) as probe:
        while not all(probe.ends().values()):
            child.check()
            if time.monotonic() > deadline:
                raise BenchmarkError(f"{topic} did not appear on the target in {_VISIBLE_SECONDS:.0f} s")
            time.sleep(0.1)


def _measure(
    source: Cluster, target: Cluster, topic: str, target_topic: str, seconds: float, child: Child, commit_ms: int
) -> SteadyRun:
    """Run sender and readers in processes of their own, so that none waits for another's interpreter lock."""
    context = multiprocessing.get_context("spawn")
    first_due = time.monotonic_ns() + int(_SETTLE_SECONDS * _NANOSECONDS)
    measured_from = first_due + int(_WARM_UP_SECONDS * _NANOSECONDS)
    count = int((seconds + _WARM_UP_SECONDS) * RECORDS_PER_SECOND)
    processes, answers = [], []
    try:
        for cluster, name in ((target, target_topic), (source, topic)):
            with Probe(cluster, {name: PARTITIONS}) as probe:
                ends = {partition: end for (_, partition), end in probe.ends().items()}
            receiver, sender = context.Pipe(duplex=False)
            answers.append(receiver)
            arguments = (cluster.bootstrap, name, ends, count, measured_from, sender)
            processes.append(context.Process(target=_read, args=arguments, daemon=True))
        arguments_of_sender = (source.bootstrap, topic, count, first_due, commit_ms)
        processes.append(context.Process(target=_send, args=arguments_of_sender, daemon=True))
        for process in processes:
            process.start()
        time.sleep(max(0.0, (measured_from - time.monotonic_ns()) / _NANOSECONDS))
        before, others, begun = child.cpu(), others_seconds(), time.monotonic()
        time.sleep(seconds)
        cpu, elapsed = child.cpu() - before, time.monotonic() - begun
        others = (others_seconds() - others) / elapsed
        child.check()
        late = [answer.recv() if answer.poll(_LATE_SECONDS + 10) else [] for answer in answers]
    finally:
        for process in processes:
            process.kill()
            process.join()
    wanted = int(seconds * RECORDS_PER_SECOND)
    if any(len(delays) < wanted - 1 for delays in late):
        raise BenchmarkError(f"void: {[len(delays) for delays in late]} of {wanted} records arrived")
    return SteadyRun(elapsed, Spread.of(late[0]), Spread.of(late[1]), cpu, child.peak_rss(), others)


def _send(bootstrap: str, topic: str, count: int, first_due: int, commit_ms: int) -> None:
    """Send each record when it is due; a late one is sent at once and keeps its due time."""
    body = make_record(random.Random(topic), RECORD_BYTES - _DUE.size)  # noqa: S311 - a payload, not a secret
    settings: dict[str, str | int] = {"bootstrap.servers": bootstrap, "linger.ms": 0, "acks": "all", "log_level": 3}
    if commit_ms:
        settings["transactional.id"] = topic
    producer = Producer(settings)
    interval = int(_NANOSECONDS / RECORDS_PER_SECOND)
    commit_at = first_due + commit_ms * _NANOSECONDS / _MILLISECONDS
    if commit_ms:
        producer.init_transactions()
        producer.begin_transaction()
    for number in range(count):
        due = first_due + number * interval
        while (wait := due - time.monotonic_ns()) > 0:
            time.sleep(wait / _NANOSECONDS)
        if commit_ms and due >= commit_at:
            producer.commit_transaction()
            producer.begin_transaction()
            commit_at += commit_ms * _NANOSECONDS / _MILLISECONDS
        producer.produce(topic, _DUE.pack(due) + body, partition=number % PARTITIONS)
        producer.poll(0)
    if commit_ms:
        producer.commit_transaction()
    producer.flush()


def _read(
    bootstrap: str, topic: str, ends: Mapping[int, int], count: int, measured_from: int, answer: Connection
) -> None:
    """Read from the given ends on; send the delays of the records due after the warm-up, in seconds."""
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": "bench-latency",
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
        }
    )
    consumer.assign([TopicPartition(topic, partition, end) for partition, end in ends.items()])
    delays: list[float] = []
    seen = 0
    while seen < count:
        message = consumer.poll(_LATE_SECONDS)
        now = time.monotonic_ns()
        if message is None:
            break
        value = message.value()
        if message.error() is not None or value is None:
            continue
        (due,) = _DUE.unpack_from(value)
        seen += 1
        if due >= measured_from:
            delays.append((now - due) / _NANOSECONDS)
    consumer.close()
    answer.send(delays)
