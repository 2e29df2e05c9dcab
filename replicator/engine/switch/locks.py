"""Keeps writers off a source while a switch closes it, and off a target while it is the passive side."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from dataclasses import replace
from typing import TYPE_CHECKING

from replicator.admin.acls import Acls
from replicator.core import switch_steps as do
from replicator.core.acl_locks import Authorizer, locks
from replicator.core.rights import principal
from replicator.engine.switch.records import locks_of
from replicator.engine.switch.site import mirrors_in
from replicator.errors import AuthorizationFailed
from replicator.model.acl import ALLOW, ANY_HOST, GROUP, LITERAL, Rule, parse
from replicator.model.switch import Close, Journal
from replicator.wire.group_rights import may_do_anything_to

if TYPE_CHECKING:
    from collections.abc import Iterable

    from replicator.admin.topics import TopicAdmin
    from replicator.engine.switch.site import Site
    from replicator.wire.cluster import Cluster

_AUTHORIZER = "authorizer.class.name"
_TAKES_EFFECT_SECONDS = 1.0
"""How long brokers may take to follow a change of rules."""
_NOBODY = "User:replicator.probe"


class AuthorizerOf:
    """The authorizer of one cluster, read whole each time.

    Args:
        cluster: The cluster.
        admin: Where its settings are read.
    """

    def __init__(self, cluster: Cluster, admin: TopicAdmin) -> None:
        self.acls = Acls(cluster.spec)
        self._cluster = cluster
        self._admin = admin

    async def read(self) -> Authorizer | None:
        """Return what it does, as far as can be seen without changing anything; None where the cluster has none.

        Raises:
            KafkaError: It cannot be asked.
        """
        with contextlib.suppress(AuthorizationFailed):  # then the rules alone tell
            if not (await self._admin.broker_configs([_AUTHORIZER])).get(_AUTHORIZER):
                return None
        rules = await self.acls.rules()
        if rules is None:
            return None
        known = principal(self._cluster.spec.security)
        return Authorizer(rules, None, frozenset(), known.text if known.known else None)

    async def everyone_is_allowed(self) -> bool | None:
        """Return whether everyone may do everything where no rule is found; None where that cannot be told.

        Brokers do not show that setting (KAFKA.md 0b.15). So a rule for somebody who is not there is placed on a group
        that is not there, for a second: it takes our rights to that group away if we had them for want of a rule. A
        super user keeps them, and so does who has rules for all groups: from them nothing can be told.

        Raises:
            KafkaError: The cluster refuses.
        """
        group = f"replicator.probe.{uuid.uuid4().hex[:12]}"
        before = await may_do_anything_to(self._cluster, group)
        if not before:
            return False
        rule = Rule(GROUP, group, LITERAL, _NOBODY, ANY_HOST, "DESCRIBE", ALLOW)
        await self.acls.create([rule])
        try:
            await asyncio.sleep(_TAKES_EFFECT_SECONDS)
            kept = await may_do_anything_to(self._cluster, group)
        finally:
            await self.acls.delete([rule])
        return None if kept else True


class SourceLocks:
    """The locks on both sides of one flow.

    Args:
        site: What the switch works on.
    """

    def __init__(self, site: Site) -> None:
        self._site = site
        self._source = AuthorizerOf(site.source, site.admins[0])
        self._target = AuthorizerOf(site.target, site.admins[1])

    async def problems(self, journal: Journal) -> list[str]:
        """Return what keeps the source from being closed.

        Raises:
            KafkaError: The source cannot be asked.
        """
        if journal.options.close is Close.STATED:
            return []
        source = self._site.flow.source
        helps = "stop its producers, and state it with --producers-stopped"
        try:
            authorizer = await self._source.read()
        except AuthorizationFailed as error:
            return [f"rules of {source} cannot be read ({error}): {error.next_step}; or {helps}"]
        if authorizer is None:
            return [f"{source} has no authorizer, so it cannot be closed by rules: {helps}"]
        ours = frozenset(parse(one) for one in (*journal.locks, *journal.inherited_locks))
        plan = locks(replace(authorizer, allows_everyone=True), self._topics(journal.topics), ours)
        return [f"{source} cannot be closed: {problem}; {helps}" for problem in plan.problems]

    def _topics(self, topics: Iterable[str]) -> list[str]:
        return [one.source_topic for one in mirrors_in(self._site.log.records, self._site.uid, topics)]

    async def plan(self, step: do.PlanLocks) -> do.Result:
        """See `do.PlanLocks`."""
        authorizer = await self._source.read()
        if authorizer is None:
            return do.LocksPlanned(())
        ours = frozenset(parse(one) for one in step.ours)
        topics = self._topics(step.topics)
        if locks(authorizer, topics, ours).problems:
            authorizer = replace(authorizer, allows_everyone=await self._source.everyone_is_allowed())
        plan = locks(authorizer, topics, ours)
        if plan.problems:
            return do.NotYet(f"{'; '.join(plan.problems)}: abort, stop the producers and state --producers-stopped")
        theirs = set(authorizer.rules) - ours
        return do.LocksPlanned(tuple(rule.text() for rule in plan.rules if rule not in theirs))

    async def place(self, step: do.PlaceLocks) -> do.Result:
        """See `do.PlaceLocks`. Whether they hold is seen by the proof that follows: nobody writes any more."""
        wanted = [parse(one) for one in step.locks]
        if not wanted:
            return do.Ok()
        await self._source.acls.create(_allowing_first(wanted))
        await asyncio.sleep(_TAKES_EFFECT_SECONDS)
        standing = await self._source.acls.rules() or ()
        missing = sorted(set(wanted) - set(standing))
        return do.NotYet(f"rule does not stand yet: {missing[0]}") if missing else do.Ok()

    async def remove(self, step: do.ReopenSource) -> do.Result:
        """See `do.ReopenSource`."""
        await self._source.acls.delete(parse(one) for one in step.locks)
        return do.Ok()

    async def open_target(self) -> do.Result:
        """Remove what kept other writers off the target, in a switch that had made it the passive side."""
        site = self._site
        standing = [parse(one) for one in locks_of(site.log.records, site.uid)]
        await self._target.acls.delete(standing)
        return do.Ok()

    async def standing(self, ours: frozenset[str]) -> frozenset[str]:
        """Return those of the locks that stand on the source.

        Raises:
            KafkaError: The source cannot be asked.
        """
        rules = {rule.text() for rule in await self._source.acls.rules() or ()}
        return ours & rules


def _allowing_first(rules: Iterable[Rule]) -> list[Rule]:
    """Return rules in an order in which nobody is shut out who should not be: what allows before what denies."""
    return sorted(rules, key=lambda rule: (rule.permission, rule.principal.endswith("*")))
