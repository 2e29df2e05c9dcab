"""An independent reader (confluent-kafka, none of our code) of whole partitions."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any, NamedTuple

from confluent_kafka import Consumer, KafkaError, KafkaException, Message
from confluent_kafka import TopicPartition as Position

from chaos.clients import CALL_SECONDS_MAX
from chaos.errors import ChaosError
from chaos.ledger import Where
from chaos.records import Record
from replicator.model.spec import Isolation

STALL_SECONDS_MAX = 30.0
"""Longest wait for the next record of a log that has one."""

_AT_ONCE = 2000
_PAUSE_SECONDS = 0.5

Entry = tuple[int, Record]
"""Offset and record."""


class Bounds(NamedTuple):
    """Of a log: its first offset, and the one after its last, which need not hold records."""

    start: int
    end: int


class Reader:
    """Reads whole partitions of one cluster.

    Args:
        bootstrap: Its addresses.
        isolation: Whether records of open and aborted transactions are seen as well.
    """

    def __init__(self, bootstrap: str, *, isolation: Isolation = Isolation.READ_UNCOMMITTED) -> None:
        self._consumer = Consumer(
            {
                "bootstrap.servers": bootstrap,
                "group.id": "chaos-check",
                "enable.auto.commit": False,
                "enable.auto.offset.store": False,
                "auto.offset.reset": "error",
                "enable.partition.eof": True,
                "isolation.level": isolation.value,
                "fetch.wait.max.ms": 50,
                "check.crcs": True,
                "log_level": 0,
            }
        )

    def close(self) -> None:
        """Close the connections."""
        self._consumer.close()

    def partitions(self, topic: str) -> list[int]:
        """Return the partitions of a topic."""
        return sorted(self._consumer.list_topics(topic, timeout=CALL_SECONDS_MAX).topics[topic].partitions)

    def bounds(self, where: Where) -> Bounds:
        """Return where a log begins and ends for this reader: with `read_committed`, before open transactions.

        A leader that has just moved is asked for again: faults end moments before everything is compared.

        Raises:
            ChaosError: It could not be asked.
        """
        deadline = time.monotonic() + STALL_SECONDS_MAX
        while True:
            try:
                start, end = self._consumer.get_watermark_offsets(Position(*where), timeout=CALL_SECONDS_MAX)
            except KafkaException as error:
                if time.monotonic() > deadline:
                    raise ChaosError(
                        f"{where} could not be asked for its ends in {STALL_SECONDS_MAX:.0f} s",
                        why=str(error),
                        next_step="read the broker's log",
                    ) from error
                time.sleep(_PAUSE_SECONDS)
            else:
                return Bounds(int(start), int(end))

    def read(self, where: Where) -> Iterator[Entry]:
        """Yield a partition from its start to where it ended when the call was made.

        Raises:
            ChaosError: It could not be read.
        """
        start, end = self.bounds(where)
        self._consumer.assign([Position(*where, start)])
        if start == end:
            return
        deadline = time.monotonic() + STALL_SECONDS_MAX
        while True:
            for message in self._consumer.consume(_AT_ONCE, timeout=0.5):
                deadline = time.monotonic() + STALL_SECONDS_MAX
                error = message.error()
                if error is None:
                    yield int(message.offset() or 0), _record(message)
                elif error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 - its only name
                    return
                else:
                    raise ChaosError(f"{where} could not be read", why=str(error), next_step="read the broker's log")
            if time.monotonic() > deadline:
                raise ChaosError(
                    f"{where} gave nothing for {STALL_SECONDS_MAX:.0f} s", next_step="read the broker's log"
                )


def _record(message: Message) -> Record:
    kind, time_ms = message.timestamp()
    headers: Any = message.headers() or ()
    return Record(kind, time_ms, message.key(), message.value(), tuple(headers))
