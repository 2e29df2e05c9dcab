"""Kafka, from outside: an independent reader, and what it reads compared.

The reader is confluent-kafka alone, none of our own code: it judges what our code wrote.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, TypeVar

from confluent_kafka import Consumer, KafkaError, KafkaException, Message
from confluent_kafka import TopicPartition as Position
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # its __init__ has no __all__
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
    NewTopic,
    ResourceType,
)

from replicator.model.spec import Isolation

_KAFKA_SECONDS = 30
_T = TypeVar("_T")

QUIET = {"log_level": 0}
"""librdkafka writes of every killed broker to standard error."""


class Kafka(Protocol):
    """What is needed of a cluster."""

    @property
    def bootstrap(self) -> str:
        """Addresses, separated by commas."""


# -- waiting ------------------------------------------------------------------------------------------------------


def wait_until(what: str, probe: Callable[[], _T], seconds: float = 120.0, every: float = 0.1) -> _T:
    """Call `probe` until it returns something true, and return that; name `what` was waited for if it never does."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            found: object = probe()
        except (OSError, KafkaException) as error:  # a daemon that does not listen yet, a broker that was killed
            found = None
            last: object = error
        else:
            if found:
                return found  # type: ignore[return-value] # the probe's own value
            last = found
        if time.monotonic() > deadline:
            raise AssertionError(f"{what}: not within {seconds:.0f} s; last seen: {last!r}")
        time.sleep(every)


# -- Kafka, from outside --------------------------------------------------------------------------------------------


class Record(NamedTuple):
    """One record as a consumer sees it."""

    offset: int
    timestamp_type: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...]


def admin(cluster: Kafka) -> AdminClient:
    """Return the admin client of a cluster: one for the whole run, its futures end with it."""
    with _MAKING:  # of two that are made at once for one cluster the cache drops one, with what it was asked
        return _admin(cluster.bootstrap)


_MAKING = threading.Lock()


@functools.lru_cache(maxsize=8)
def _admin(bootstrap: str) -> AdminClient:
    return AdminClient({"bootstrap.servers": bootstrap, **QUIET})


def create(cluster: Kafka, topic: str, partitions: int = 1, replicas: int = 1, **configs: str) -> None:
    """Create a topic and wait for it; `retention_ms` stands for `retention.ms`. Old records are kept unless told."""
    named = {"retention.ms": "-1"} | {name.replace("_", "."): value for name, value in configs.items()}
    admin(cluster).create_topics([NewTopic(topic, partitions, replicas, config=named)])[topic].result(_KAFKA_SECONDS)
    wait_until(f"{topic} has leaders", lambda: partition_count(cluster, topic) == partitions)


def delete(cluster: Kafka, topic: str) -> None:
    """Delete a topic and wait until it is gone."""
    admin(cluster).delete_topics([topic])[topic].result(_KAFKA_SECONDS)
    wait_until(f"{topic} is gone", lambda: partition_count(cluster, topic) == 0)


def configure(cluster: Kafka, topic: str, **configs: str) -> None:
    """Set settings of a topic."""
    entries = [
        ConfigEntry(name.replace("_", "."), value, incremental_operation=AlterConfigOpType.SET)
        for name, value in configs.items()
    ]
    resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=entries)
    admin(cluster).incremental_alter_configs([resource])[resource].result(30)


def config_of(cluster: Kafka, topic: str) -> dict[str, str]:
    """Return the settings of a topic that are its own."""
    resource = ConfigResource(ResourceType.TOPIC, topic)
    found = admin(cluster).describe_configs([resource])[resource].result(_KAFKA_SECONDS)
    return {name: entry.value for name, entry in found.items() if not entry.is_default}


def grow(cluster: Kafka, topic: str, partitions: int) -> None:
    """Add partitions."""
    admin(cluster).create_partitions([NewPartitions(topic, partitions)])[topic].result(_KAFKA_SECONDS)


def delete_below(cluster: Kafka, topic: str, offset: int, partition: int = 0) -> None:
    """Move the start of a log."""
    for done in admin(cluster).delete_records([Position(topic, partition, offset)]).values():
        done.result(_KAFKA_SECONDS)


def commit(cluster: Kafka, group: str, topic: str, offsets: dict[int, int]) -> None:
    """Commit offsets of a group, with metadata."""
    made = Consumer({"bootstrap.servers": cluster.bootstrap, "group.id": group, **QUIET})
    positions = [Position(topic, number, offset, "as Streams does") for number, offset in offsets.items()]
    try:
        # The coordinator of a cluster that has just started may still be loading.
        wait_until("offsets are committed", lambda: made.commit(offsets=positions, asynchronous=False), 30)
    finally:
        made.close()


def partition_count(cluster: Kafka, topic: str) -> int:
    """Return how many partitions with a leader a topic has, 0 for none."""
    known = admin(cluster).list_topics(topic, timeout=_KAFKA_SECONDS).topics.get(topic)
    if known is None or known.error is not None:
        return 0
    return sum(1 for partition in known.partitions.values() if partition.leader >= 0)


def leader(cluster: Kafka, topic: str, partition: int = 0) -> int:
    """Return the node that leads a partition."""
    known = admin(cluster).list_topics(topic, timeout=_KAFKA_SECONDS).topics[topic]
    return int(known.partitions[partition].leader)


@contextlib.contextmanager
def consumer(cluster: Kafka, *, isolation: Isolation = Isolation.READ_UNCOMMITTED) -> Iterator[Consumer]:
    """Open a consumer that never begins anywhere by itself."""
    made = Consumer(
        {
            "bootstrap.servers": cluster.bootstrap,
            "group.id": "judge",
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "auto.offset.reset": "error",
            "enable.partition.eof": True,
            "isolation.level": isolation.value,
            "fetch.wait.max.ms": 50,
            "check.crcs": True,
            **QUIET,
        }
    )
    try:
        yield made
    finally:
        made.close()


def bounds(cluster: Kafka, topic: str) -> dict[int, tuple[int, int]]:
    """Return (log start, high watermark) of each partition."""
    with consumer(cluster) as reader:
        return _bounds(reader, topic)


def bounds_of(
    cluster: Kafka, topics: Iterable[str], *, isolation: Isolation = Isolation.READ_UNCOMMITTED
) -> dict[str, dict[int, tuple[int, int]]]:
    """Return what `bounds` does of those topics that exist; with `read_committed` the last stable offset is the end."""
    with consumer(cluster, isolation=isolation) as reader:
        there = reader.list_topics(timeout=_KAFKA_SECONDS).topics
        return {topic: _bounds(reader, topic) for topic in topics if topic in there}


def _bounds(reader: Consumer, topic: str) -> dict[int, tuple[int, int]]:
    known = reader.list_topics(topic, timeout=_KAFKA_SECONDS).topics[topic]
    return {
        number: reader.get_watermark_offsets(Position(topic, number), timeout=_KAFKA_SECONDS)
        for number in sorted(known.partitions)
    }


def read_all(
    cluster: Kafka, topic: str, *, isolation: Isolation = Isolation.READ_UNCOMMITTED, seconds: float = 120.0
) -> dict[int, list[Record]]:
    """Read every partition from its start to its end."""
    return read_many(cluster, [topic], isolation=isolation, seconds=seconds)[topic]


def read_many(
    cluster: Kafka, topics: Iterable[str], *, isolation: Isolation = Isolation.READ_UNCOMMITTED, seconds: float = 120.0
) -> dict[str, dict[int, list[Record]]]:
    """Read every partition of several topics from its start to its end."""
    deadline = time.monotonic() + seconds
    with consumer(cluster, isolation=isolation) as reader:
        starts = {(topic, number): start for topic in topics for number, (start, _) in _bounds(reader, topic).items()}
        found: dict[str, dict[int, list[Record]]] = {topic: {} for topic, _ in starts}
        for topic, number in starts:
            found[topic][number] = []
        left = set(starts)
        reader.assign([Position(topic, number, start) for (topic, number), start in starts.items()])
        while left:
            assert time.monotonic() < deadline, f"not read to the end within {seconds} s: {left}"
            for message in reader.consume(5000, timeout=0.5):
                error = message.error()
                where = (str(message.topic()), int(message.partition() or 0))
                if error is None:
                    found[where[0]][where[1]].append(_record(message))
                elif error.code() == KafkaError._PARTITION_EOF:
                    left.discard(where)
                else:
                    raise AssertionError(f"{where}: {error}")
    return found


def _record(message: Message) -> Record:
    kind, time_ms = message.timestamp()
    headers: Any = message.headers() or ()
    return Record(message.offset(), kind, time_ms, message.key(), message.value(), tuple(headers))  # type: ignore[arg-type] # its stubs allow None


def wait_copied(source: Kafka, target: Kafka, topic: str, *, to: str | None = None, seconds: float = 90.0) -> None:
    """Wait until both sides end at the same offsets; the source has to be idle.

    How long a backlog takes is the machine's affair: what has to come within `seconds` is the next record of it.
    """
    name = to or topic
    wait_until(f"{name} exists on the target", lambda: partition_count(target, name) > 0, seconds)
    ends = {number: end for number, (_, end) in bounds(source, topic).items()}

    with consumer(target) as reader:

        def at() -> dict[int, int]:
            return {number: end for number, (_, end) in _bounds(reader, name).items()}

        def moved() -> bool:
            return at() not in (here, {})

        here = at()
        while here != ends:
            try:
                wait_until(f"{name} is copied on", moved, seconds)
            except AssertionError as error:
                raise AssertionError(f"{error}: {here} of {ends}") from None
            here = at()


def assert_equal(
    source: Kafka, target: Kafka, topic: str, *, to: str | None = None, seconds: float = 90.0
) -> dict[int, list[Record]]:
    """Wait until the copy is complete and compare every field of every record; return what the source holds."""
    wait_copied(source, target, topic, to=to, seconds=seconds)
    there = read_all(source, topic)
    assert_same(topic, there, read_all(target, to or topic))
    return there


def assert_same(topic: str, there: Mapping[int, Sequence[Record]], here: Mapping[int, Sequence[Record]]) -> None:
    """Compare what was read of both sides; name the first difference."""
    assert there.keys() == here.keys(), topic
    for number, records in there.items():
        if records == here[number]:
            continue
        pairs = itertools.zip_longest(records, here[number])
        where, (left, right) = next((at, pair) for at, pair in enumerate(pairs) if pair[0] != pair[1])
        raise AssertionError(
            f"{topic}[{number}] differs at record {where} of {len(records)} / {len(here[number])}:\n"
            f"  source {left}\n  target {right}"
        )
