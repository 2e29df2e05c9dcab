"""Compacted logs: holes before, inside and behind batches, batches without a record, tombstones kept and removed.

A broker's cleaner sleeps `log.cleaner.backoff.ms` between two looks, 15 s by default: where the corpus is made often,
the cluster's own configuration says less.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterable, Sequence
from typing import Any

from tests.integration.corpus.shape import Shape
from tests.integration.corpus.transactional import transactional
from tests.integration.kafka_client import Kafka, Record, configure, create, read_all, wait_until
from tests.integration.load import produce

PARTITIONS = 3
_ROLL = b"again"
_DAY_MS = "86400000"


def compacted(cluster: Kafka, topic: str, partitions: int = 1, delete_retention_ms: str = "0") -> None:
    """Create a topic that is cleaned as soon as a segment is closed."""
    create(
        cluster,
        topic,
        partitions,
        cleanup_policy="compact",
        segment_ms="500",
        min_cleanable_dirty_ratio="0.0",
        delete_retention_ms=delete_retention_ms,
        max_compaction_lag_ms="500",
    )


def cleaned(cluster: Kafka, topic: str) -> None:
    """Wait until the cleaner has left one record of each key, but for those that had to roll segments meanwhile."""

    def clean() -> bool:
        found = read_all(cluster, topic)
        for partition in found:
            again = {"key": _ROLL, "value": b"%f" % time.time(), "partition": partition}
            produce(cluster, topic, [again])  # rolls the segment
        keys = [[record.key for record in records if record.key != _ROLL] for records in found.values()]
        return all(len(set(each)) == len(each) for each in keys)

    wait_until("the cleaner ran", clean, 120, every=0.6)


def last_values(records: Iterable[Record]) -> dict[bytes | None, bytes]:
    """Return what a reader of the whole log ends up with."""
    last = {record.key: record.value for record in records}
    return {key: value for key, value in last.items() if value is not None}


def _batch(cluster: Kafka, topic: str, keys: Sequence[str], value: bytes | None, **settings: Any) -> None:
    """Write one batch."""
    items = [{"key": key.encode(), "value": value, "headers": [("h", key.encode()), ("h", None)]} for key in keys]
    produce(cluster, topic, items, **{"linger.ms": 100, **settings})


def _holes(cluster: Kafka, topic: str) -> None:
    """Write batches of partition 0 that lose their first, middle, last or all records, or the batch before them."""
    idempotent = {"enable.idempotence": True}  # of such a producer the last batch stays, empty, as its sequence
    _batch(cluster, topic, ["a", "b", "c", "x1", "x2"], b"1")
    _batch(cluster, topic, ["a", "first-gone", "d", "inside-gone", "b", "last-gone", "c"], b"2")
    _batch(cluster, topic, ["a", "b"], b"3", **{"compression.type": "lz4"})
    _batch(cluster, topic, ["c", "d"], b"4", **idempotent)
    _batch(cluster, topic, ["e", "x1", "f", "x2", "g", "e"], None, **{"compression.type": "zstd"})
    _batch(cluster, topic, ["c", "d"], b"5", **idempotent)
    _batch(cluster, topic, ["e", "kept", "a", "b", "kept too", "c", "d", "f"], b"6", **{"compression.type": "gzip"})
    _batch(cluster, topic, ["a", "b", "c", "d", "e", "f"], b"7")


def _mixture(cluster: Kafka, topic: str, seed: int) -> None:
    """Write many batches of few keys to partition 1, with tombstones, and transactions to partition 2."""
    chance = random.Random(seed)  # noqa: S311 - test data
    for _ in range(4):
        items: list[dict[str, Any]] = [
            {"key": b"%d" % chance.randrange(40), "value": chance.choice((b"v" * 50, None)), "partition": 1}
            for _ in range(150)
        ]
        produce(cluster, topic, items, **{"batch.num.messages": 20})
    with transactional(cluster, f"{topic}-{seed}") as producer:
        for number in range(20):
            producer.begin_transaction()
            for at in range(6):
                producer.produce(topic, b"%d-%d" % (number, at), b"%d" % chance.randrange(30), 2)
            producer.flush(30)
            (producer.abort_transaction if number % 4 == 0 else producer.commit_transaction)(30)


def clean_and_freeze(cluster: Kafka, topic: str) -> None:
    """Have the cleaner run, keeping tombstones, then forbid it: what is left stays as it is, on both sides."""
    compacted(cluster, topic, PARTITIONS, _DAY_MS)
    _holes(cluster, topic)
    _mixture(cluster, topic, 1)
    cleaned(cluster, topic)
    configure(cluster, topic, cleanup_policy="delete", segment_ms=_DAY_MS)


def clean(cluster: Kafka, topic: str) -> None:
    """Have the cleaner run; it takes tombstones too, and goes on."""
    compacted(cluster, topic, PARTITIONS)
    _holes(cluster, topic)
    _mixture(cluster, topic, 1)
    cleaned(cluster, topic)


def more(cluster: Kafka, topic: str, round_: int) -> None:
    """Write the same keys again."""
    _mixture(cluster, topic, 100 + round_)


COMPACTION: dict[str, Shape] = {
    "compacted": Shape(clean_and_freeze, more),
    "compacting": Shape(clean, more, cleaned=True),
}
