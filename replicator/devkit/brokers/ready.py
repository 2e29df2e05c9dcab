"""Asks one broker whether it serves, with two raw requests.

The devkit cannot use our own Kafka client, because its clusters are there to test it.
"""

from __future__ import annotations

import io
import socket
import struct
from typing import Any

from kio.schema.api_versions.v3.request import ApiVersionsRequest
from kio.schema.api_versions.v3.response import ApiVersionsResponse
from kio.schema.metadata.v11.request import MetadataRequest
from kio.schema.metadata.v11.response import MetadataResponse
from kio.schema.request_header.v2.header import RequestHeader
from kio.schema.response_header.v0.header import ResponseHeader as ResponseHeaderV0
from kio.schema.response_header.v1.header import ResponseHeader as ResponseHeaderV1
from kio.serial import entity_reader, entity_writer
from kio.serial.errors import SerialError
from kio.static.primitive import i16, i32

_ANSWER_BYTES_MAX = 1 << 20


def serving_brokers(host: str, port: int, timeout_seconds: float = 2.0) -> dict[int, int]:
    """Ask the broker at this plain-text address which brokers serve; return node id to advertised port.

    The result is empty while nobody answers there, or the answer is an error.
    """
    metadata = _metadata(host, port, timeout_seconds)
    return {} if metadata is None else {int(broker.node_id): int(broker.port) for broker in metadata.brokers}


def cluster_id_at(host: str, port: int, timeout_seconds: float = 2.0) -> str | None:
    """Return the id of the cluster that serves at this plain-text address; None while nobody reports it."""
    metadata = _metadata(host, port, timeout_seconds)
    return None if metadata is None else metadata.cluster_id


def _metadata(host: str, port: int, timeout_seconds: float) -> MetadataResponse | None:
    """Return a broker's metadata, in the newest version of the request that both Kafka 2.8 and Kafka 4 know."""
    try:
        with socket.create_connection((host, port), timeout=timeout_seconds) as connection:
            versions = _call(
                connection,
                ApiVersionsRequest(client_software_name="replicator-devkit", client_software_version="1"),
                ApiVersionsResponse,
                # The answer to ApiVersions always has the oldest header: the client does not know the versions yet.
                ResponseHeaderV0,
            )
            if versions.error_code.value != 0:
                return None
            answer: MetadataResponse = _call(
                connection,
                MetadataRequest(topics=(), allow_auto_topic_creation=False, include_topic_authorized_operations=False),
                MetadataResponse,
                ResponseHeaderV1,
            )
            return answer
    except (OSError, EOFError, SerialError):
        return None


def _call(connection: socket.socket, request: Any, answer: Any, answer_header: Any) -> Any:
    api, version = request.__api_key__, request.__version__
    header = RequestHeader(
        request_api_key=i16(api), request_api_version=i16(version), correlation_id=i32(1), client_id="devkit"
    )
    frame = io.BytesIO()
    entity_writer(RequestHeader)(frame, header)
    entity_writer(type(request))(frame, request)
    connection.sendall(struct.pack(">i", frame.tell()) + frame.getvalue())
    (size,) = struct.unpack(">i", _exactly(connection, 4))
    if not 0 < size <= _ANSWER_BYTES_MAX:
        raise EOFError(f"an answer of {size} bytes")
    body = _exactly(connection, size)
    _, header_size = entity_reader(answer_header)(body, 0)
    return entity_reader(answer)(body, header_size)[0]


def _exactly(connection: socket.socket, size: int) -> bytes:
    """Return that many bytes, or raise EOFError when the peer closes first."""
    received = bytearray()
    while len(received) < size:
        part = connection.recv(size - len(received))
        if not part:
            raise EOFError("the broker closed the connection")
        received += part
    return bytes(received)
