"""Load with a ledger."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

from confluent_kafka import KafkaError, Message, Producer

from tests.integration.kafka_client import QUIET, Kafka, Record


def produce(cluster: Kafka, topic: str, items: Iterable[Mapping[str, Any]], **settings: Any) -> None:
    """Write records (keyword arguments of `Producer.produce`) in order; partition 0 unless said."""
    producer = Producer({"bootstrap.servers": cluster.bootstrap, "linger.ms": 5, **QUIET, **settings})
    for item in items:
        while True:
            try:
                fields: dict[str, Any] = {"partition": 0, "value": b""} | dict(item)
                producer.produce(topic, **fields)
                break
            except BufferError:
                producer.poll(0.05)
    assert producer.flush(60) == 0


def numbered(count: int, first: int = 0, **fields: Any) -> Iterator[dict[str, Any]]:
    """Return records that each carry their number."""
    for number in range(first, first + count):
        yield {"value": b"value-%d" % number, "key": b"key-%d" % number, **fields}


class Load:
    """A producer in the background, with a ledger of what the source acknowledged. A context manager.

    Args:
        cluster: Where to.
        topics: Topic to number of partitions.
        per_second: Records in all.
        seed: Makes sizes and partitions the same again.
        when: Number of a record to its time in ms; now if absent.
        settings: librdkafka settings.
    """

    def __init__(
        self,
        cluster: Kafka,
        topics: Mapping[str, int],
        *,
        per_second: int = 3000,
        seed: int = 1,
        when: Callable[[int], int] | None = None,
        **settings: Any,
    ) -> None:
        self._partitions = [(topic, number) for topic, count in topics.items() for number in range(count)]
        self._per_second = per_second
        self._random = random.Random(seed)  # noqa: S311 - sizes of test records
        self._when = when
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="load", daemon=True)
        self._producer = Producer(
            {
                "bootstrap.servers": cluster.bootstrap,
                "enable.idempotence": True,
                "linger.ms": 3,
                "message.timeout.ms": 120_000,
                **QUIET,
                **settings,
            }
        )
        self.acked: dict[tuple[str, int], dict[int, bytes]] = {where: {} for where in self._partitions}
        self.untold: dict[tuple[str, int], set[bytes]] = {where: set() for where in self._partitions}
        self.failed: list[str] = []
        self.sent = 0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Send no more, and wait until all is acknowledged."""
        if self._stopping.is_set():
            return
        self._stopping.set()
        self._thread.join(30)
        assert self._producer.flush(120) == 0
        assert self.failed == []

    def abandon(self) -> None:
        """Send no more, and forget what was not acknowledged: its cluster is gone."""
        self._stopping.set()
        self._thread.join(30)
        self._producer.purge()
        self._producer.flush(10)

    def check(self, topic: str, found: Mapping[int, Sequence[Record]]) -> None:
        """Every acknowledged record stands in `found` at the offset it was acknowledged with, and nothing else.

        One that was acknowledged without an offset, as a repeat, stands there once, wherever that is.
        """
        for number, records in found.items():
            acked, untold = self.acked[topic, number], self.untold[topic, number]
            there = {record.offset: record.value for record in records}
            placed = {at: value for at, value in there.items() if at not in acked and value in untold}
            assert sorted(value or b"" for value in placed.values()) == sorted(untold)
            assert there == acked | placed

    def _run(self) -> None:
        began = time.monotonic()
        while not self._stopping.wait(0.02):
            due = int((time.monotonic() - began) * self._per_second)
            while self.sent < due and not self._stopping.is_set():
                self._send()
            self._producer.poll(0)

    def _send(self) -> None:
        number = self.sent
        topic, partition = self._random.choice(self._partitions)
        value = b"%d:" % number + b"x" * self._random.randrange(300)
        extra: dict[str, Any] = {} if self._when is None else {"timestamp": self._when(number)}
        try:
            self._producer.produce(
                topic, value, b"k%d" % (number % 50), partition, on_delivery=self._on_delivery, **extra
            )
            self.sent += 1
        except BufferError:
            self._producer.poll(0.05)

    def _on_delivery(self, error: KafkaError | None, message: Message) -> None:
        if error is not None:
            self.failed.append(str(error))
            return
        where = (str(message.topic()), int(message.partition() or 0))
        offset, value = message.offset(), bytes(message.value() or b"")
        if offset is None:
            self.untold[where].add(value)
        else:
            self.acked[where][offset] = value
