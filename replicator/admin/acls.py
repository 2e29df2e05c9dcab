"""Rules of one cluster's authorizer, over librdkafka's admin client."""

from __future__ import annotations

from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

from confluent_kafka.admin import (  # type: ignore[attr-defined]  # its __init__ has no __all__
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    ResourcePatternType,
    ResourceType,
)

from replicator.core.acl.rights import Operation, on_cluster
from replicator.model.acl import Rule
from replicator.wire.messages.acls import rules_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from confluent_kafka.admin import AdminClient

    from replicator.admin.client import Connection
    from replicator.core.topics.ownership import OwnedRules
    from replicator.wire.cluster import Cluster

_KINDS = {kind.name: kind for kind in ResourceType} | {"TOPIC": ResourceType.TOPIC, "GROUP": ResourceType.GROUP}
_PATTERNS = {pattern.name: pattern for pattern in ResourcePatternType}
_OPERATIONS = {operation.name: operation for operation in AclOperation}
_PERMISSIONS = {permission.name: permission for permission in AclPermissionType}


class Acls:
    """The authorizer of one cluster, over the client of its `TopicAdmin`, whose errors are the same.

    Args:
        connection: The client.
        reach: Returns the cluster over our own wire.
    """

    def __init__(self, connection: Connection, reach: Callable[[], Awaitable[Cluster]]) -> None:
        self._connection = connection
        self._reach = reach

    async def rules(self, about: Callable[[str], bool] = lambda _: True) -> tuple[Rule, ...] | None:
        """Return the rules that something may follow from; None where the cluster has no authorizer.

        Args:
            about: Of which topics those about one by its name are wanted (`wire.messages.acls.rules_of`).

        Raises:
            KafkaError: The cluster does not tell them.
        """
        found = await rules_of(await (await self._reach()).any_connection(), about)
        return tuple(found) if found is not None else None

    async def scram_users(self) -> frozenset[str]:
        """Return the names that have SCRAM credentials."""

        def start(client: AdminClient) -> dict[str, Future[Any]]:
            found = client.describe_user_scram_credentials()
            return {"": found} if isinstance(found, Future) else found

        answer = await self._connection.call(
            start, doing="read SCRAM users", api="DescribeUserScramCredentials", right=on_cluster(Operation.DESCRIBE)
        )
        return frozenset(answer[""])

    async def create(self, rules: OwnedRules) -> None:
        """Place rules in their order; one that stands already is left as it is."""
        wanted = [_binding(rule) for rule in rules.rules]
        if not wanted:
            return

        def start(client: AdminClient) -> dict[Any, Future[Any]]:
            return dict(client.create_acls(wanted))

        await self._connection.call(
            start, doing="place rules of the authorizer", api="CreateAcls", right=on_cluster(Operation.ALTER)
        )

    async def delete(self, rules: OwnedRules) -> None:
        """Remove exactly these rules; one that is gone already is no error."""
        wanted = [_filter(rule) for rule in rules.rules]
        if not wanted:
            return

        def start(client: AdminClient) -> dict[Any, Future[Any]]:
            return dict(client.delete_acls(wanted))

        await self._connection.call(
            start, doing="remove rules of the authorizer", api="DeleteAcls", right=on_cluster(Operation.ALTER)
        )


def _parts(rule: Rule) -> tuple[Any, ...]:
    return (
        _KINDS[rule.kind],
        rule.name,
        _PATTERNS[rule.pattern],
        rule.principal,
        rule.host,
        _OPERATIONS[rule.operation],
        _PERMISSIONS[rule.permission],
    )


def _binding(rule: Rule) -> AclBinding:
    return AclBinding(*_parts(rule))


def _filter(rule: Rule) -> AclBindingFilter:
    return AclBindingFilter(*_parts(rule))
