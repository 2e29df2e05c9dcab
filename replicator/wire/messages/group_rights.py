"""What this user may do to a consumer group, whether the group exists or not (DescribeGroups, KIP-430)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kio.schema.describe_groups.v5.request import DescribeGroupsRequest
from kio.schema.describe_groups.v5.response import DescribeGroupsResponse
from kio.schema.errors import ErrorCode
from kio.schema.types import GroupId

from replicator.errors import AuthorizationFailed
from replicator.wire.messages.data.transactions import GROUP_KEY, coordinator, patiently
from replicator.wire.protocol.faults import broker_error, first_of

if TYPE_CHECKING:
    from replicator.wire.cluster import Cluster

_REFUSED = ErrorCode.group_authorization_failed


async def may_do_anything_to(cluster: Cluster, group: str) -> bool:
    """Return whether this user has any right on the group.

    Raises:
        KafkaError: The cluster cannot be asked.
        TimedOut: No coordinator became ready.
    """

    async def once() -> bool:
        connection = await coordinator(cluster, group, GROUP_KEY)
        request = DescribeGroupsRequest(groups=(GroupId(group),), include_authorized_operations=True)
        found = await connection.call(request, DescribeGroupsResponse)
        answer = first_of(found.groups, cluster.spec, "DescribeGroups", group)
        if answer.error_code is _REFUSED:
            return False
        if answer.error_code is not ErrorCode.none:
            raise broker_error(cluster.spec, "DescribeGroups", int(answer.error_code), group)
        return True

    try:
        return await patiently(once, f"DescribeGroups of {group}")
    except AuthorizationFailed:  # without Describe on a group, its coordinator is not revealed either
        return False
