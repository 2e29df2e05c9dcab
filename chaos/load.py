"""The producers of a run's plain topics; what the source said of each record is in their ledger."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from confluent_kafka import KafkaError, Message, Producer

from chaos.background import Background
from chaos.errors import ChaosError
from chaos.ledger import Ledger
from chaos.records import Run, Topic

FLUSH_SECONDS_MAX = 120

_JOIN_SECONDS_MAX = 30
_TICK_SECONDS = 0.02
_FULL_SECONDS = 0.05


class Load(Background):
    """Writes the records of a run to the source, in the background. A context manager.

    Attributes:
        ledger: What was acknowledged; whole after `stop`.
    """

    def __init__(self, bootstrap: str, run: Run) -> None:
        super().__init__("load", _JOIN_SECONDS_MAX)
        self.ledger = Ledger()
        self._records = run
        self._producers: Mapping[Topic, Producer] = {
            topic: Producer(_settings(bootstrap, topic) | {"error_cb": self._on_error})
            for topic in run.topics
            if not topic.transactional
        }
        self._number = 0

    def stop(self) -> None:
        """Send no more, and wait until the fate of every record is known.

        Raises:
            ChaosError: Some are still on their way when time is up, or the producer failed.
        """
        self._stopping.set()
        self._thread.join(_JOIN_SECONDS_MAX)
        deadline = time.monotonic() + FLUSH_SECONDS_MAX
        left = sum(producer.flush(max(0.0, deadline - time.monotonic())) for producer in self._producers.values())
        if left or self._thread.is_alive():
            self.problems.append(f"{left} records are on their way after {FLUSH_SECONDS_MAX} s")
        if self.problems:
            raise ChaosError(
                "the load on the source failed", why="; ".join(self.problems[:3]), next_step="read the source's logs"
            )

    def _write(self) -> None:
        began = time.monotonic()
        while not self._stopping.wait(_TICK_SECONDS):
            due = int((time.monotonic() - began) * self._records.per_second)
            while self._number < due and not self._stopping.is_set():
                self._send()
            for producer in self._producers.values():
                producer.poll(0)

    def _send(self) -> None:
        number = self._number
        topic, record = self._records.topic_of(number), self._records.record(number)
        producer = self._producers[topic]
        try:
            producer.produce(
                topic.name,
                record.value,
                record.key,
                on_delivery=self._delivery_of(number, len(record.value or b"")),
                timestamp=record.timestamp,
                headers=list(record.headers),
            )
        except BufferError:
            producer.poll(_FULL_SECONDS)
            return
        self._number += 1

    def _delivery_of(self, number: int, size: int) -> Callable[[KafkaError | None, Message], None]:
        def on_delivery(error: KafkaError | None, message: Message) -> None:
            if error is not None:
                self.ledger.unknown[number] = str(error)
                return
            offset, partition = message.offset(), message.partition()
            if partition is None:
                self.problems.append(f"number {number} was acknowledged without a partition")
                return
            where = str(message.topic()), partition
            self.ledger.value_bytes += size
            if offset is None:
                self.ledger.note_unplaced(where, number)
                return
            try:
                self.ledger.note(where, offset, number)
            except ChaosError as doubled:
                self.problems.append(str(doubled))

        return on_delivery

    def _on_error(self, error: KafkaError) -> None:
        if error.fatal():
            self.problems.append(str(error))


def _settings(bootstrap: str, topic: Topic) -> dict[str, object]:
    return {
        "bootstrap.servers": bootstrap,
        "enable.idempotence": True,
        "compression.type": topic.codec,
        "linger.ms": topic.linger_ms,
        "message.timeout.ms": FLUSH_SECONDS_MAX * 1000,
        "partitioner": "murmur2_random",
        "topic.metadata.refresh.interval.ms": 2000,  # to see new partitions soon
        "reconnect.backoff.max.ms": 1000,
        "socket.timeout.ms": 10_000,
        "log_level": 0,  # it writes of every killed broker to standard error
    }
