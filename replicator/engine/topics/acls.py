"""Mirrors rules of the source's authorizer to the target, and keeps other writers off the flow's mirrors.

Rules are recorded before they are placed: a rule without a record would be taken for the target's own and never be
removed.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

from replicator.core.acl.locks import Authorizer, locks
from replicator.core.acl.mirrored_rules import Mirrored, mirrored
from replicator.core.topics.ownership import recorded, recorded_rules
from replicator.core.topics.selection import means_by_name
from replicator.engine.state import records as state
from replicator.engine.state.held_back import HeldBack, held_back_of, put_held_back
from replicator.engine.state.journal import locks_of_switch
from replicator.engine.topics.authorizer import ClusterAuthorizer
from replicator.obs.logs import get_logger

if TYPE_CHECKING:
    from collections.abc import Mapping

    from replicator.admin.topics import TopicAdmin
    from replicator.engine.state.topic.log import Change, StateLog
    from replicator.model.acl import Rule
    from replicator.model.spec import FlowSpec
    from replicator.wire.cluster import Cluster

log = get_logger(__name__)


class AclSync:
    """The rules of one flow.

    Args:
        flow: The flow's policy.
        uid: The flow's id.
        source: The cluster where rules are read.
        target: The cluster where they are placed.
        admins: The admin clients of source and target.
        state_log: Where our rules are recorded.

    Attributes:
        problem: What could not be done; None for nothing.
    """

    def __init__(
        self,
        flow: FlowSpec,
        uid: str,
        source: Cluster,
        target: Cluster,
        admins: tuple[TopicAdmin, TopicAdmin],
        state_log: StateLog,
    ) -> None:
        self.problem: str | None = None
        self._flow = flow
        self._uid = uid
        self._source = ClusterAuthorizer(source, admins[0])
        self._target = ClusterAuthorizer(target, admins[1])
        self._cluster, self._admin = target, admins[1]
        self._log = state_log
        self._everyone: bool | None = None
        self._reported: tuple[str, ...] = ()

    @property
    def wanted(self) -> bool:
        """Whether the flow file asks for mirrored rules or a locked target."""
        return self._flow.acls.mirror or self._flow.acls.lock_target

    async def round(self) -> None:
        """Bring the passive target's rules up to date.

        Raises:
            KafkaError: A cluster refuses.
        """
        mirrored_ones = {one.source_topic for one in state.mirrors_of(self._log.records, self._uid)}
        there = await self._source.read(lambda name: name in mirrored_ones or means_by_name(self._flow.topics, name))
        here = await self._target.read()
        # A switch records its locks before it places them on the source: if read after the rules, all are known.
        await self._log.read_to_end()
        if here is None:
            self._report(("the target has no authorizer: rules cannot be placed there",))
            return
        held = held_back_of(self._log.records, self._uid)
        topics, opened, foreign = await self._topics()
        close_rules = frozenset(locks_of_switch(self._log.records, self._uid))
        # In a thread: there may be tens of thousands of rules.
        plan = await asyncio.to_thread(self._mirrored, topics, opened, foreign, there, here, held, close_rules)
        lock, problems = await self._locks(topics, here, held, plan)
        self._report((*plan.notes, *problems))
        after = HeldBack(lock, plan.made, plan.withheld)
        # Rules that are about to be removed stay ours until they are gone.
        gone = set(held.locks) - set(lock)
        during = HeldBack(tuple(sorted({*lock, *gone})), tuple(sorted({*after.made, *plan.remove})), after.withheld)
        await self._record(during)
        make = [*plan.make, *sorted(set(lock).difference(here.rules))]
        await self._target.acls.create(recorded_rules(make, during.standing))
        await self._target.acls.delete(recorded_rules([*plan.remove, *sorted(gone)], during.standing))
        await self._record(after)
        if plan.make or plan.remove:
            log.info("rules follow", flow=self._flow.name, made=len(plan.make), removed=len(plan.remove))

    async def _topics(self) -> tuple[dict[str, str], frozenset[str], frozenset[str]]:
        """Return the mirrors being copied to, target topics whose rules are left alone, and topics of others.

        Left alone are mirrors that were switched singly, and names that another topic has taken meanwhile.
        """
        writers = state.writers_of(self._log.records, self._uid)
        mirrors = list(state.mirrors_of(self._log.records, self._uid))
        await self._cluster.refresh(sorted(one.target_topic for one in mirrors))
        copied: dict[str, str] = {}
        for one in mirrors:
            topic = self._cluster.topics.get(one.target_topic)
            is_ours = topic is None or recorded(one.target_topic, one.target_topic_id).is_still(topic.topic_id)
            if is_ours and (writers is None or writers.copies(one.target_topic)):
                copied[one.source_topic] = one.target_topic
        left_alone = frozenset(one.target_topic for one in mirrors) - frozenset(copied.values())
        foreign = frozenset(await self._admin.topics()) - frozenset(copied.values()) if self._flow.acls.mirror else ()
        return copied, left_alone, frozenset(foreign)

    def _mirrored(
        self,
        topics: Mapping[str, str],
        opened: frozenset[str],
        foreign: frozenset[str],
        there: Authorizer | None,
        here: Authorizer,
        held: HeldBack,
        close_rules: frozenset[Rule],
    ) -> Mirrored:
        if not self._flow.acls.mirror:
            return Mirrored(remove=tuple(sorted(set(held.made).intersection(here.rules))))
        if there is None:
            return Mirrored(made=held.made, withheld=held.withheld, notes=("the source has no authorizer",))
        rules = [rule for rule in there.rules if rule not in close_rules]
        us = there.us, here.us
        return mirrored(self._flow, topics, rules, here.rules, held.made, us, opened=opened, foreign=foreign)

    async def _locks(
        self, topics: Mapping[str, str], here: Authorizer, held: HeldBack, plan: Mirrored
    ) -> tuple[tuple[Rule, ...], tuple[str, ...]]:
        if not self._flow.acls.lock_target:
            return held.locks, ()  # locks of a switch stay until the next switch
        standing = tuple((set(here.rules) - set(plan.remove)) | set(plan.make))
        ours = frozenset(held.locks)
        authorizer = replace(here, rules=standing, allows_everyone=self._everyone)
        found = await asyncio.to_thread(locks, authorizer, topics.values(), ours)
        if found.problems and self._everyone is None:
            self._everyone = await self._target.everyone_is_allowed()
            authorizer = replace(authorizer, allows_everyone=self._everyone)
            found = await asyncio.to_thread(locks, authorizer, topics.values(), ours)
        theirs = set(found.rules).intersection(here.rules) - ours
        return tuple(rule for rule in found.rules if rule not in theirs), found.problems

    async def _record(self, held: HeldBack) -> None:
        def change(records: Mapping[bytes, bytes]) -> list[Change]:
            return [] if held_back_of(records, self._uid) == held else [put_held_back(self._uid, held)]

        if change(self._log.records):
            await self._log.change(self._uid, change)

    def _report(self, notes: tuple[str, ...]) -> None:
        if notes != self._reported:
            for note in notes:
                log.warning("rules do not follow", flow=self._flow.name, why=note)
        self._reported = notes
        self.problem = f"rules: {'; '.join(notes[:3])}" if notes else None
