"""Client quotas of one cluster (DescribeClientQuotas, KIP-546), and what its version of Kafka can list."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from kio.schema.describe_client_quotas.v1.request import DescribeClientQuotasRequest
from kio.schema.describe_client_quotas.v1.response import DescribeClientQuotasResponse
from kio.schema.errors import ErrorCode

from replicator.wire.protocol.faults import broker_error

if TYPE_CHECKING:
    from replicator.wire.transport.connection import Connection

_DESCRIBE_CLIENT_QUOTAS: Final = 48
_DESCRIBE_USER_SCRAM_CREDENTIALS: Final = 50


def offers_quotas(connection: Connection) -> bool:
    """Return whether brokers of this version list them."""
    return connection.versions.offers(_DESCRIBE_CLIENT_QUOTAS, 1)


def offers_scram_users(connection: Connection) -> bool:
    """Return whether brokers of this version list users with SCRAM credentials (KIP-554; with KRaft since 3.5)."""
    return connection.versions.offers(_DESCRIBE_USER_SCRAM_CREDENTIALS, 0)


async def client_quotas(connection: Connection) -> dict[tuple[str, ...], dict[str, float]]:
    """Return every limit by its entity: `type=name`, with `<default>` for the default one.

    Raises:
        KafkaError: The cluster refuses.
    """
    request = DescribeClientQuotasRequest(components=(), strict=False)
    answer = await connection.call(request, DescribeClientQuotasResponse)
    if answer.error_code is not ErrorCode.none:
        raise broker_error(connection.cluster, "DescribeClientQuotas", int(answer.error_code), "", answer.error_message)
    return {
        tuple(sorted(f"{one.entity_type}={one.entity_name or '<default>'}" for one in entry.entity)): {
            value.key: float(value.value) for value in entry.values
        }
        for entry in answer.entries or ()
    }
