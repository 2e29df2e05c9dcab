"""A target broker on a real loopback socket that closes its connection over a request that is too large for it."""

from __future__ import annotations

import asyncio
import struct
from typing import Any

from kio.schema.describe_configs.v4.request import DescribeConfigsRequest
from kio.schema.describe_configs.v4.response import (
    DescribeConfigsResourceResult,
    DescribeConfigsResponse,
    DescribeConfigsResult,
)
from kio.schema.errors import ErrorCode
from kio.schema.produce.v9.request import ProduceRequest
from kio.schema.produce.v9.response import PartitionProduceResponse, ProduceResponse, TopicProduceResponse
from kio.serial import entity_reader
from kio.static.primitive import i8, i64

from replicator.model.names import TopicPartition
from replicator.wire.batches.batch import scan
from tests.unit.engine.source_broker import AT_ONCE, SourceBroker


class TargetBroker(SourceBroker):
    """It takes batches at the end of its logs.

    Args:
        node: Its number.
        request_bytes_max: Its `socket.request.max.bytes`.
        tells: Whether it tells that to whoever asks.

    Attributes:
        ends: Where its logs end.
        closed: How often it closed a connection over a request.
    """

    def __init__(self, node: int, request_bytes_max: int, *, tells: bool) -> None:
        super().__init__(node, _nothing)
        self.request_bytes_max = request_bytes_max
        self.tells = tells
        self.ends: dict[TopicPartition, int] = {}
        self.closed = 0
        self.versions |= {0: (9, 9), 32: (4, 4)}
        self.others = {0: self._produced, 32: self._configs}

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        bounded = _Bounded(reader, self)
        await super()._serve(bounded, writer)  # type: ignore[arg-type] # what is asked of it, it has

    def _produced(self, raw: bytes, at: int) -> ProduceResponse:
        request, _ = entity_reader(ProduceRequest)(raw, at)
        topics = []
        for topic in request.topic_data:
            parts = []
            for one in topic.partition_data:
                where = TopicPartition(str(topic.name), int(one.index))
                records = bytes(one.records or b"")
                base = self.ends.get(where, 0)
                self.ends[where] = base + sum(header.record_count for header in scan(records, 0, len(records)))
                parts.append(
                    PartitionProduceResponse(
                        index=one.index,
                        error_code=ErrorCode.none,
                        base_offset=i64(base),
                        log_append_time=None,
                        log_start_offset=i64(0),
                        record_errors=(),
                        error_message=None,
                    )
                )
            topics.append(TopicProduceResponse(name=topic.name, partition_responses=tuple(parts)))
        return ProduceResponse(responses=tuple(topics), throttle_time=AT_ONCE)

    def _configs(self, raw: bytes, at: int) -> DescribeConfigsResponse:
        request, _ = entity_reader(DescribeConfigsRequest)(raw, at)
        (wanted,) = request.resources
        (name,) = wanted.configuration_keys or ()
        config: Any = DescribeConfigsResourceResult(
            name=name, value=str(self.request_bytes_max), read_only=True, is_sensitive=False, synonyms=(),
            config_source=i8(4), config_type=i8(3), documentation=None,
        )  # fmt: skip
        return DescribeConfigsResponse(
            throttle_time=AT_ONCE,
            results=(
                DescribeConfigsResult(
                    error_code=ErrorCode.none if self.tells else ErrorCode.cluster_authorization_failed,
                    error_message=None,
                    resource_type=wanted.resource_type,
                    resource_name=wanted.resource_name,
                    configs=(config,) if self.tells else (),
                ),
            ),
        )


class _Bounded:
    """A connection's reader that ends where a request is longer than its broker takes."""

    def __init__(self, reader: asyncio.StreamReader, broker: TargetBroker) -> None:
        self._reader = reader
        self._broker = broker

    async def readexactly(self, count: int) -> bytes:
        """Read, as `asyncio.StreamReader` does."""
        raw = await self._reader.readexactly(count)
        if count == struct.calcsize(">i") and struct.unpack(">i", raw)[0] > self._broker.request_bytes_max:
            self._broker.closed += 1
            raise ConnectionResetError
        return raw


async def _nothing(_broker: SourceBroker, _fetch: object) -> dict[Any, Any]:
    return {}
