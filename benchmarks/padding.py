"""A cluster of hundreds of thousands of topics, as far as its Metadata tells: a proxy before a small one."""

from __future__ import annotations

import contextlib
import io
import socket
import struct
import threading
import uuid
from dataclasses import replace
from queue import SimpleQueue
from types import TracebackType
from typing import Any, NamedTuple, Self

from kio.schema.errors import ErrorCode
from kio.schema.metadata.v10.response import MetadataResponse, MetadataResponsePartition, MetadataResponseTopic
from kio.schema.types import BrokerId, TopicName
from kio.serial import entity_reader, entity_writer
from kio.static.primitive import i32

from replicator.devkit import Cluster
from replicator.model.units import parse_address
from replicator.wire.protocol.cursor import uvarint

_METADATA, _VERSION = 3, 10
_NAME = "padding.%s.%07d"
_NAME_FILL = "x" * 160
_REPLICAS = 3
_HEAD = struct.Struct(">hhih")
_ANSWER_HEAD_BYTES = 5
"""Correlation id and no tags."""
_BEHIND_TOPICS_BYTES = 5
"""What this cluster lets its user do, and no tags."""
_NONE = b"\x01"


class _Asked(NamedTuple):
    is_metadata: bool
    of_all: bool


class PaddedCluster:
    """Passes on what a cluster of one broker says, and adds topics where all are described. A context manager.

    Attributes:
        answers: How many answers were padded.
        answer_bytes: The size of the last of them.
    """

    def __init__(self, cluster: Cluster, topics: int) -> None:
        self.answers = self.answer_bytes = 0
        self._real = parse_address(cluster.bootstrap)
        self._count, self._padding = topics, _padding(topics)
        self._server = socket.create_server(("127.0.0.1", 0))
        self._sockets: list[socket.socket] = []

    @property
    def bootstrap(self) -> str:
        """Where it listens."""
        return f"127.0.0.1:{self._server.getsockname()[1]}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for opened in (self._server, *self._sockets):
            with contextlib.suppress(OSError):
                opened.shutdown(socket.SHUT_RDWR)
            opened.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # it was closed
            while True:
                client, _ = self._server.accept()
                broker = socket.create_connection(self._real)
                self._sockets += (client, broker)
                asked: SimpleQueue[_Asked] = SimpleQueue()
                threading.Thread(target=_ends, args=(_requests, client, broker, asked), daemon=True).start()
                threading.Thread(target=_ends, args=(self._answers, broker, client, asked), daemon=True).start()

    def _answers(self, broker: socket.socket, client: socket.socket, asked: SimpleQueue[_Asked]) -> None:
        while True:
            frame = _frame(broker)
            question = asked.get()
            if question.is_metadata:
                frame = self._changed(frame, of_all=question.of_all)
            client.sendall(struct.pack(">i", len(frame)))
            client.sendall(frame)

    def _changed(self, frame: bytes, *, of_all: bool) -> bytes:
        """Return an answer with this proxy in place of the broker, and with all the topics."""
        answer, _ = entity_reader(MetadataResponse)(frame, _ANSWER_HEAD_BYTES)
        port = self._server.getsockname()[1]
        brokers = tuple(replace(one, host="127.0.0.1", port=i32(port)) for one in answer.brokers)
        bare = _encoded(replace(answer, brokers=brokers, topics=()))
        topics = [_encoded(topic) for topic in answer.topics]
        before, behind = bare[: -_BEHIND_TOPICS_BYTES - len(_NONE)], bare[-_BEHIND_TOPICS_BYTES:]
        added, padding = (self._count, self._padding) if of_all else (0, b"")
        made = b"".join(
            (frame[:_ANSWER_HEAD_BYTES], before, uvarint(len(topics) + added + 1), *topics, padding, behind)
        )
        if of_all:
            self.answers += 1
            self.answer_bytes = len(made)
        return made


def _ends(pass_on: Any, one: socket.socket, other: socket.socket, asked: SimpleQueue[_Asked]) -> None:
    """Pass on until one side ends; then the other does, too."""
    with contextlib.suppress(OSError):
        pass_on(one, other, asked)
    for each in (one, other):
        with contextlib.suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)


def _requests(client: socket.socket, broker: socket.socket, asked: SimpleQueue[_Asked]) -> None:
    while True:
        frame = _frame(client)
        key, version, _, client_id_bytes = _HEAD.unpack_from(frame)
        is_metadata = (key, version) == (_METADATA, _VERSION)
        body = _HEAD.size + max(0, client_id_bytes) + 1
        asked.put(_Asked(is_metadata, is_metadata and not frame[body]))
        broker.sendall(struct.pack(">i", len(frame)) + frame)


def _frame(one: socket.socket) -> bytes:
    (size,) = struct.unpack(">i", _exactly(one, 4))
    return _exactly(one, size)


def _exactly(one: socket.socket, size: int) -> bytes:
    received = bytearray()
    while len(received) < size:
        part = one.recv(size - len(received))
        if not part:
            raise ConnectionResetError
        received += part
    return bytes(received)


def _encoded(message: Any) -> bytes:
    out = io.BytesIO()
    entity_writer(type(message))(out, message)
    return out.getvalue()


def _padding(count: int) -> bytes:
    replicas = (BrokerId(1),) * _REPLICAS
    partition = MetadataResponsePartition(
        error_code=ErrorCode.none,
        partition_index=i32(0),
        leader_id=BrokerId(1),
        leader_epoch=i32(0),
        replica_nodes=replicas,
        isr_nodes=replicas,
    )
    first = _NAME % (_NAME_FILL, 0)
    one = _encoded(
        MetadataResponseTopic(
            error_code=ErrorCode.none, name=TopicName(first), topic_id=uuid.UUID(int=1), partitions=(partition,)
        )
    )
    before, behind = one.split(first.encode())
    return b"".join(before + (_NAME % (_NAME_FILL, number)).encode() + behind for number in range(count))
