"""Whether a cluster tells the rules of its authorizer, and that it has one (DescribeAcls)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from kio.schema.describe_acls.v2.request import DescribeAclsRequest
from kio.schema.describe_acls.v2.response import DescribeAclsResponse
from kio.schema.errors import ErrorCode
from kio.static.primitive import i8

from replicator.wire.faults import refused

if TYPE_CHECKING:
    from replicator.wire.connection import Connection

_TOPIC: Final = i8(2)
_LITERAL: Final = i8(3)
_ANY: Final = i8(1)
_NO_TOPIC: Final = "replicator.no-topic"
"""About which nobody makes rules: only whether there is an answer is asked."""


async def tells_rules(connection: Connection) -> bool:
    """Return whether there is an authorizer, if it tells its rules.

    Raises:
        KafkaError: It does not.
    """
    request = DescribeAclsRequest(
        resource_type_filter=_TOPIC,
        resource_name_filter=_NO_TOPIC,
        pattern_type_filter=_LITERAL,
        principal_filter=None,
        host_filter=None,
        operation=_ANY,
        permission_type=_ANY,
    )
    answer = await connection.call(request, DescribeAclsResponse)
    if answer.error_code is ErrorCode.security_disabled:
        return False
    if answer.error_code is not ErrorCode.none:
        raise refused(connection.cluster, "DescribeAcls", int(answer.error_code), "", answer.error_message)
    return True
