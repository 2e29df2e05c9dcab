"""What a broker reports about its own limits (DescribeConfigs of a broker; needs DescribeConfigs on the cluster)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from kio.schema.describe_configs.v4.request import DescribeConfigsRequest, DescribeConfigsResource
from kio.schema.describe_configs.v4.response import DescribeConfigsResponse
from kio.schema.errors import ErrorCode
from kio.static.primitive import i8

if TYPE_CHECKING:
    from replicator.wire.transport.connection import Connection

DESCRIBE_CONFIGS: Final = 32
_VERSION: Final = 4
_BROKER: Final = i8(4)
SOCKET_REQUEST_MAX_BYTES: Final = "socket.request.max.bytes"
_NUMBER = re.compile(r"[0-9]{1,19}")


async def request_bytes_max(connection: Connection, node: int) -> int | None:
    """Return how large a request the broker accepts (`socket.request.max.bytes`); None if it does not report it.

    Over a larger request it closes the connection, without a response (Kafka's NetworkReceive).

    Args:
        connection: To that broker.
        node: Its broker id.

    Raises:
        KafkaError: The connection failed.
    """
    if not connection.versions.offers(DESCRIBE_CONFIGS, _VERSION):
        return None
    wanted = DescribeConfigsResource(
        resource_type=_BROKER, resource_name=str(node), configuration_keys=(SOCKET_REQUEST_MAX_BYTES,)
    )
    answer = await connection.call(DescribeConfigsRequest(resources=(wanted,)), DescribeConfigsResponse)
    for result in answer.results:
        if result.error_code is not ErrorCode.none:
            continue
        for config in result.configs:
            if config.name == SOCKET_REQUEST_MAX_BYTES and _NUMBER.fullmatch(config.value or ""):
                return int(str(config.value))
    return None
