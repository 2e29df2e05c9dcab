"""A small producer for programs that need records to be there: the demo, and the loads of tests.

The daemon never uses it: what it copies goes through `replicator.wire`, untouched.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, NamedTuple

from confluent_kafka import KafkaError as Code
from confluent_kafka import KafkaException, Producer

from replicator.admin.client_config import client_config
from replicator.admin.faults import error_of, fault
from replicator.core.acl.rights import Operation, on_topic

if TYPE_CHECKING:
    from collections.abc import Callable

    from confluent_kafka import Message

    from replicator.errors import KafkaError
    from replicator.model.security import ClusterSpec

_QUEUE_RECORDS_MAX = 50_000
_QUEUE_KBYTES_MAX = 64 << 10
_BATCH_BYTES = 256 << 10
_FULL_POLL_SECONDS = 0.05
_TICK_SECONDS = 0.02
_POLL_EVERY_RECORDS = 1000


class Outgoing(NamedTuple):
    """One record to write; `partition` -1 lets the key decide, or spreads records without one."""

    value: bytes | None
    key: bytes | None = None
    headers: tuple[tuple[str, bytes | None], ...] = ()
    partition: int = -1


class RecordProducer:
    """Writes records to one topic, waits for room when the queue is full, and counts what was acknowledged.

    Attributes:
        acknowledged: Records that the cluster has taken, on all in-sync replicas.
        topic: Where they go.
    """

    def __init__(self, cluster: ClusterSpec, topic: str, *, compression: str = "none", linger_ms: int = 20) -> None:
        self.acknowledged = 0
        self._cluster = cluster
        self.topic = topic
        self._refused: Code | None = None
        config = client_config(cluster)
        config.update(
            {
                "enable.idempotence": True,
                "compression.type": compression,
                "linger.ms": linger_ms,
                "batch.size": _BATCH_BYTES,
                "queue.buffering.max.messages": _QUEUE_RECORDS_MAX,
                "queue.buffering.max.kbytes": _QUEUE_KBYTES_MAX,
            }
        )
        try:
            self._producer = Producer(config)
        except KafkaException as error:
            raise self._fault(error_of(error)) from None
        self._sent = 0

    def send(self, record: Outgoing) -> None:
        """Queue one record; waits while the queue is full.

        Raises:
            KafkaError: An earlier record was refused, or the queue stayed full for the request time-out.
        """
        deadline = 0.0
        while True:
            try:
                self._producer.produce(
                    self.topic,
                    record.value,
                    record.key,
                    record.partition,
                    headers=list(record.headers),
                    on_delivery=self._delivered,
                )
                break
            except BufferError:
                now = time.monotonic()
                deadline = deadline or now + self._cluster.request_timeout_seconds
                if now > deadline:
                    raise self._fault(Code(Code.REQUEST_TIMED_OUT)) from None
                self._producer.poll(_FULL_POLL_SECONDS)
        self._sent += 1
        if self._sent % _POLL_EVERY_RECORDS == 0:
            self.poll()

    def poll(self) -> None:
        """Take note of acknowledgements.

        Raises:
            KafkaError: A record was refused.
        """
        self._producer.poll(0)
        if self._refused is not None:
            raise self._fault(self._refused)

    def flush(self) -> None:
        """Wait until every queued record is acknowledged.

        Raises:
            KafkaError: One was refused, or they were not within the request time-out.
        """
        left = self._producer.flush(self._cluster.request_timeout_seconds)
        self.poll()
        if left:
            raise self._fault(Code(Code.REQUEST_TIMED_OUT))

    def _delivered(self, error: Code | None, message: Message) -> None:
        del message
        if error is None:
            self.acknowledged += 1
        else:
            self._refused = error

    def _fault(self, error: Code) -> KafkaError:
        return fault(
            error,
            self._cluster,
            doing=f"write to {self.topic}",
            api="Produce",
            right=on_topic(self.topic, Operation.WRITE),
        )


class SteadyWriter:
    """Writes records to one topic at a steady rate, in a thread of its own, until it is told to stop.

    Args:
        producer: What it writes with; nobody else may use it meanwhile.
        make: Returns the record of a running number.
        rate: Records a second.
        first: The first number.
    """

    def __init__(
        self, producer: RecordProducer, make: Callable[[int], Outgoing], *, rate: float, first: int = 0
    ) -> None:
        self._producer = producer
        self._make = make
        self._rate = rate
        self._first = first
        self._stop = threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="steady-writer", daemon=True)

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()

    def check(self) -> None:
        """Raise what ended the writing, if something did."""
        if self._error is not None:
            raise self._error

    def stop(self) -> None:
        """End it, and wait until all it wrote is acknowledged.

        Raises:
            KafkaError: What ended it before, or a record that was not acknowledged.
        """
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join()
        self.check()
        self._producer.flush()

    def abandon(self) -> None:
        """End it without waiting for anything."""
        self._stop.set()

    def _run(self) -> None:
        began, done = time.monotonic(), 0
        try:
            while not self._stop.wait(_TICK_SECONDS):
                due = int((time.monotonic() - began) * self._rate)
                for number in range(done, due):
                    self._producer.send(self._make(self._first + number))
                done = max(done, due)
                self._producer.poll()
        except Exception as error:  # noqa: BLE001 - handed to whoever asks next, by `check` or `stop`
            self._error = error
