"""Keeps writers off a source while a switch closes it, and off a target while it is the passive side."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

from replicator.core.switch.machine import results as got
from replicator.core.switch.machine import steps as do
from replicator.core.topics.ownership import recorded_rules
from replicator.engine.state.held_back import HeldBack, held_back_of, put_held_back
from replicator.engine.switch.context import mirrors_in, target_topics
from replicator.engine.topics.authorizer import TAKES_EFFECT_SECONDS, ClusterAuthorizer
from replicator.errors import AuthorizationFailed
from replicator.model.acl import Rule, parse
from replicator.model.switch.journal import Journal
from replicator.model.switch.terms import Close

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from replicator.engine.state.topic.log import Change
    from replicator.engine.switch.context import SwitchContext
    from replicator.model.switch.terms import Scope


class SourceLocks:
    """The locks on both sides of one flow.

    Args:
        context: What the switch works on.
    """

    def __init__(self, context: SwitchContext) -> None:
        self._context = context
        self._source = ClusterAuthorizer(context.source, context.admins[0])
        self._target = ClusterAuthorizer(context.target, context.admins[1])

    async def problems(self, journal: Journal) -> list[str]:
        """Return what prevents closing the source.

        Raises:
            KafkaError: The source cannot be asked.
        """
        if journal.options.close is Close.STATED:
            return []
        source = self._context.flow.source
        helps = "stop its producers, and say so with --producers-stopped"
        ours = frozenset(_noted(journal))
        try:
            authorizer = await self._source.read()
            if authorizer is None:
                return [f"{source} has no authorizer, so it cannot be closed by ACLs: {helps}"]
            # Everything that the step itself will ask: what it could not find out then would block it for good.
            plan = await self._source.lock_plan(authorizer, self._topics(journal.scope), ours)
            if plan.rules and not plan.problems:
                await self._source.check_placing()
        except AuthorizationFailed as error:
            return [f"{source} cannot be closed by ACLs ({error}): {error.next_step}; or {helps}"]
        return [f"{source} cannot be closed: {problem}; {helps}" for problem in plan.problems]

    def _topics(self, scope: Scope) -> list[str]:
        return [one.source_topic for one in mirrors_in(self._context.log.records, self._context.uid, scope)]

    async def plan(self, step: do.PlanLocks) -> got.Result:
        """See `do.PlanLocks`."""
        topics = frozenset(self._topics(step.scope))
        authorizer = await self._source.read(topics.__contains__)
        if authorizer is None:
            return got.LocksPlanned(())
        ours = frozenset(parse(one) for one in step.ours)
        plan = await self._source.lock_plan(authorizer, topics, ours)
        if plan.problems:
            return got.NotYet(f"{'; '.join(plan.problems)}: abort, stop the producers and use --producers-stopped")
        return got.LocksPlanned(tuple(rule.text() for rule in plan.rules))

    async def place(self, journal: Journal, step: do.PlaceLocks) -> got.Result:
        """See `do.PlaceLocks`. The proof that follows shows whether they hold: nobody writes any more."""
        wanted = [parse(one) for one in step.locks]
        if not wanted:
            return got.Ok()
        await self._source.acls.create(recorded_rules(_allowing_first(wanted), _noted(journal)))
        await asyncio.sleep(TAKES_EFFECT_SECONDS)
        standing = await self._source.acls.rules({one.name for one in wanted}.__contains__) or ()
        missing = sorted(set(wanted) - set(standing))
        return got.NotYet(f"this rule is not in place yet: {missing[0]}") if missing else got.Ok()

    async def remove(self, journal: Journal, step: do.ReopenSource) -> got.Result:
        """See `do.ReopenSource`."""
        await self._source.acls.delete(recorded_rules((parse(one) for one in step.locks), _noted(journal)))
        return got.Ok()

    def opened(self, records: Mapping[bytes, bytes], scope: Scope) -> HeldBack:
        """Return what is still held back on the target once the mirrors of a switch are opened."""
        uid, held = self._context.uid, held_back_of(records, self._context.uid)
        if scope.topics:
            return held.opened({one.target_topic for one in mirrors_in(records, uid, scope)})
        left_out = target_topics(records, uid, [one.topic for one in scope.left_out])
        return held.opened(None, but=left_out.values())

    async def open_target(self, scope: Scope) -> got.Result:
        """Open the target's ACLs: remove what kept others off, add what was withheld, which is ours from then on.

        Args:
            scope: The mirrors being opened.
        """
        context = self._context
        await context.log.read_to_end()
        held, after = held_back_of(context.log.records, context.uid), self.opened(context.log.records, scope)
        # Also what an executor that died had recorded but not yet placed.
        missing = set(after.made)
        if missing:
            missing -= set(await self._target.acls.rules({one.name for one in missing}.__contains__) or ())

        # Recorded first: a rule in place that is not known as ours would never be removed.
        def change(records: Mapping[bytes, bytes]) -> list[Change]:
            known = held_back_of(records, context.uid)
            after = replace(self.opened(records, scope), locks=known.locks)
            return [] if after == known else [put_held_back(context.uid, after)]

        await context.log.change(context.uid, change)
        await self._target.acls.create(recorded_rules(sorted(missing), after.made))
        await self._target.acls.delete(recorded_rules(set(held.locks) - set(after.locks), held.locks))
        return got.Ok()

    async def standing(self, ours: frozenset[str]) -> frozenset[str]:
        """Return which of the locks are in place on the source.

        Raises:
            KafkaError: The source cannot be asked.
        """
        wanted = {parse(one): one for one in ours}
        standing = await self._source.acls.rules({one.name for one in wanted}.__contains__) or ()
        return frozenset(wanted[rule] for rule in standing if rule in wanted)


def _noted(journal: Journal) -> tuple[Rule, ...]:
    """Return the locks on the source that are recorded as ours."""
    return tuple(parse(one) for one in (*journal.locks, *journal.inherited_locks))


def _allowing_first(rules: Iterable[Rule]) -> list[Rule]:
    """Return rules in an order that never shuts out the wrong ones: Allow before Deny."""
    return sorted(rules, key=lambda rule: (rule.permission, rule.principal.endswith("*")))
