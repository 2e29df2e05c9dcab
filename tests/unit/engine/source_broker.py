"""A source broker on a real loopback socket whose fetch answers a test chooses, down to the last bit.

It speaks what a reader asks of one: ApiVersions, Metadata and Fetch, decoded and encoded by kio.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import io
import socket
import struct
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from kio.schema.api_versions.v3.response import ApiVersion, ApiVersionsResponse
from kio.schema.errors import ErrorCode
from kio.schema.fetch.v12.request import FetchRequest
from kio.schema.fetch.v12.response import FetchableTopicResponse, FetchResponse, PartitionData
from kio.schema.metadata.v10.request import MetadataRequest
from kio.schema.metadata.v10.response import (
    MetadataResponse,
    MetadataResponseBroker,
    MetadataResponsePartition,
    MetadataResponseTopic,
)
from kio.schema.types import BrokerId, TopicName
from kio.serial import entity_reader, entity_writer
from kio.static.primitive import Records, i16, i32, i32Timedelta, i64

from replicator.model.batch import HEADER, HEADER_BYTES
from replicator.model.names import TopicPartition
from replicator.wire.batches.records import NewRecord, encode

AT_ONCE = i32Timedelta.parse(dt.timedelta(0))
_VERSIONS = {0: (9, 9), 1: (12, 12), 2: (6, 6), 3: (10, 10), 18: (0, 3), 22: (4, 4), 23: (4, 4)}
_HEAD = struct.Struct(">hhih")

Answer = Callable[["SourceBroker", FetchRequest], Awaitable[Mapping[TopicPartition, PartitionData]]]


def batch(base: int, values: list[bytes], **changed: int) -> bytes:
    """Return a batch as a log holds it; `changed` are header fields that its checksum does not cover."""
    raw = bytearray(encode([NewRecord(1_700_000_000_000, None, value) for value in values]))
    fields = list(HEADER.unpack_from(raw))
    fields[0], fields[2] = base, 0
    for name, value in changed.items():
        fields[("base_offset", "length", "leader_epoch").index(name)] = value
    HEADER.pack_into(raw, 0, *fields)
    assert len(raw) > HEADER_BYTES
    return bytes(raw)


def partition(where: TopicPartition, records: bytes = b"", end: int = 1000, start: int = 0) -> PartitionData:
    """Return what is answered for one partition."""
    return PartitionData(
        partition_index=i32(where.partition),
        error_code=ErrorCode.none,
        high_watermark=i64(end),
        last_stable_offset=i64(end),
        log_start_offset=i64(start),
        aborted_transactions=(),
        records=Records.parse(records),
    )


class SourceBroker:
    """One broker of a cluster; all partitions of a topic named like its node are its own.

    Attributes:
        answer: What it answers to a fetch.
        fetches: Fetches it got, in order.
        garbage: What it answers instead, unless it is empty.
        versions: What it offers of each request.
        others: How it answers requests beyond those, by key: from the request and where its body begins.
        leader_epoch: That of all partitions, as its metadata tell.
        metadata_asked: How often it was asked for them.
        frozen: Whether it keeps its connections open and answers nothing.
        away: Brokers that the cluster has dropped; shared by all of them.
        cluster_id: Of its cluster.
    """

    def __init__(self, node: int, answer: Answer) -> None:
        self.node = node
        self.answer = answer
        self.port = 0
        self.cluster: list[SourceBroker] = [self]
        self.fetches: list[FetchRequest] = []
        self.garbage = b""
        self.versions = dict(_VERSIONS)
        self.others: dict[int, Callable[[bytes, int], Any]] = {}
        self.leader_epoch = 3
        self.metadata_asked = 0
        self.frozen = False
        self.away: set[int] = set()
        self.cluster_id = "source"
        self._listening: socket.socket | None = None
        self._accepting: asyncio.Task[None] | None = None
        self._serving: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()

    async def open(self, port: int = 0) -> None:
        """Listen, at this port or at any."""
        self._listening = socket.create_server(("127.0.0.1", port))
        self._listening.settimeout(0)
        self.port = self._listening.getsockname()[1]
        self._accepting = asyncio.create_task(self._accept(self._listening))

    def close(self) -> None:
        """Stop; another one may listen at the port at once."""
        if self._accepting is not None and self._listening is not None:
            self._accepting.cancel()
            asyncio.get_running_loop().remove_reader(self._listening)
            self._listening.close()
            self._listening = None
        for writer in self._writers:
            writer.close()

    async def _accept(self, listening: socket.socket) -> None:
        """Serve whoever comes.

        No `asyncio.Server`: one that is closed between accepting a connection and handing it over leaves it open, or
        serves it for good.
        """
        while True:
            accepted, _ = await asyncio.get_running_loop().sock_accept(listening)
            try:
                reader, writer = await asyncio.open_connection(sock=accepted)
            except BaseException:
                accepted.close()
                raise
            self._writers.add(writer)
            task = asyncio.create_task(self._serve(reader, writer))
            self._serving.add(task)
            task.add_done_callback(self._serving.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                (size,) = struct.unpack(">i", await reader.readexactly(4))
                raw = await reader.readexactly(size)
                key, _, correlation, name_bytes = _HEAD.unpack_from(raw)
                body = await self._answer(key, raw, _HEAD.size + name_bytes + 1)
                head = struct.pack(">i", correlation) + (b"" if key == 18 else b"\x00")
                writer.write(struct.pack(">i", len(head) + len(body)) + head + body)
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass  # cancelled: the loop ends, and would complain of a handler that did not
        finally:
            writer.close()

    async def _answer(self, key: int, raw: bytes, at: int) -> bytes:
        if self.frozen:
            await asyncio.Event().wait()
        if key == 18:
            offered = self.versions.items()
            keys = tuple(ApiVersion(api_key=i16(k), min_version=i16(a), max_version=i16(b)) for k, (a, b) in offered)
            return _encoded(ApiVersionsResponse(error_code=ErrorCode.none, api_keys=keys, throttle_time=AT_ONCE))
        if key in self.others:
            return _encoded(self.others[key](raw, at))
        if key == 3:
            self.metadata_asked += 1
            request, _ = entity_reader(MetadataRequest)(raw, at)
            everything = [f"orders-{each.node}" for each in self.cluster]
            names = everything if request.topics is None else [str(topic.name) for topic in request.topics]
            return _encoded(self._metadata(names))
        assert key == 1
        fetch, _ = entity_reader(FetchRequest)(raw, at)
        self.fetches.append(fetch)
        answered = await self.answer(self, fetch)
        if self.garbage:
            return self.garbage
        topics: dict[str, list[PartitionData]] = {}
        for where, data in answered.items():
            topics.setdefault(where.topic, []).append(data)
        session = 7 if fetch.session_epoch >= 0 else 0
        return _encoded(
            FetchResponse(
                throttle_time=AT_ONCE,
                error_code=ErrorCode.none,
                session_id=i32(session),
                responses=tuple(
                    FetchableTopicResponse(topic=TopicName(name), partitions=tuple(parts))
                    for name, parts in topics.items()
                ),
            )
        )

    def _metadata(self, names: list[str]) -> MetadataResponse:
        return MetadataResponse(
            throttle_time=AT_ONCE,
            brokers=tuple(
                MetadataResponseBroker(node_id=BrokerId(each.node), host="127.0.0.1", port=i32(each.port), rack=None)
                for each in self.cluster
                if each.node not in self.away
            ),
            cluster_id=self.cluster_id,
            controller_id=BrokerId(self.node),
            topics=tuple(
                MetadataResponseTopic(
                    error_code=ErrorCode.none,
                    name=TopicName(name),
                    topic_id=None,
                    is_internal=False,
                    partitions=tuple(self._partition(number, int(name.rpartition("-")[2])) for number in range(4)),
                )
                for name in names
            ),
        )

    def _partition(self, number: int, node: int) -> MetadataResponsePartition:
        nodes = (BrokerId(node),)
        led = node not in self.away
        return MetadataResponsePartition(
            error_code=ErrorCode.none,
            partition_index=i32(number),
            leader_id=nodes[0] if led else BrokerId(-1),
            leader_epoch=i32(self.leader_epoch),
            replica_nodes=nodes,
            isr_nodes=nodes,
            offline_replicas=() if led else nodes,
        )


def _encoded(entity: Any) -> bytes:
    body = io.BytesIO()
    entity_writer(type(entity))(body, entity)
    return body.getvalue()
