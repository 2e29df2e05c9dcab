"""The rules of a cluster's authorizer (DescribeAcls): all of them, however many, in pieces.

librdkafka accepts responses up to 4 MiB, some 40,000 rules, and turns a refusal into an empty list.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from kio.schema.describe_acls.v2.request import DescribeAclsRequest
from kio.schema.describe_acls.v2.response import AclDescription, DescribeAclsResource, DescribeAclsResponse
from kio.schema.errors import ErrorCode
from kio.static.primitive import i8

from replicator.model.acl import (
    ALLOW,
    ANY_NAME,
    DENY,
    GROUP,
    LITERAL,
    PREFIXED,
    TOPIC,
    TRANSACTIONAL_ID,
    Rule,
)
from replicator.wire.protocol.faults import broker_error

if TYPE_CHECKING:
    from collections.abc import Callable

    from replicator.wire.transport.connection import Connection

_ANY: Final = i8(1)
_KINDS: Final = {2: TOPIC, 3: GROUP, 5: TRANSACTIONAL_ID}
"""Nothing is ever decided here about the others (the cluster, its users, tokens)."""
_PATTERNS: Final = {3: LITERAL, 4: PREFIXED}
_OPERATIONS: Final = {
    2: "ALL",
    3: "READ",
    4: "WRITE",
    5: "CREATE",
    6: "DELETE",
    7: "ALTER",
    8: "DESCRIBE",
    9: "CLUSTER_ACTION",
    10: "DESCRIBE_CONFIGS",
    11: "ALTER_CONFIGS",
    12: "IDEMPOTENT_WRITE",
}
_PERMISSIONS: Final = {2: DENY, 3: ALLOW}
_RULES_AT_ONCE: Final = 1_000
"""Made before other tasks get a turn."""


async def rules_of(connection: Connection, about: Callable[[str], bool]) -> list[Rule] | None:
    """Return the rules about topics, groups and transactional ids; None if the cluster has no authorizer.

    A value from a newer version, such as an unknown operation, appears as its number.

    Args:
        connection: To any broker.
        about: Which topics to keep rules for, if a rule names a single topic: rules about several are always kept.
            Other rules are dropped as soon as they are read.

    Raises:
        KafkaError: The cluster does not list them: nothing follows from that.
    """
    request = DescribeAclsRequest(
        resource_type_filter=_ANY,
        resource_name_filter=None,
        pattern_type_filter=_ANY,
        principal_filter=None,
        host_filter=None,
        operation=_ANY,
        permission_type=_ANY,
    )

    rules: list[Rule] = []

    def take(one: DescribeAclsResource) -> bool:
        """Make rules of a resource as soon as it is read; return whether to keep it because it has very many."""
        kind, name = _KINDS.get(one.resource_type), one.resource_name
        by_name = kind == TOPIC and _PATTERNS.get(one.pattern_type) == LITERAL and name != ANY_NAME
        if kind is None or (by_name and not about(name)):
            return False
        if len(one.acls) > _RULES_AT_ONCE:
            return True
        rules.extend(_rule(one, acl) for acl in one.acls)
        return False

    answer = await connection.call(request, DescribeAclsResponse, keep={DescribeAclsResource: take})
    if answer.error_code is ErrorCode.security_disabled:
        return None
    if answer.error_code is not ErrorCode.none:
        raise broker_error(connection.cluster, "DescribeAcls", int(answer.error_code), "", answer.error_message)
    for resource in answer.resources:
        for first in range(0, len(resource.acls), _RULES_AT_ONCE):
            rules.extend(_rule(resource, acl) for acl in resource.acls[first : first + _RULES_AT_ONCE])
            await asyncio.sleep(0)
    return rules


def _rule(resource: DescribeAclsResource, acl: AclDescription) -> Rule:
    return Rule(
        _KINDS[resource.resource_type],
        resource.resource_name,
        _word(_PATTERNS, resource.pattern_type),
        acl.principal,
        acl.host,
        _word(_OPERATIONS, acl.operation),
        _word(_PERMISSIONS, acl.permission_type),
    )


def _word(words: dict[int, str], number: int) -> str:
    return words.get(number, str(number))
