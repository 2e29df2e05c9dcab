"""Reads partitions record by record, with librdkafka: a reader that shares no code with the data path.

One reader reads one partition at a time and is then opened on the next, so that a pool of readers walks any
number of partitions in bounded memory. It joins no group, commits nothing and never resets an offset.
"""

from __future__ import annotations

import operator
import time
from threading import Event
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeAlias

from confluent_kafka import Consumer, KafkaException, Message
from confluent_kafka import KafkaError as Code
from confluent_kafka import TopicPartition as Position

from replicator.admin.client_config import client_config
from replicator.admin.faults import AUTHENTICATION, error_of, fault
from replicator.core.rights import Operation, on_topic
from replicator.errors import KafkaError, ProtocolError, TooLargeToOpen
from replicator.model.spec import Isolation

if TYPE_CHECKING:
    from collections.abc import Iterator

    from replicator.core.record_diff import Row
    from replicator.model.names import TopicPartition
    from replicator.model.security import ClusterSpec

_QUEUE_BYTES_DEFAULT = 8 << 20
_FETCH_WAIT_MS = 50
_TOPIC_MISSING_MS = 3_000
CHUNK_RECORDS_MAX = 10_000
_POLL_SECONDS = 0.2
_RECEIVE_BYTES_MAX = 96 << 20
"""The largest answer, and what librdkafka lets a zstd batch expand to; its other decoders know no bound."""
_HEADERS_OF = operator.methodcaller("headers")
_NO_TIME = -1
"""What a record of message format 2 says of that; librdkafka shows a time of 0 for messages of format 0."""

_OUT_OF_RANGE = frozenset({Code._AUTO_OFFSET_RESET, Code.OFFSET_OUT_OF_RANGE})  # noqa: SLF001
_FATAL = frozenset(
    {
        Code.TOPIC_AUTHORIZATION_FAILED,
        Code.UNKNOWN_TOPIC_OR_PART,
        Code._UNKNOWN_TOPIC,  # noqa: SLF001
        Code._UNKNOWN_PARTITION,  # noqa: SLF001
    }
)

Headers: TypeAlias = list[tuple[str | bytes, bytes | None]]


class Looked(NamedTuple):
    """Records that were read in another way, and the offset behind them."""

    rows: list[Row]
    next_offset: int


class Closer(Protocol):
    """Reads what librdkafka cannot show."""

    def look(self, partition: TopicPartition, offset: int) -> Looked:
        """Return the records of the first batch that has some at or behind an offset; none where there are none."""

    def close(self) -> None:
        """Let go of the connections."""


class Record(NamedTuple):
    """One record. `timestamp_type`: 0 none, 1 CreateTime, 2 LogAppendTime; `timestamp`: ms since 1970."""

    offset: int
    timestamp_type: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Headers


class OutOfRange(KafkaError):
    """The next offset to read is not in the log any more (retention), or not yet.

    Attributes:
        partition: Where.
        offset: The offset that was to be read.
    """

    def __init__(self, cluster: str, partition: TopicPartition, offset: int) -> None:
        super().__init__(
            f"cluster {cluster}: offset {offset} of {partition} is outside the log",
            cluster=cluster,
            why="retention or DeleteRecords moved the log start, or the log was cut",
            next_step="list the log's start and end again",
        )
        self.partition = partition
        self.offset = offset


class PartitionReader:
    """Reads one partition of a cluster from an offset up to an end, both given.

    Memory: `queue_bytes` of fetched records, plus one fetch answer, plus the chunk handed out (no more than was
    queued). A call blocks; use one reader per thread. Give up after the cluster's request time-out without
    any sign from the partition. Once `stop` is set, a call that waits for records ends with none.
    A chunk has `chunk_records` at most: fewer keep the interpreter busy for a shorter time each.
    What librdkafka cannot show, `closer` reads: names of headers that are no UTF-8 (then bytes here), and batches that
    expand to more than it may open. Without one, both are errors.
    """

    def __init__(
        self,
        cluster: ClusterSpec,
        isolation: Isolation,
        *,
        queue_bytes: int = _QUEUE_BYTES_DEFAULT,
        chunk_records: int = CHUNK_RECORDS_MAX,
        stop: Event | None = None,
        closer: Closer | None = None,
    ) -> None:
        self._cluster = cluster
        self._closer = closer
        self._unopened: int | None = None
        self._chunk_records = chunk_records
        self._stop = stop or Event()
        self._seen: Code | None = None
        self._partition: TopicPartition | None = None
        self._start = 0
        self._next = 0
        self._end = 0
        config = client_config(cluster)
        config.update(_reader_config(isolation, queue_bytes))
        config["error_cb"] = self._note
        try:
            self._consumer = Consumer(config)
        except KafkaException as error:
            raise self._fault(error_of(error), "set up a reader") from None

    @property
    def position(self) -> int:
        """The next offset to read; offsets below it were handed out or hold no record."""
        return self._next

    @property
    def at_end(self) -> bool:
        """Whether every record below the end was handed out."""
        return self._next >= self._end

    def open(self, partition: TopicPartition, start: int, end: int) -> None:
        """Go to `start` of a partition and read up to, not including, `end`."""
        self._partition, self._start, self._next, self._end = partition, start, start, end
        self._seen = None
        self._unopened = None
        if not self.at_end:
            self._consumer.assign([Position(partition.topic, partition.partition, start)])

    def chunk(self) -> list[Row]:
        """Return the next records in order; an empty list means that the end is reached, or that it was stopped.

        Raises:
            OutOfRange: The log does not hold the next offset.
            KafkaError: The cluster refuses, or does not answer within the request time-out.
            CorruptRecords: A batch is damaged.
            TooLargeToOpen: A batch expands to more than may be opened, and there is no `closer`.
        """
        while not self.at_end and not self._stop.is_set():
            rows = self._rows(self._messages())
            if self._unopened is not None:
                rows += self._read_closely(self._unopened)
            if rows:
                return rows
        self._release()
        return []

    def records(self, partition: TopicPartition, start: int, end: int) -> Iterator[Record]:
        """Yield every record of [start, end) in order.

        Raises:
            OutOfRange: `start` is not in the log, or the log start overtook the reading.
            KafkaError: The cluster refuses, or does not answer within the request time-out.
        """
        self.open(partition, start, end)
        while not self.at_end and not self._stop.is_set():
            messages = self._inside(self._messages())
            for message, headers in zip(messages, self._headers(messages), strict=True):
                kind, when = message.timestamp()
                yield Record(_offset(message), kind, when, message.key(), message.value(), headers or [])
            if self._unopened is not None:
                raise self._too_large(self._unopened)
        self._release()

    def log_start(self, partition: TopicPartition) -> int:
        """Return the first offset of a partition's log, as it is now.

        Raises:
            KafkaError: The cluster refuses, or does not answer within the request time-out.
        """
        return self.log_bounds(partition)[0]

    def log_bounds(self, partition: TopicPartition) -> tuple[int, int]:
        """Return the log start and the high watermark of a partition, as they are now.

        Raises:
            KafkaError: The cluster refuses, or does not answer within the request time-out.
        """
        try:
            return self._consumer.get_watermark_offsets(
                Position(partition.topic, partition.partition), timeout=self._cluster.request_timeout_seconds
            )
        except KafkaException as error:
            raise self._fault(error_of(error), f"read the log's bounds of {partition}") from None

    def close(self) -> None:
        """Let go of the connections."""
        self._consumer.close()
        if self._closer is not None:
            self._closer.close()

    def _rows(self, messages: list[Message]) -> list[Row]:
        messages = self._inside(messages)
        return [
            (m.offset(), when[1] if (when := m.timestamp())[0] else _NO_TIME, m.key(), m.value(), headers)  # type: ignore[misc]
            for m, headers in zip(messages, self._headers(messages), strict=True)
        ]

    def _headers(self, messages: list[Message]) -> list[Headers | None]:
        """Return the headers of each record.

        Over a name that is no UTF-8 confluent-kafka returns half of a list *and* sets an exception. CPython notices
        that in calls out of C only: a call in Python code goes on with the list, the exception comes up anywhere later,
        and whoever looks into the list, or asks for it once more, crashes. So each is asked for once, out of C.
        """
        found: list[Headers | None] = []
        asked = map(_HEADERS_OF, messages)
        while True:
            try:
                found.extend(asked)
            except (SystemError, UnicodeDecodeError) as error:
                found.append(self._odd_headers(_offset(messages[len(found)]), error))
            else:
                return found

    def _odd_headers(self, offset: int, error: Exception) -> Headers | None:
        partition = self._partition
        if self._closer is None or partition is None:
            raise ProtocolError(
                f"the record at offset {offset} of {partition} has a header whose name is no UTF-8",
                cluster=self._cluster.alias,
                why="librdkafka's client for Python cannot show it",
            ) from error
        rows = self._closer.look(partition, offset).rows
        return next((headers for at, _, _, _, headers in rows if at == offset), None)

    def _read_closely(self, offset: int) -> list[Row]:
        """Return the records of the batch at an offset that librdkafka cannot open, and go on behind it."""
        partition = self._partition
        if self._closer is None or partition is None:
            raise self._too_large(offset)
        self._unopened = None
        first = max(self._next, offset)
        rows, after = self._closer.look(partition, first)
        self._next = max(self._next, after)
        if not self.at_end:
            self._consumer.assign([Position(partition.topic, partition.partition, self._next)])
        return [row for row in rows if first <= row[0] < self._end]

    def _too_large(self, offset: int) -> TooLargeToOpen:
        return TooLargeToOpen(
            f"the batch at offset {offset} of {self._partition} on {self._cluster.alias} cannot be opened",
            why=f"it is damaged, or expands to more than {_RECEIVE_BYTES_MAX} bytes",
            offset=offset,
        )

    def _messages(self) -> list[Message]:
        """Return what is queued, waiting only for the first of it.

        `consume(n, timeout)` would wait until n messages are there, whatever their size: the queue's bound
        would be lost, and the end of a partition would cost the whole time-out.
        """
        deadline = time.monotonic() + self._cluster.request_timeout_seconds
        while True:
            messages = self._consumer.consume(self._chunk_records, 0)
            messages = messages or self._consumer.consume(1, _POLL_SECONDS)
            if messages or self._stop.is_set():
                return messages
            if self._seen is not None and self._seen.code() in AUTHENTICATION | _FATAL:
                raise self._fault(self._seen, f"read {self._partition}")
            if time.monotonic() > deadline:
                raise self._fault(Code(Code.REQUEST_TIMED_OUT), f"read {self._partition}")

    def _inside(self, messages: list[Message]) -> list[Message]:
        """Return the records below the end, and note how far the reading has come."""
        # One pass in C finds the rare chunk that carries an event; events come between records, not beside them.
        if any(map(Message.error, messages)):
            messages = [message for message in messages if not self._event(message)]
        if not messages:
            return messages
        last = _offset(messages[-1])
        if last >= self._end:
            messages = [message for message in messages if _offset(message) < self._end]
        self._next = max(self._next, last + 1)
        return messages

    def _event(self, message: Message) -> bool:
        """Take note of an event that came in place of a record; False for a record.

        Raises:
            OutOfRange: The log does not hold the next offset.
            KafkaError: The cluster refuses.
        """
        error = message.error()
        if error is None:
            return False
        code = error.code()
        if code == Code._PARTITION_EOF:  # noqa: SLF001
            # Everything below this offset was read or holds no record. Below our end: the log's last stable
            # offset is lower than the end we were given; wait for the rest.
            self._next = max(self._next, _offset(message))
        elif code in _OUT_OF_RANGE:
            # librdkafka does not tell by itself that it is about a place from before the last `open`.
            told = message.offset()
            if self._partition is not None and not (told is not None and 0 <= told < self._start):
                raise OutOfRange(self._cluster.alias, self._partition, self._next)
        elif code == Code._BAD_COMPRESSION:  # noqa: SLF001
            told = message.offset()
            if self._partition is not None and told is not None and told >= self._next:
                self._unopened = told
        elif code in AUTHENTICATION | _FATAL:
            raise self._fault(error, f"read {self._partition}")
        else:
            self._seen = error  # librdkafka goes on by itself; the time-out of _messages bounds it
        return True

    def _release(self) -> None:
        if self._partition is not None:
            self._consumer.unassign()
            self._partition = None

    def _note(self, error: Code) -> None:
        if error.code() != Code._ALL_BROKERS_DOWN:  # noqa: SLF001 - the error before it says why
            self._seen = error

    def _fault(self, error: Code, doing: str) -> KafkaError:
        topic = self._partition.topic if self._partition is not None else "*"
        return fault(
            error,
            self._cluster,
            doing=doing,
            api="Fetch",
            right=on_topic(topic, Operation.READ),
            seen=self._seen,
        )


def _reader_config(isolation: Isolation, queue_bytes: int) -> dict[str, object]:
    fetch_bytes = max(1 << 20, queue_bytes // 8)
    return {
        "group.id": "replicator.verify",  # librdkafka wants a name; assign() joins no group
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "enable.partition.eof": True,
        "auto.offset.reset": "error",
        "isolation.level": isolation.value,
        "check.crcs": True,
        "queued.max.messages.kbytes": max(1, queue_bytes >> 10),
        "queued.min.messages": 1_000_000,  # let the byte bound decide
        "fetch.message.max.bytes": fetch_bytes,
        "fetch.max.bytes": fetch_bytes,
        "receive.message.max.bytes": _RECEIVE_BYTES_MAX,
        # The default waits a second after the queue was found full: a small queue would read at its size a second.
        "fetch.queue.backoff.ms": 5,
        "topic.metadata.propagation.max.ms": _TOPIC_MISSING_MS,  # a topic that is away is told as such, soon
        "fetch.wait.max.ms": _FETCH_WAIT_MS,  # an end of partition is noticed by an empty answer
    }


def _offset(message: Message) -> int:
    offset = message.offset()
    if offset is None:
        raise ProtocolError("a record came without an offset", cluster="unknown")
    return offset
