"""Topics of a one-node cluster: made, removed, and looked at without disturbing what is measured."""

from __future__ import annotations

import mmap
import socket
import struct
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from benchmarks.measure import BenchmarkError
from replicator.devkit import Cluster

_LIST_OFFSETS, _LIST_OFFSETS_VERSION = 2, 2
_LATEST = -1
_READ_COMMITTED = 1
_ANSWER_TIMEOUT_SECONDS = 10.0
_GONE_SECONDS = 30.0
_POLL_SECONDS = 0.05

_BATCH_HEAD = struct.Struct(">qiibIhiqqqhii")  # base offset, length, ..., attributes (5), ..., record count (12)
_LENGTH_PREFIX_BYTES = 12
_CONTROL_BIT = 1 << 5


class Probe:
    """Reads log ends from a one-node cluster by one small request; a topic that is not there has none.

    By hand, since librdkafka looks a missing topic up for seconds, and here a missing one is about to appear.
    """

    def __init__(self, cluster: Cluster, partitions: Mapping[str, int]) -> None:
        host, port = cluster.bootstrap.split(":")
        self._socket = socket.create_connection((host, int(port)), timeout=_ANSWER_TIMEOUT_SECONDS)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        parts = [struct.pack(">hhih", _LIST_OFFSETS, _LIST_OFFSETS_VERSION, 1, 5), b"bench"]
        parts.append(struct.pack(">ibi", -1, _READ_COMMITTED, len(partitions)))
        for topic, count in partitions.items():
            name = topic.encode()
            parts += (struct.pack(">h", len(name)), name, struct.pack(">i", count))
            parts += (struct.pack(">iq", partition, _LATEST) for partition in range(count))
        body = b"".join(parts)
        self._request = struct.pack(">i", len(body)) + body

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def ends(self) -> dict[tuple[str, int], int]:
        """Return the end of each partition, as a reader of committed records sees it; 0 where there is none yet."""
        self._socket.sendall(self._request)
        (size,) = struct.unpack(">i", self._exactly(4))
        answer = self._exactly(size)
        found: dict[tuple[str, int], int] = {}
        (topics,) = struct.unpack_from(">i", answer, 8)  # after correlation id and throttle time
        at = 12
        for _ in range(topics):
            (length,) = struct.unpack_from(">h", answer, at)
            topic = answer[at + 2 : at + 2 + length].decode()
            at += 2 + length
            (count,) = struct.unpack_from(">i", answer, at)
            at += 4
            for _ in range(count):
                partition, error, _time, offset = struct.unpack_from(">ihqq", answer, at)
                found[topic, partition] = 0 if error else offset
                at += 22
        return dict(sorted(found.items()))  # a broker answers in any order

    def _exactly(self, size: int) -> bytes:
        received = bytearray()
        while len(received) < size:
            part = self._socket.recv(size - len(received))
            if not part:
                raise BenchmarkError("a broker closed the connection of the harness")
            received += part
        return bytes(received)


def create_topics(cluster: Cluster, partitions: Mapping[str, int], configs: Mapping[str, str] | None = None) -> None:
    """Make topics with one replica, all with the same configs."""
    admin = AdminClient({"bootstrap.servers": cluster.bootstrap})
    config = dict(configs or {})
    topics = [
        NewTopic(topic, num_partitions=count, replication_factor=1, config=config)
        for topic, count in partitions.items()
    ]
    for future in admin.create_topics(topics).values():
        future.result()


def delete_topics(cluster: Cluster, topics: Sequence[str]) -> None:
    """Remove topics, those that do not exist included, and wait until the broker has forgotten them.

    Raises:
        BenchmarkError: It still has one after 30 s.
    """
    admin = AdminClient({"bootstrap.servers": cluster.bootstrap})
    for future in admin.delete_topics(list(topics)).values():
        try:
            future.result()
        except KafkaException as error:
            if error.args[0].code() != KafkaError.UNKNOWN_TOPIC_OR_PART:
                raise
    deadline = time.monotonic() + _GONE_SECONDS
    while not admin.list_topics(timeout=_ANSWER_TIMEOUT_SECONDS).topics.keys().isdisjoint(topics):
        if time.monotonic() > deadline:
            raise BenchmarkError(f"{topics} still exist {_GONE_SECONDS:.0f} s after their removal")
        time.sleep(_POLL_SECONDS)


@dataclass(frozen=True, slots=True)
class LogStats:
    """What the log of a topic holds, over all partitions.

    Attributes:
        wire_bytes: Size of the data batches, as Fetch carries them.
        batches: Data batches.
        records: Records in them.
    """

    wire_bytes: int
    batches: int
    records: int

    @property
    def batch_bytes(self) -> float:
        """Mean size of a batch, in bytes."""
        return self.wire_bytes / max(1, self.batches)


def log_stats(cluster: Cluster, topic: str) -> LogStats:
    """Count what a topic's log holds, from the broker's files: no load on the broker, markers told apart."""
    wire_bytes = batches = records = 0
    for file in sorted(_data(cluster).glob(f"{topic}-*/*.log")):
        if file.parent.name.rpartition("-")[0] != topic:
            continue
        for length, attributes, count in _batches(file):
            if not attributes & _CONTROL_BIT:
                wire_bytes += length
                batches += 1
                records += count
    return LogStats(wire_bytes, batches, records)


def _data(cluster: Cluster) -> Path:
    return cluster.config.directory / "broker-1" / "data"


def _batches(file: Path) -> Iterator[tuple[int, int, int]]:
    """Yield size in bytes, attributes and record count of each batch in a segment."""
    size = file.stat().st_size
    if size < _BATCH_HEAD.size:
        return
    with file.open("rb") as opened, mmap.mmap(opened.fileno(), size, prot=mmap.PROT_READ) as log:
        at = 0
        while at + _BATCH_HEAD.size <= size:
            head = _BATCH_HEAD.unpack_from(log, at)
            length = head[1] + _LENGTH_PREFIX_BYTES
            yield length, head[5], head[12]
            at += length
