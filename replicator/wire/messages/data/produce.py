"""Produce v9 (by topic name) and v13 (by topic id), encoded around batches that stay in their frames."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from replicator.errors import CorruptRecords
from replicator.model.names import TopicPartition
from replicator.wire.protocol.cursor import compact_string, read_length, read_uvarint, skip_tags, uvarint
from replicator.wire.protocol.faults import first_of
from replicator.wire.protocol.versions import PRODUCE, PRODUCE_BY_ID, PRODUCE_BY_NAME

if TYPE_CHECKING:
    from replicator.wire.frames import Frame
    from replicator.wire.transport.connection import Connection
    from replicator.wire.transport.stream import Buffer

_HEAD = struct.Struct(">hi")
_I32 = struct.Struct(">i")
_PARTITION = struct.Struct(">i")
_ANSWER_PARTITION = struct.Struct(">ihqqq")
_ALL_REPLICAS = -1
_NO_TAGS = b"\x00"
_NULL_STRING = b"\x00"
_NO_ERRORS = b"\x01\x00\x00"
"""No record errors, no message, no tags: this follows an accepted batch."""
_ACCEPTED = struct.Struct(f"{_ANSWER_PARTITION.format}{len(_NO_ERRORS)}s")

Accepted = tuple[int, int, int, int, int, bytes]
"""The response for an accepted batch; its first and third items are partition and base offset."""


class Produced(NamedTuple):
    """The response for one batch. `message` is the broker's explanation of a refusal, or empty."""

    where: TopicPartition
    error: int
    base_offset: int
    log_start: int
    message: str


class ProduceCodec:
    """Encodes requests and decodes responses of one connection.

    Args:
        version: `PRODUCE_BY_NAME` or `PRODUCE_BY_ID`.
        topic_ids: Topic name to topic id (16 bytes), needed for `PRODUCE_BY_ID`; shared with the cluster view.
        timeout_ms: How long the broker may wait for its replicas.

    Attributes:
        throttle_seconds: How long the last response asked to wait.
    """

    def __init__(self, version: int, topic_ids: dict[str, bytes], timeout_ms: int) -> None:
        self._by_id = version >= PRODUCE_BY_ID
        self._topic_ids = topic_ids
        self._head = _NULL_STRING + _HEAD.pack(_ALL_REPLICAS, timeout_ms)
        self._names: dict[bytes, str] = {}
        self.throttle_seconds = 0.0

    def request(
        self, batches: Mapping[str, Mapping[int, tuple[Any, ...]]], transactional_id: str | None = None
    ) -> tuple[list[Buffer], int]:
        """Encode one request.

        Args:
            batches: Per topic and partition, a tuple that begins with the batch and its size; the rest of the tuple
                belongs to the caller. One batch per partition (KAFKA_FACTS K3).
            transactional_id: Set if the batches belong to a transaction.

        Returns:
            The body as views, without a copy of any payload, and its size in bytes.
        """
        pack = _PARTITION.pack
        head = self._head if transactional_id is None else compact_string(transactional_id) + self._head[1:]
        views: list[Buffer] = []
        pending = head + uvarint(len(batches) + 1)
        size = 0
        for topic, partitions in batches.items():
            pending += self._topic(topic)
            pending += uvarint(len(partitions) + 1)
            for partition, entry in partitions.items():
                batch_bytes: int = entry[1]
                pending += pack(partition) + uvarint(batch_bytes + 1)
                views += (pending, entry[0])
                size += len(pending) + batch_bytes
                pending = _NO_TAGS
            pending += _NO_TAGS
        pending += _NO_TAGS
        views.append(pending)
        return views, size + len(pending)

    def _topic(self, name: str) -> bytes:
        if not self._by_id:
            return compact_string(name)
        topic_id = self._topic_ids[name]
        self._names[topic_id] = name
        return topic_id

    def accepted(self, frame: Frame) -> dict[str, list[Accepted]] | None:
        """Decode the usual response by the short way: what was accepted, by topic.

        Returns:
            None if anything is out of the ordinary: `answer` has to look closer.
        """
        buffer, size = frame.buffer, frame.size
        out: dict[str, list[Accepted]] = {}
        try:
            position = skip_tags(buffer, 4)
            topics, position = read_length(buffer, position, size)
            for _ in range(topics):
                name, position = self._read_topic(buffer, position, size)
                partitions, position = read_length(buffer, position, size)
                after = position + partitions * _ACCEPTED.size
                if partitions < 0 or after > size:
                    return None
                rows: list[Accepted] = list(_ACCEPTED.iter_unpack(frame.view[position:after]))
                for row in rows:
                    if row[1] or row[5] != _NO_ERRORS:
                        return None
                out[name] = rows
                position = skip_tags(buffer, after)
            self._take_throttle(buffer, position, size)
        except (IndexError, struct.error, UnicodeDecodeError, CorruptRecords):
            return None
        return out

    def answer(self, buffer: bytearray, size: int) -> list[Produced]:
        """Decode a response frame.

        Raises:
            CorruptRecords: The bytes are not such a response.
        """
        try:
            return self._answer(buffer, size)
        except (IndexError, struct.error, UnicodeDecodeError) as error:
            raise CorruptRecords("a produce answer ends too early", why=str(error)) from error

    def _answer(self, buffer: bytearray, size: int) -> list[Produced]:
        unpack = _ANSWER_PARTITION.unpack_from
        new = tuple.__new__  # a named tuple's own constructor is a Python function
        position = skip_tags(buffer, 4)
        topics, position = read_length(buffer, position, size)
        out: list[Produced] = []
        for _ in range(topics):
            name, position = self._read_topic(buffer, position, size)
            partitions, position = read_length(buffer, position, size)
            for _ in range(partitions):
                partition, error, base_offset, _, log_start = unpack(buffer, position)
                position += _ANSWER_PARTITION.size
                message = ""
                if buffer[position : position + 3] == _NO_ERRORS:
                    position += 3
                else:
                    message, position = _read_errors(buffer, position, size)
                    position = skip_tags(buffer, position)
                where = new(TopicPartition, (name, partition))
                out.append(new(Produced, (where, error, base_offset, log_start, message)))
            position = skip_tags(buffer, position)
        self._take_throttle(buffer, position, size)
        return out

    def _take_throttle(self, buffer: bytearray, position: int, size: int) -> None:
        """Take the throttle time after the topics; the response must not end before it."""
        if position + _I32.size > size:
            raise CorruptRecords("a produce answer ends too early")
        (milliseconds,) = _I32.unpack_from(buffer, position)
        self.throttle_seconds = milliseconds / 1000

    def _read_topic(self, buffer: bytearray, position: int, size: int) -> tuple[str, int]:
        if not self._by_id:
            length, position = read_length(buffer, position, size)
            return buffer[position : position + length].decode(), position + length
        topic_id = bytes(buffer[position : position + 16])
        name = self._names.get(topic_id)
        if name is None:
            raise CorruptRecords("a produce answer names a topic id that was not asked for")
        return name, position + 16


async def produce_by_name(
    connection: Connection, where: TopicPartition, batch: bytes, transactional_id: str | None = None
) -> Produced:
    """Append one batch; return the broker's response for it.

    By name, since Produce from v12 on would add partitions to the transaction implicitly (transactions V2), and that
    does not mix with adding them explicitly.

    Raises:
        KafkaError: The broker did not respond: whether the batch was appended is unknown.
        CorruptRecords: Its response cannot be read.
    """
    codec = ProduceCodec(PRODUCE_BY_NAME, {}, int(connection.cluster.request_timeout_seconds * 1000))
    body, size = codec.request({where.topic: {where.partition: (batch, len(batch))}}, transactional_id)
    frame = await connection.ask(PRODUCE, PRODUCE_BY_NAME, body, size)
    return first_of(codec.answer(frame.buffer, frame.size), connection.cluster, "Produce", str(where))


def _read_errors(buffer: bytearray, position: int, size: int) -> tuple[str, int]:
    """Read recordErrors and errorMessage; return one text and the position after both."""
    count, position = read_length(buffer, position, size)
    first = ""
    for _ in range(count):
        text, position = _read_text(buffer, position + 4, size)
        first = first or text
        position = skip_tags(buffer, position)
    message, position = _read_text(buffer, position, size)
    return (f"{message} ({first})" if message and first else message or first), position


def _read_text(buffer: bytearray, position: int, size: int) -> tuple[str, int]:
    encoded, after = read_uvarint(buffer, position)
    if not encoded:
        return "", after
    length, position = read_length(buffer, position, size)
    return buffer[position : position + length].decode(), position + length
