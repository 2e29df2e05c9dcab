"""How much memory the daemon takes at most, where records and answers are as large as they may be.

Bombs are batches of some kilobytes that open to 180 MiB, which any producer may send: they pass untouched, are opened
in part when the daemon attaches after a restart, and stop a partition by name where they must be opened whole. Whoever
compares them opens them in pieces.
"""

from __future__ import annotations

import os
import time
import urllib.request
from collections.abc import Callable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from confluent_kafka import Producer

from benchmarks.measure import BenchmarkError, Child, others_seconds
from benchmarks.padding import PaddedCluster
from benchmarks.subject import http_of
from benchmarks.topics import Probe, create_topics, delete_topics
from replicator.devkit import Cluster

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.subject import Subject

BOMBS, ATTACHED, LARGE, ANSWERS = "bombs", "bombs, attached again", "50 MB records", "60 MB answers"
BESIDE, VERIFY = "bombs, verified beside the copy", "bombs, `verify`"
LARGE_BESIDE, LARGE_VERIFY = "50 MB records, verified beside the copy", "50 MB records, `verify`"

_BOMB_MIB, _BOMB_PARTITIONS = 180, 12
_LARGE_BYTES, _LARGE_PARTITIONS, _LARGE_EACH = 50_000_000, 8, 3
_PADDING_TOPICS = 240_000
_PADDED_ANSWERS_MIN = 3
_MIB = 1 << 20
_DEADLINE_SECONDS = 240.0
_POLL_SECONDS = 0.25
_OPENED, _CALM = "memory.opened", "memory.calm"
_THROUGH, _DIFFERENCES = "replicator_verified_through_offset{", "replicator_verify_differences_total{"
_STOPPED = '"reason":"batch_too_large"'


@dataclass(frozen=True, slots=True)
class MemoryRun:
    """What one load took.

    Attributes:
        name: Which.
        peak_rss: Peak of resident memory of the daemon's process tree, in bytes.
        seconds: From its start until all was copied, or stopped by name.
        others: Cores that were busy meanwhile with something else than this benchmark.
    """

    name: str
    peak_rss: int
    seconds: float
    others: float


def run_memory(source: Cluster, target: Cluster, subject: Subject) -> list[MemoryRun]:
    """Run all loads, each with a daemon of its own.

    Raises:
        BenchmarkError: The daemon ended, or did not get on.
    """
    return [
        *_bombs(source, target, subject),
        *_verified(source, target, subject),
        *_large(source, target, subject),
        _answers(source, target, subject),
    ]


def _bombs(source: Cluster, target: Cluster, subject: Subject) -> list[MemoryRun]:
    topics = {"memory.bombs": _BOMB_PARTITIONS, _OPENED: 1, _CALM: 1}
    prefix = subject.next_prefix()
    create_topics(source, {name: count for name, count in topics.items() if name != _OPENED})
    create_topics(source, {_OPENED: 1}, {"message.timestamp.type": "LogAppendTime"})
    found: list[MemoryRun] = []
    try:
        for partition in range(_BOMB_PARTITIONS):
            _write_bomb(source, "memory.bombs", partition)
        _write_bomb(source, _OPENED, 0)
        for name in (BOMBS, ATTACHED):
            _write(source, _CALM, [(0, b"calm")])
            with subject.start("memory.*", prefix) as child, _measured(name, child, found):
                _await_copied(child, source, target, prefix, {"memory.bombs": _BOMB_PARTITIONS, _CALM: 1})
                _await(child, partial(_is_stopped, child), f"{_OPENED} is not stopped by name")
    finally:
        _remove(source, target, prefix, topics)
    return found


def _verified(source: Cluster, target: Cluster, subject: Subject) -> list[MemoryRun]:
    """Compare bombs, in gzip: nothing tells beforehand how far it expands."""
    topics, prefix = {"memory.bombs": _BOMB_PARTITIONS}, subject.next_prefix()
    create_topics(source, topics)
    found: list[MemoryRun] = []
    try:
        for partition in range(_BOMB_PARTITIONS):
            _write_bomb(source, "memory.bombs", partition, "gzip")
        with subject.start("memory.*", prefix, verified=True) as child, _measured(BESIDE, child, found):
            _await_copied(child, source, target, prefix, topics)
            _await_verified(child, _BOMB_PARTITIONS, _BOMB_MIB)
        found.append(_compared(VERIFY, subject, prefix))
    finally:
        _remove(source, target, prefix, topics)
    return found


def _compared(name: str, subject: Subject, prefix: str) -> MemoryRun:
    """Compare a flow that was copied with `verify`."""
    others, began = others_seconds(), time.monotonic()
    peak = subject.verify(prefix, _DEADLINE_SECONDS)
    seconds = time.monotonic() - began
    return MemoryRun(name, peak, seconds, (others_seconds() - others) / seconds)


def _large(source: Cluster, target: Cluster, subject: Subject) -> list[MemoryRun]:
    """Copy large records, without and with verification beside the copy, and compare them."""
    topics, prefixes = {"memory.large": _LARGE_PARTITIONS}, (subject.next_prefix(), subject.next_prefix())
    create_topics(source, topics, {"max.message.bytes": str(_LARGE_BYTES + _MIB)})
    found: list[MemoryRun] = []
    try:
        value = os.urandom(_LARGE_BYTES)
        numbers = [*range(_LARGE_PARTITIONS)] * _LARGE_EACH
        _write(source, "memory.large", [(number, value) for number in numbers])
        plain, verified = prefixes
        with subject.start("memory.*", plain) as child, _measured(LARGE, child, found):
            _await_copied(child, source, target, plain, topics)
        with subject.start("memory.*", verified, verified=True) as child, _measured(LARGE_BESIDE, child, found):
            _await_copied(child, source, target, verified, topics)
            _await_verified(child, _LARGE_PARTITIONS, _LARGE_EACH)
        found.append(_compared(LARGE_VERIFY, subject, verified))
    finally:
        _remove(source, target, prefixes[0], topics)
        delete_topics(target, [prefixes[1] + name for name in topics])
    return found


def _answers(source: Cluster, target: Cluster, subject: Subject) -> MemoryRun:
    topics, prefix = {_CALM: 1}, subject.next_prefix()
    create_topics(source, topics)
    found: list[MemoryRun] = []
    try:
        _write(source, _CALM, [(0, b"calm")])
        with (
            PaddedCluster(source, _PADDING_TOPICS) as padded,
            subject.start("memory.*", prefix, source=padded.bootstrap) as child,
            _measured(ANSWERS, child, found),
        ):
            _await_copied(child, source, target, prefix, topics)
            _await(child, lambda: padded.answers >= _PADDED_ANSWERS_MIN, "it does not ask for all topics")
    finally:
        _remove(source, target, prefix, topics)
    return found[0]


@contextmanager
def _measured(name: str, child: Child, found: list[MemoryRun]) -> Iterator[None]:
    others, began = others_seconds(), time.monotonic()
    yield
    child.check()
    seconds = time.monotonic() - began
    found.append(MemoryRun(name, child.peak_rss(), child.age_seconds, (others_seconds() - others) / seconds))


def _remove(source: Cluster, target: Cluster, prefix: str, topics: Mapping[str, int]) -> None:
    delete_topics(source, list(topics))
    delete_topics(target, [prefix + name for name in topics])


def _write_bomb(cluster: Cluster, topic: str, partition: int, codec: str = "zstd") -> None:
    """Write one batch of zeros: kilobytes on the wire."""
    one_batch = {"linger.ms": 60_000, "batch.size": 2 * _BOMB_MIB * _MIB}
    producer = _producer(cluster, {"compression.type": codec, **one_batch})
    value = bytes(_MIB)
    for _ in range(_BOMB_MIB):
        producer.produce(topic, value, partition=partition)
    if producer.flush(_DEADLINE_SECONDS):
        raise BenchmarkError(f"a batch of {_BOMB_MIB} MiB of zeros could not be written")


def _write(cluster: Cluster, topic: str, values: list[tuple[int, bytes]]) -> None:
    producer = _producer(cluster, {})
    for partition, value in values:
        producer.produce(topic, value, partition=partition)
        if producer.flush(_DEADLINE_SECONDS):
            raise BenchmarkError(f"a record of {len(value)} bytes could not be written")


def _producer(cluster: Cluster, settings: Mapping[str, str | int]) -> Producer:
    bounds = {"message.max.bytes": 900_000_000, "queue.buffering.max.kbytes": 1 << 20, "log_level": 3}
    return Producer({"bootstrap.servers": cluster.bootstrap, **bounds, **settings})


def _await_copied(child: Child, source: Cluster, target: Cluster, prefix: str, topics: Mapping[str, int]) -> None:
    with Probe(source, topics) as probe:
        wanted = list(probe.ends().values())
    with Probe(target, {prefix + name: count for name, count in topics.items()}) as probe:
        _await(child, lambda: list(probe.ends().values()) == wanted, f"not all of {', '.join(topics)} is copied")


def _await(child: Child, done: Callable[[], bool], problem: str) -> None:
    deadline = time.monotonic() + _DEADLINE_SECONDS
    while not done():
        child.check()
        if time.monotonic() > deadline:
            raise BenchmarkError(f"{problem} after {_DEADLINE_SECONDS:.0f} s: {child.log_tail()}")
        time.sleep(_POLL_SECONDS)


def _is_stopped(child: Child) -> bool:
    return _STOPPED in _told(child, "status")


def _await_verified(child: Child, partitions: int, end: int) -> None:
    """Wait until all partitions were compared up to an end, and nothing differs."""

    def done() -> bool:
        lines = [line for line in _told(child, "metrics").splitlines() if not line.startswith("#")]
        different = [line for line in lines if line.startswith(_DIFFERENCES) and float(line.split()[-1])]
        if different:
            raise BenchmarkError(f"the copy is not equal: {different[0]}")
        through = [float(line.split()[-1]) for line in lines if line.startswith(_THROUGH)]
        return len(through) == partitions and min(through) >= end

    _await(child, done, "not all of it is verified")


def _told(child: Child, path: str) -> str:
    try:
        with urllib.request.urlopen(f"http://{http_of(child)}/{path}", timeout=30) as answer:
            return bytes(answer.read()).decode()
    except OSError:  # it does not listen yet
        return ""
