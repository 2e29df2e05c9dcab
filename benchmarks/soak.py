"""Hours of mixed load on one daemon: whether its memory, descriptors, threads or tasks grow.

Plain records of all codecs, transactions, a compacted topic whose offsets have holes, and groups that commit. The
source and the target restart in turn. Its HTTP is asked all the time, and it loads its file anew now and then.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import time
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path

from confluent_kafka import Consumer, KafkaException, Producer

from benchmarks.corpus import PARTITIONS, make_record
from benchmarks.measure import MEGABYTE, BenchmarkError, Child
from benchmarks.subject import http_of
from benchmarks.topics import Probe, create_topics, delete_topics
from replicator.devkit import Cluster

CODECS = ("none", "gzip", "snappy", "lz4", "zstd")
PLAIN = tuple(f"soak.{codec}" for codec in CODECS)
TRANSACTIONAL, COMPACTED = "soak.transactions", "soak.compacted"
TOPICS = (*PLAIN, TRANSACTIONAL, COMPACTED)
WARM_UP_SECONDS = 600.0

_GROUPS = 10
_RECORDS_PER_SECOND = 500
_BURST_EVERY_RECORDS, _BURST_RECORDS = 50_000, 20_000
_COMMIT_RECORDS = 50
_KEYS = 1000
_SAMPLE_SECONDS = 10.0
RESTART_SECONDS = _RELOAD_SECONDS = 300.0
_WARM_UP_EVERY_SECONDS = 60.0
"""Within the warm-up a cluster restarts, and the file is loaded anew, each minute at least.

What gathers while a cluster is away takes memory that is kept, and how much differs from time to time. The warm-up has
to reach the most of it: with one restart of each cluster it was reached after forty minutes."""
_WARM_UP_AWAY_SECONDS = 20.0
"""How long a cluster stays away within the warm-up, beside its restart: far longer than any restart afterwards takes.
With restarts alone, the one that took longest came after 37 minutes, and 2 MB stayed."""
_DRAIN_SECONDS = _READY_SECONDS = 180.0
_HTTP_SECONDS = 30.0
_HOUR = 3600.0
_RETENTION = {"retention.bytes": str(8 << 20), "segment.bytes": str(4 << 20)}
_COMPACTION = {
    "cleanup.policy": "compact",
    "segment.ms": "10000",
    "min.cleanable.dirty.ratio": "0.0",
    "delete.retention.ms": "3600000",  # or a copy that falls behind stops: deletions might be lost
    "max.compaction.lag.ms": "5000",
}


@dataclass(frozen=True, slots=True)
class Sample:
    """One look at the daemon.

    Attributes:
        at: Seconds since the load began.
        rss: Resident memory, in bytes.
        descriptors: Open file descriptors.
        threads: Threads.
        tasks: Tasks of its event loop; None while it does not say.
    """

    at: float
    rss: int
    descriptors: int
    threads: int
    tasks: int | None


SOAK_COUNTS: dict[str, Callable[[Sample], float | None]] = {
    "descriptors": lambda sample: sample.descriptors,
    "threads": lambda sample: sample.threads,
    "tasks": lambda sample: sample.tasks,
}
"""What has to stay as it is, by name."""


@dataclass(frozen=True, slots=True)
class SoakRun:
    """What was seen.

    Attributes:
        seconds: Length of the load.
        samples: Every 10 s.
        restarts: How often a cluster was restarted.
        reloads: How often the flow file was loaded anew.
        peak_rss: Peak of resident memory since the start, in bytes.
        offsets: Offsets that stood on the target at the end, over all partitions.
    """

    seconds: float
    samples: tuple[Sample, ...]
    restarts: int
    reloads: int
    peak_rss: int
    offsets: int

    def settled(self) -> list[Sample]:
        """Return the samples after the warm-up of ten minutes."""
        return [sample for sample in self.samples if sample.at >= WARM_UP_SECONDS]

    def growth_per_hour(self, figure: Callable[[Sample], float | None]) -> float | None:
        """Return the slope of a figure after the warm-up, by least squares, per hour; None without two samples."""
        points = [(s.at / _HOUR, value) for s in self.settled() if (value := figure(s)) is not None]
        if not points:
            return None
        mean_at = sum(at for at, _ in points) / len(points)
        mean = sum(value for _, value in points) / len(points)
        spread = sum((at - mean_at) ** 2 for at, _ in points)
        return sum((at - mean_at) * (value - mean) for at, value in points) / spread if spread else None

    @property
    def rss_megabytes_per_hour(self) -> float | None:
        """Growth of resident memory after the warm-up, in MB an hour."""
        growth = self.growth_per_hour(lambda sample: sample.rss)
        return None if growth is None else growth / MEGABYTE


def run_soak(
    source: Cluster,
    target: Cluster,
    target_prefix: str,
    seconds: float,
    start: Callable[[], Child],
    *,
    restart_seconds: float = RESTART_SECONDS,
) -> SoakRun:
    """Load a daemon for hours, and look at it; in the end all must have been copied.

    Args:
        source: The cluster to copy from; topics ``soak.*`` are made there, and removed at the end.
        target: The cluster to copy to.
        target_prefix: What the replicator puts before the names on the target.
        seconds: How long.
        start: Starts the replicator on ``soak.*``.
        restart_seconds: After how long one of the clusters is restarted, in turn; within the warm-up each minute, and
            then it stays away for 20 s.

    Raises:
        BenchmarkError: It ended, or did not copy all within three minutes of the load's end.
    """
    create_topics(source, dict.fromkeys((*PLAIN, TRANSACTIONAL), PARTITIONS), _RETENTION)
    create_topics(source, {COMPACTED: PARTITIONS}, _COMPACTION)
    context = multiprocessing.get_context("spawn")
    load: list[BaseProcess] = [
        context.Process(target=target_of, args=(source.bootstrap,), daemon=True)
        for target_of in (_write_plain, _write_transactions, _write_compacted, _read_in_groups)
    ]
    try:
        with start() as child:
            for process in load:
                process.start()
            watched = _Watched(child, source, target, seconds, restart_seconds)
            try:
                watched.await_ready()
                watched.run()
                if dead := [process.name for process in load if not process.is_alive()]:
                    raise BenchmarkError(f"void: of the load ended {', '.join(dead)}")
            finally:
                for process in load:
                    process.terminate()
                    process.join()
            offsets = _await_drained(child, source, target, target_prefix)
            return SoakRun(
                seconds, tuple(watched.samples), watched.restarts, watched.reloads, child.peak_rss(), offsets
            )
    finally:
        delete_topics(source, TOPICS)
        delete_topics(target, [target_prefix + topic for topic in TOPICS])


class _Watched:
    """Looks at the daemon every 10 s, restarts a cluster now and then, loads the file anew every five minutes."""

    def __init__(self, child: Child, source: Cluster, target: Cluster, seconds: float, restart_seconds: float) -> None:
        self.samples: list[Sample] = []
        self.restarts = self.reloads = 0
        self._child, self._clusters, self._seconds = child, (source, target), seconds
        self._restart_seconds = restart_seconds
        self._http = http_of(child)

    def await_ready(self) -> None:
        """Wait until the daemon copies.

        Raises:
            BenchmarkError: It ended, or was not ready in three minutes.
        """
        deadline = time.monotonic() + _READY_SECONDS
        while "ready" not in self._ask("/readyz"):  # what is not ready is no page, but an error
            self._child.check()
            if time.monotonic() > deadline:
                raise BenchmarkError(f"not ready in {_READY_SECONDS:.0f} s: {self._child.log_tail()}")
            time.sleep(1)

    def run(self) -> None:
        """Go on until time is up."""
        began = time.monotonic()
        number = 0
        while (at := time.monotonic() - began) < self._seconds:
            self._child.check()
            self.samples.append(self._look(at))
            number += 1
            warm_up = at < WARM_UP_SECONDS
            every = _samples(_RELOAD_SECONDS, warm_up=warm_up)
            if number % every == every // 3:
                os.kill(self._child.pid, signal.SIGHUP)
                self.reloads += 1
            every = _samples(self._restart_seconds, warm_up=warm_up)
            if number % every == every // 2:
                self._restart(_WARM_UP_AWAY_SECONDS if warm_up else 0.0)
            time.sleep(max(0.0, began + number * _SAMPLE_SECONDS - time.monotonic()))

    def _restart(self, away_seconds: float) -> None:
        cluster = self._clusters[self.restarts % 2]
        cluster.stop_broker(1)
        time.sleep(away_seconds)
        cluster.start_broker(1)
        self.restarts += 1

    def _look(self, at: float) -> Sample:
        directory = Path(f"/proc/{self._child.pid}")
        status = dict(line.split(":", 1) for line in (directory / "status").read_text().splitlines())
        for page in ("/status", "/readyz"):
            self._ask(page)
        return Sample(
            at=round(at, 1),
            rss=int(status["VmRSS"].split()[0]) << 10,
            descriptors=len(list((directory / "fd").iterdir())),
            threads=int(status["Threads"]),
            tasks=_tasks(self._ask("/metrics")),
        )

    def _ask(self, page: str) -> str:
        try:
            with urllib.request.urlopen(f"http://{self._http}{page}", timeout=_HTTP_SECONDS) as answer:
                return bytes(answer.read()).decode()
        except OSError:  # a page that is not there, or a daemon that is late: what counts is shown by the samples
            return ""


def _samples(every_seconds: float, *, warm_up: bool) -> int:
    """Return after how many samples something is done again."""
    every_seconds = min(every_seconds, _WARM_UP_EVERY_SECONDS) if warm_up else every_seconds
    return max(2, round(every_seconds / _SAMPLE_SECONDS))


def _tasks(metrics: str) -> int | None:
    for line in metrics.splitlines():
        if line.startswith("replicator_event_loop_tasks "):
            return int(float(line.split()[1]))
    return None


def _settings(bootstrap: str, more: Mapping[str, str | int]) -> dict[str, str | int]:
    return {"bootstrap.servers": bootstrap, "log_level": 0, "message.timeout.ms": 300_000, **more}


def _write_plain(bootstrap: str) -> None:
    """Write at a steady pace, each codec to a topic of its own, with a burst now and then."""
    source = random.Random("soak")  # noqa: S311 - payload
    pool = [make_record(source, 1000) for _ in range(500)]
    producers = [Producer(_settings(bootstrap, {"compression.type": codec, "linger.ms": 20})) for codec in CODECS]
    began, number = time.monotonic(), 0
    while True:
        due = int((time.monotonic() - began) * _RECORDS_PER_SECOND)
        due += due // _BURST_EVERY_RECORDS * _BURST_RECORDS
        while number < due:
            at = number % len(CODECS)
            try:
                producers[at].produce(PLAIN[at], pool[number % len(pool)], partition=number // len(CODECS) % PARTITIONS)
            except BufferError:
                producers[at].poll(0.1)
                continue
            number += 1
        for producer in producers:
            producer.poll(0)
        time.sleep(0.02)


def _write_transactions(bootstrap: str) -> None:
    """Commit four transactions of five; begin anew with what ends a producer."""
    while True:
        producer = Producer(
            _settings(
                bootstrap, {"transactional.id": "soak", "transaction.timeout.ms": 60_000, "message.timeout.ms": 50_000}
            )
        )
        try:
            producer.init_transactions(120)
            for number in range(1, 1 << 40):
                producer.begin_transaction()
                for at in range(_COMMIT_RECORDS):
                    producer.produce(TRANSACTIONAL, b"x" * 500, partition=at % PARTITIONS)
                producer.flush(120)
                (producer.commit_transaction if number % 5 else producer.abort_transaction)(120)
                time.sleep(0.5)
        except KafkaException:  # a broker restarts
            time.sleep(5)


def _write_compacted(bootstrap: str) -> None:
    producer = Producer(_settings(bootstrap, {"linger.ms": 50}))
    number = 0
    while True:
        for _ in range(20):
            try:
                producer.produce(COMPACTED, b"y" * 200, str(number % _KEYS).encode(), number % PARTITIONS)
                number += 1
            except BufferError:
                producer.poll(0.5)
        producer.poll(0)
        time.sleep(0.1)


def _read_in_groups(bootstrap: str) -> None:
    """Read as groups that commit each second."""
    settings = {"auto.offset.reset": "earliest", "auto.commit.interval.ms": 1000, "log_level": 0}
    consumers = [
        Consumer(
            {
                "bootstrap.servers": bootstrap,
                "group.id": f"soak-{number}",
                **settings,
                "queued.max.messages.kbytes": 2048,
            }
        )
        for number in range(_GROUPS)
    ]
    for number, consumer in enumerate(consumers):
        consumer.subscribe([TOPICS[number % len(TOPICS)]])
    while True:
        for consumer in consumers:
            consumer.consume(500, timeout=0.05)


def _await_drained(child: Child, source: Cluster, target: Cluster, prefix: str) -> int:
    """Wait until both sides end alike; return the sum of the ends."""
    deadline = time.monotonic() + _DRAIN_SECONDS
    while True:
        try:
            with Probe(source, dict.fromkeys(TOPICS, PARTITIONS)) as probe:
                wanted = {(f"{prefix}{topic}", number): end for (topic, number), end in probe.ends().items()}
            with Probe(target, {f"{prefix}{topic}": PARTITIONS for topic in TOPICS}) as probe:
                found = probe.ends()
        except OSError:
            wanted, found = {}, {(prefix, 0): 0}
        if wanted == found:
            return sum(found.values())
        child.check()
        if time.monotonic() > deadline:
            behind = {at: (end, found.get(at)) for at, end in wanted.items() if found.get(at) != end}
            raise BenchmarkError(f"not all was copied in {_DRAIN_SECONDS:.0f} s: {str(behind)[:500]}")
        time.sleep(1)
