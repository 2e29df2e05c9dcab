"""The authorizer of one cluster, as far as it can be observed from outside."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from dataclasses import replace
from typing import TYPE_CHECKING

from replicator.core.acl.commands import acl_command
from replicator.core.acl.locks import Authorizer, LockPlan, locks
from replicator.core.acl.rights import Operation, on_cluster, principal
from replicator.core.topics.ownership import probe_rule
from replicator.errors import AuthorizationFailed
from replicator.model.acl import ALLOW, ANY_HOST, GROUP, LITERAL, Rule
from replicator.wire.messages.group_rights import may_do_anything_to

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from replicator.admin.topics import TopicAdmin
    from replicator.wire.cluster import Cluster

_AUTHORIZER = "authorizer.class.name"
TAKES_EFFECT_SECONDS = 1.0
"""How long brokers may take to apply a change of rules."""
_NOBODY = "User:replicator.probe"


class ClusterAuthorizer:
    """The authorizer of one cluster; every read returns all of it.

    Args:
        cluster: The cluster.
        admin: The client that reads its settings.
    """

    def __init__(self, cluster: Cluster, admin: TopicAdmin) -> None:
        self.acls = admin.acls
        self._cluster = cluster
        self._admin = admin

    async def read(self, about: Callable[[str], bool] = lambda _: True) -> Authorizer | None:
        """Return the authorizer, as far as it can be observed without changing anything; None if there is none.

        Args:
            about: Selects the topics whose literal rules are wanted.

        Raises:
            KafkaError: It cannot be asked.
        """
        with contextlib.suppress(AuthorizationFailed):  # then only the rules can tell
            if not (await self._admin.broker_configs([_AUTHORIZER])).get(_AUTHORIZER):
                return None
        rules = await self.acls.rules(about)
        if rules is None:
            return None
        known = principal(self._cluster.spec.security)
        return Authorizer(rules, None, known.text if known.known else None)

    async def lock_plan(self, authorizer: Authorizer, topics: Collection[str], ours: frozenset[Rule]) -> LockPlan:
        """Return the locks that keep others from writing, without rules that exist and are not ours (`core.acl.locks`).

        Whether everyone is allowed is probed only if it matters and the authorizer does not say.

        Raises:
            KafkaError: The cluster refuses.
        """
        plan = await asyncio.to_thread(locks, authorizer, topics, ours)
        if plan.problems and authorizer.allows_everyone is None:
            allowed = await self.everyone_is_allowed()
            plan = await asyncio.to_thread(locks, replace(authorizer, allows_everyone=allowed), topics, ours)
        theirs = set(plan.rules).intersection(authorizer.rules) - ours
        return replace(plan, rules=tuple(rule for rule in plan.rules if rule not in theirs))

    async def check_placing(self) -> None:
        """Return if we may place rules, as far as the cluster says.

        Raises:
            AuthorizationFailed: We may not.
            KafkaError: It cannot be asked.
        """
        if await self.may_place() is not False:
            return
        raise AuthorizationFailed(
            "rules of its authorizer cannot be placed",
            cluster=self._cluster.spec.alias,
            why="Alter on the cluster is not allowed",
            next_step=acl_command(on_cluster(Operation.ALTER), self._cluster.spec),
        )

    async def may_place(self) -> bool | None:
        """Return whether we may place and remove rules; None if the cluster does not say.

        Raises:
            KafkaError: It cannot be asked.
        """
        operations = (await self._admin.describe_cluster()).operations
        return may_place_rules(operations)

    async def nobody_is_allowed(self) -> bool:
        """Return whether it is certain that without a rule nobody is allowed anything; changes nothing.

        Raises:
            KafkaError: The cluster cannot be asked.
        """
        return not await may_do_anything_to(self._cluster, _made_up_group())

    async def everyone_is_allowed(self) -> bool | None:
        """Return whether everyone may do everything that no rule is about; None if that cannot be determined.

        Brokers do not reveal that setting (KAFKA_FACTS K12). So for a second a rule is placed: for a user that does not
        exist, on a group that does not exist. It takes away our rights to that group if we had them only because there
        was no rule. A super user keeps them, and so does a user with rules for all groups: then nothing can be
        concluded.

        Raises:
            KafkaError: The cluster refuses.
        """
        group = _made_up_group()
        before = await may_do_anything_to(self._cluster, group)
        if not before:
            return False
        rule = probe_rule(Rule(GROUP, group, LITERAL, _NOBODY, ANY_HOST, "DESCRIBE", ALLOW), made_up=group)
        await self.acls.create(rule)
        try:
            await asyncio.sleep(TAKES_EFFECT_SECONDS)
            kept = await may_do_anything_to(self._cluster, group)
        finally:
            await self.acls.delete(rule)
        return None if kept else True


def may_place_rules(operations: frozenset[str] | None) -> bool | None:
    """Return whether we may place and remove rules, judging by our operations on the cluster; None if unknown."""
    return None if operations is None else bool(operations & {"ALTER", "ALL"})


def _made_up_group() -> str:
    """Return the name of a group that nobody uses and no literal rule is about."""
    return f"replicator.probe.{uuid.uuid4().hex[:12]}"
