"""Logs without transactions: codecs, odd records, batch sizes, times, and several producers in one partition."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Any

from confluent_kafka import Producer

from tests.integration.corpus.raw import write_batch
from tests.integration.corpus.shape import Shape
from tests.integration.kafka_client import QUIET, Kafka, create
from tests.integration.load import numbered, produce

CODECS = ("none", "gzip", "snappy", "lz4", "zstd")
ODD: tuple[dict[str, Any], ...] = (
    {"key": b"k", "value": b"v", "headers": [("a", b"1"), ("b", None), ("a", b"2"), ("a", b"1"), ("", b"")]},
    {"key": None, "value": b"no key"},
    {"key": b"tombstone", "value": None},
    {"key": b"", "value": b"", "headers": []},
    {"key": None, "value": None, "headers": [("only", None)]},
    {"key": b"\xff\x00", "value": bytes(range(256)), "headers": [("z", b"\x00" * 300), ("a", b""), ("z", None)]},
)
T0_MS = 1_700_000_000_000
TIMES_MS = (0, 1, -1, 5_000, -1, 0, T0_MS, 253_402_300_800_000, T0_MS - 1)


def mixed(seed: int, count: int, partitions: int) -> list[dict[str, Any]]:
    """Return odd records, small ones and large ones over all partitions, with times that go up and down."""
    chance = random.Random(seed)  # noqa: S311 - test data
    items = []
    for number in range(count):
        item: dict[str, Any] = (
            dict(ODD[number % len(ODD)]) if number % 3 == 0 else {"key": b"%d" % number, "value": b"%d" % number}
        )
        if chance.random() < 0.05:
            item["value"] = chance.randbytes(chance.choice((1_000, 30_000)))
        item["partition"] = chance.randrange(partitions)
        item["timestamp"] = T0_MS + chance.randrange(-(10**9), 10**9)
        items.append(item)
    return items


def creates(partitions: int = 1, **configs: str) -> Callable[[Kafka, str], None]:
    """Return a `begin` that only creates the topic."""

    def begin(cluster: Kafka, topic: str) -> None:
        create(cluster, topic, partitions, 1, **configs)

    return begin


def codecs(cluster: Kafka, topic: str, round_: int) -> None:
    """Write odd and other records in each codec, many a batch and one a batch, over all partitions."""
    for number, codec in enumerate(CODECS):
        seed = 10 * round_ + number
        produce(cluster, topic, mixed(seed, 300, 4), **{"compression.type": codec, "linger.ms": 50})
        single = {"compression.type": codec, "batch.num.messages": 1, "linger.ms": 0}
        produce(cluster, topic, mixed(100 + seed, 50, 4), **single)


def large_batches(cluster: Kafka, topic: str, round_: int) -> None:
    """Write batches of 10,000 records, batches of 900 KB, and single records of 900 KB."""
    chance = random.Random(round_)  # noqa: S311 - test data
    big = {"batch.size": 990_000, "linger.ms": 500, "message.max.bytes": 1_000_000, "batch.num.messages": 10_000}
    tiny = ({"value": b"%d" % (number % 7)} for number in range(20_000))
    produce(cluster, topic, tiny, **big, **{"compression.type": "lz4"})
    produce(cluster, topic, [{"value": chance.randbytes(30_000)} for _ in range(60)], **big)
    produce(cluster, topic, [{"value": chance.randbytes(900_000)} for _ in range(2)], **big)


def times(cluster: Kafka, topic: str, round_: int) -> None:
    """Write records of 1970, of the year 10000, and without any time (-1), which librdkafka cannot write."""
    for number, time_ms in enumerate(TIMES_MS):
        write_batch(cluster, topic, [(time_ms, b"%d" % round_, b"%d" % number)])
    write_batch(cluster, topic, [(time_ms, b"together", None) for time_ms in TIMES_MS], codec=number % 5)
    write_batch(cluster, topic, [(-1, b"none", None)] * 3)


def append_time(cluster: Kafka, topic: str, _: int) -> None:
    """Write records whose times the broker gives, in each codec."""
    headers = [("a", b"1"), ("a", None)]
    for partition, codec in enumerate(CODECS):
        items = [{"value": b"%d" % at, "key": None, "headers": headers, "partition": partition} for at in range(100)]
        produce(cluster, topic, items, **{"compression.type": codec})


def interleaved(cluster: Kafka, topic: str, round_: int) -> None:
    """Let four producers, idempotent ones and plain ones, take turns in one partition, each in its own codec."""
    producers = [
        Producer(
            {
                "bootstrap.servers": cluster.bootstrap,
                "enable.idempotence": number % 2 == 0,
                "compression.type": codec,
                "linger.ms": 0,
                **QUIET,
            }
        )
        for number, codec in enumerate(CODECS[:4])
    ]
    chance = random.Random(round_)  # noqa: S311 - test data
    for turn in range(60):
        producer = chance.choice(producers)
        for at in range(chance.randrange(1, 5)):
            producer.produce(topic, b"%d-%d" % (turn, at), b"k", 0)
        assert producer.flush(30) == 0


def old_and_new(cluster: Kafka, topic: str, round_: int) -> None:
    """Write old and new record times in turns: each old batch ends the target's guard."""
    for turn in range(2):
        first = round_ * 1000 + turn * 20
        produce(cluster, topic, numbered(10, first, timestamp=int(time.time() * 1000)))
        produce(cluster, topic, numbered(10, first + 10, timestamp=1_590_000_000_000))


PLAIN: dict[str, Shape] = {
    "codecs": Shape(creates(4), codecs),
    "large-batches": Shape(creates(), large_batches),
    "times": Shape(creates(message_timestamp_after_max_ms=str((1 << 63) - 1)), times),
    "append-time": Shape(creates(len(CODECS), message_timestamp_type="LogAppendTime"), append_time),
    "interleaved": Shape(creates(), interleaved),
    "old-and-new": Shape(creates(), old_and_new),
}
