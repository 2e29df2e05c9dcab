"""A broker on loopback that answers just enough to be copied from, and can lie in one way.

It speaks ApiVersions, SaslHandshake, SaslAuthenticate (PLAIN), Metadata, ListOffsets and Fetch, honestly unless a test
gives it a lie: a function that turns the honest answer into what is sent.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import io
import ssl
import struct
import uuid
from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple, Self

from kio.schema.api_versions.v3.response import ApiVersion, ApiVersionsResponse
from kio.schema.errors import ErrorCode
from kio.schema.fetch.v12.response import FetchableTopicResponse, FetchResponse, PartitionData
from kio.schema.list_offsets.v6.response import (
    ListOffsetsPartitionResponse,
    ListOffsetsResponse,
    ListOffsetsTopicResponse,
)
from kio.schema.metadata.v10.response import (
    MetadataResponse,
    MetadataResponseBroker,
    MetadataResponsePartition,
    MetadataResponseTopic,
)
from kio.schema.sasl_authenticate.v2.response import SaslAuthenticateResponse
from kio.schema.sasl_handshake.v1.response import SaslHandshakeResponse
from kio.schema.types import BrokerId, TopicName
from kio.serial import entity_writer
from kio.static.primitive import Records, i16, i32, i32Timedelta, i64, i64Timedelta

from replicator.model.security import ClusterSpec, Mechanism, Protocol, Secret, Security

FETCH, LIST_OFFSETS, METADATA, SASL_HANDSHAKE, API_VERSIONS, SASL_AUTHENTICATE = 1, 2, 3, 17, 18, 36
TOPIC = "orders"
AT_ONCE = i32Timedelta.parse(dt.timedelta(0))
_VERSIONS = {0: (9, 9), 1: (12, 12), 2: (6, 6), 3: (10, 10), 17: (1, 1), 18: (0, 3), 22: (4, 4), 23: (4, 4), 36: (2, 2)}
_HEAD = struct.Struct(">hhi")


class Asked(NamedTuple):
    """One request as the broker saw it; `number` counts those of its kind, from 1."""

    key: int
    correlation_id: int
    number: int


Lie = Callable[[Asked, bytes], bytes]
"""From a request and the honest answer (behind its length) to the bytes that are sent; empty: nothing, and the end."""


def framed(answer: bytes) -> bytes:
    """Return an answer with its length in front."""
    return struct.pack(">i", len(answer)) + answer


def honest(_: Asked, answer: bytes) -> bytes:
    """Send what is true."""
    return framed(answer)


def head(asked: Asked) -> bytes:
    """Return the header of the answer to a request."""
    without_tags = asked.key in {API_VERSIONS, SASL_HANDSHAKE}
    return struct.pack(">i", asked.correlation_id) + (b"" if without_tags else b"\x00")


def encoded(message: Any) -> bytes:
    """Return the bytes of a message."""
    out = io.BytesIO()
    entity_writer(type(message))(out, message)
    return out.getvalue()


def sasl(**changed: Any) -> Security:
    """Return the credentials of a PLAIN login."""
    known = {"mechanism": Mechanism.PLAIN, "username": "repl", "password": Secret("x")}
    return Security(protocol=Protocol.SASL_PLAINTEXT, **{**known, **changed})


class HostileBroker:
    """One broker, the only one of its cluster.

    Attributes:
        lie: What becomes of honest answers.
        byte_pause_seconds: The pause behind each byte that is sent; 0 sends all at once.
        login: Its answer to a SaslAuthenticate.
        connections: How many it took.
        asked: How many requests of each kind it got.
    """

    def __init__(self, lie: Lie = honest, tls: ssl.SSLContext | None = None) -> None:
        self._tls = tls
        self.lie = lie
        self.byte_pause_seconds = 0.0
        self.login = SaslAuthenticateResponse(
            error_code=ErrorCode.none,
            error_message=None,
            auth_bytes=b"",
            session_lifetime=i64Timedelta.parse(dt.timedelta(0)),
        )
        self.connections = 0
        self.asked: Counter[int] = Counter()
        self.port = 0
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._tls)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._server is not None:
            self._server.close()
        self.hang_up()

    def spec(self, security: Security | None = None, timeout_seconds: float = 5.0) -> ClusterSpec:
        """Return how its cluster is reached."""
        return ClusterSpec(
            "west",
            (("127.0.0.1", self.port),),
            security=security or Security(),
            request_timeout_seconds=timeout_seconds,
        )

    def metadata(self, **changed: Any) -> MetadataResponse:
        """Return what is true of the cluster, but for what is `changed`."""
        partition = MetadataResponsePartition(
            error_code=ErrorCode.none, partition_index=i32(0), leader_id=BrokerId(1), leader_epoch=i32(3)
        )
        topic = MetadataResponseTopic(
            error_code=ErrorCode.none, name=TopicName(TOPIC), topic_id=uuid.UUID(int=7), partitions=(partition,)
        )
        broker = MetadataResponseBroker(node_id=BrokerId(1), host="127.0.0.1", port=i32(self.port))
        fields = {"throttle_time": AT_ONCE, "brokers": (broker,), "cluster_id": "hostile", "topics": (topic,)}
        return MetadataResponse(**{**fields, **changed})

    def fetched(self, records: bytes = b"", throttle_ms: int = 0, *, empty: bool = False) -> FetchResponse:
        """Return a fetch answer; an `empty` one tells of no partition."""
        partition = PartitionData(
            partition_index=i32(0),
            error_code=ErrorCode.none,
            high_watermark=i64(10),
            last_stable_offset=i64(10),
            log_start_offset=i64(0),
            aborted_transactions=(),
            records=Records.parse(records),
        )
        topic = FetchableTopicResponse(topic=TopicName(TOPIC), partitions=(partition,))
        return FetchResponse(
            throttle_time=i32Timedelta.parse(dt.timedelta(milliseconds=throttle_ms)),
            error_code=ErrorCode.none,
            session_id=i32(0),
            responses=() if empty else (topic,),
        )

    def hang_up(self) -> None:
        """End all connections."""
        for writer in self._writers:
            writer.close()
        self._writers.clear()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._writers.add(writer)
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            while True:
                (size,) = struct.unpack(">i", await reader.readexactly(4))
                key, _, correlation_id = _HEAD.unpack_from(await reader.readexactly(size))
                self.asked[key] += 1
                asked = Asked(key, correlation_id, self.asked[key])
                sent = self.lie(asked, head(asked) + encoded(self._answer(key)))
                if not sent:
                    break
                await self._send(writer, sent)
        writer.close()

    async def _send(self, writer: asyncio.StreamWriter, sent: bytes) -> None:
        if not self.byte_pause_seconds:
            writer.write(sent)
            await writer.drain()
            return
        for at in range(len(sent)):
            writer.write(sent[at : at + 1])
            await asyncio.sleep(self.byte_pause_seconds)

    def _answer(self, key: int) -> Any:
        if key == API_VERSIONS:
            keys = (
                ApiVersion(api_key=i16(k), min_version=i16(a), max_version=i16(b)) for k, (a, b) in _VERSIONS.items()
            )
            return ApiVersionsResponse(error_code=ErrorCode.none, api_keys=tuple(keys), throttle_time=AT_ONCE)
        if key == SASL_HANDSHAKE:
            return SaslHandshakeResponse(error_code=ErrorCode.none, mechanisms=("PLAIN", "SCRAM-SHA-256"))
        if key == SASL_AUTHENTICATE:
            return self.login
        if key == METADATA:
            return self.metadata()
        if key == FETCH:
            return self.fetched()
        assert key == LIST_OFFSETS
        partition = ListOffsetsPartitionResponse(
            partition_index=i32(0), error_code=ErrorCode.none, timestamp=i64(-1), offset=i64(10), leader_epoch=i32(3)
        )
        topic = ListOffsetsTopicResponse(name=TopicName(TOPIC), partitions=(partition,))
        return ListOffsetsResponse(throttle_time=AT_ONCE, topics=(topic,))
