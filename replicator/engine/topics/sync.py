"""Keeps the topics of a flow up to date: found, created, grown, configured, and noticed when they disappear.

One pass reads both clusters, plans each topic (`core.topics.plan`), carries the steps out, and records what became a
mirror. A topic that cannot be handled faults alone; the pass continues with the others.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from replicator.aio.turns import Turns
from replicator.core.copy.attaching.facts import Role
from replicator.core.topics import selection
from replicator.core.topics.plan import MirrorFault
from replicator.engine.state import records as state
from replicator.engine.state.ownership.between import check_clusters
from replicator.engine.state.topic.index import parse_key
from replicator.engine.state.topic.source import SourceState
from replicator.engine.topics.chosen import ChosenTopics
from replicator.engine.topics.facts import POLICY, TopicFacts
from replicator.engine.topics.mirror import Mirror, fault_of
from replicator.engine.topics.mirror_records import MirrorRecords
from replicator.engine.topics.missing import MissingTopics
from replicator.engine.topics.one_topic import TopicSteps
from replicator.engine.topics.owner_proof import OwnerProofs
from replicator.engine.topics.target import TargetTopics
from replicator.engine.work.fence import role_text
from replicator.errors import DamagedRecord
from replicator.model.status.states import Reason
from replicator.obs.logs import get_logger
from replicator.state_pb import state_pb2 as pb
from replicator.wire.cluster import Cluster

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from replicator.admin.topics import TopicAdmin
    from replicator.engine.state.ownership.owners import Owners
    from replicator.engine.state.topic.log import StateLog
    from replicator.model.spec import FlowSpec

log = get_logger(__name__)


class TopicSync:
    """Runs passes for one flow.

    Args:
        flow: The flow's policy.
        uid: The flow's id.
        source: The source cluster.
        target: The cluster with the mirrors.
        admins: The admin clients of source and target.
        state_log: The state topic of the target.
        there: What is recorded on the source cluster, shared by all readers; None to read it for this object alone.
        doubted: Returns why the mirror of a source topic may hold records that are not ours; None if nothing says so.

    Attributes:
        mirrors: By source topic name.
        chosen: Which topics are copied, and which are left out.
        facts: The facts about topics from both sides.
        records: The mirrors' records.
    """

    def __init__(
        self,
        flow: FlowSpec,
        uid: str,
        source: Cluster,
        target: Cluster,
        admins: tuple[TopicAdmin, TopicAdmin],
        state_log: StateLog,
        owners: Owners,
        *,
        there: SourceState | None = None,
        doubted: Callable[[str], Reason | None] = lambda _: None,
    ) -> None:
        there = SourceState(source) if there is None else there
        self.mirrors: dict[str, Mirror] = {}
        self.chosen = ChosenTopics(flow, uid, there, target, state_log)
        self._flow = flow
        self._uid = uid
        self._source = source
        self._target = target
        self.facts = TopicFacts(flow, uid, source, target, admins, state_log)
        self.records = MirrorRecords(flow, uid, target, state_log, self.chosen, self.mirrors)
        self._missing = MissingTopics(flow, uid, source, state_log, self.chosen, self.records, self.mirrors)
        self._proof = OwnerProofs(flow, uid, there, target, state_log, owners, self.facts, self.records.mirror)
        self._steps = TopicSteps(
            uid,
            target,
            state_log,
            self.chosen,
            self.facts,
            TargetTopics(target, admins[1]),
            records=self.records,
            mirrors=self.mirrors,
            doubted=doubted,
        )
        self._log = state_log
        self._owners = owners
        self._first_pass = True
        self._due: set[str] = set()

    def note_record(self, key: bytes) -> str | None:
        """Handle a changed record; return the source topic of a mirror that has to start over, else None."""
        parsed = parse_key(key)
        if parsed is None or parsed.kind != pb.KIND_MIRROR or parsed.flow_uid != self._uid:
            return None
        try:
            record = state.get_mirror(self._log.records, self._uid, parsed.topic)
        except DamagedRecord as error:
            return self._damaged(parsed.topic, error)
        if record is None:
            return self._removed(parsed.topic)
        mirror = self.mirrors.get(record.source_topic)
        if mirror is None:
            return None
        if record.generation == mirror.generation:
            mirror.learn(record)
            return None
        self.mirrors[mirror.topic] = self.records.mirror(mirror.topic, mirror.target_topic)
        self._due.add(mirror.topic)
        return mirror.topic

    def _damaged(self, target_topic: str, error: DamagedRecord) -> str | None:
        """Stop the mirror whose record cannot be read; return its source topic, None if that is not known yet."""
        mirror = next((one for one in self.mirrors.values() if one.target_topic == target_topic), None)
        if mirror is None:
            return None
        mirror.fault = fault_of(error)
        return mirror.topic

    def _removed(self, target_topic: str) -> str | None:
        """Return the source topic of a mirror whose record is gone: another flow adopted it, or it was forgotten."""
        mirror = next((one for one in self.mirrors.values() if one.target_topic == target_topic), None)
        if mirror is None:
            return None
        if self._owners.of(target_topic) is None:
            del self.mirrors[mirror.topic]
            return mirror.topic
        fresh = self.mirrors[mirror.topic] = self.records.mirror(mirror.topic, target_topic)
        fresh.fault = self._proof.owned_elsewhere(target_topic)
        return mirror.topic

    def stand_by(self) -> bool:
        """Show mirrors that are not being copied to as they are recorded: we must not change them.

        Returns:
            Whether any of them was shown differently before.
        """
        writers = state.writers_of(self._log.records, self._uid)
        if writers is None or (writers.flow.role is Role.COPYING and not writers.own):
            return False
        changed = False
        for record in state.readable_mirrors_of(self._log.records, self._uid):
            name, role = record.source_topic, writers.of(record.target_topic).role
            if role is Role.COPYING or not selection.matches(self._flow.topics, name):
                continue
            mirror = self.mirrors.get(name)
            if mirror is None:
                mirror = self.mirrors[name] = self.records.mirror(name, record.target_topic)
                mirror.partitions = record.source_partitions
            fault = MirrorFault(Reason.FENCED, f"{role_text(role)} ({role})")
            changed |= mirror.fault != fault
            mirror.fault = fault
        return changed

    async def run_pass(self, *, configs: bool) -> bool:
        """Look at everything once; return whether anything needed a closer look.

        Args:
            configs: Whether settings are read again too, or only names, ids and partition counts.

        Raises:
            WrongCluster: Another cluster answers in place of one of the flow's.
            KafkaError: A cluster as a whole cannot be asked.
        """
        await self._source.refresh(None)
        self.check_clusters()
        stopped = self.stand_by()
        # A daemon that has just started knows only what is recorded about its mirrors.
        recorded = (one.source_topic for one in state.readable_mirrors_of(self._log.records, self._uid))
        await self.chosen.choose(self.mirrors.keys() | (recorded if self._first_pass else ()))
        names = self.selected()
        await self.chosen.decide_start(names)
        targets = {name: selection.target_name(self._flow.rename, name) for name in names}
        due, self._due = self._due, set()
        fresh = [
            name for name in names if configs or name in due or name not in self.mirrors or self.mirrors[name].fault
        ]
        grown = [name for name in names if name not in fresh and self._has_grown(name, targets[name])]
        examined = self.records.readable(fresh + grown, targets)
        if self._first_pass:
            self._missing.remember(names)
        gone = self._missing.note(names, await self._missing.why(names))
        self._proof.selected(targets)
        outrun = await self._sync(examined, targets)
        if outrun:  # somebody else created these at the same time: their owner is proven like any other's
            await self._sync(outrun, targets)
        left = self.chosen.note_left(targets.values(), asyncio.get_running_loop().time())
        if examined or left:
            await self.records.write()
        if examined and self.facts.known_configs is None:
            # The created topics got settings that every version knows; theirs now show which others this one knows.
            await self._sync(examined, targets)
            await self.records.write()
        self._first_pass = False
        return bool(examined) or gone or stopped

    async def _sync(self, names: list[str], targets: Mapping[str, str]) -> list[str]:
        """Bring topics up to date; return those that somebody else created on the target at the same time."""
        if not names:
            return []
        # The target is only asked about topics that need a look; a topic that disappears there is noticed by refusals.
        absent = await self._target.refresh(sorted({targets[name] for name in names}))
        found = await self.facts.of(names, targets)
        proofs = await self._proof.prove(found)
        new = [targets[name] for name, facts in found.items() if facts.target is None]
        await self.chosen.announce(new)
        await self._steps.begin(new)
        turns = Turns()
        for name, facts in found.items():
            await self._steps.bring(name, targets[name], facts, absent.get(targets[name]), proofs.get(name))
            await turns.give()
        return sorted(self._steps.outrun)

    def check_clusters(self) -> None:
        """Return if the clusters that answer are the flow's source and target.

        Raises:
            WrongCluster: A different cluster answers.
        """
        check_clusters(self._log.records, self._uid, self._flow, self._source, self._target)

    def selected(self) -> list[str]:
        """Return the source's topics, as of the last description, that the last look found to be copied."""
        return self._copied(name for name in self.chosen.selected if name in self._source.topics)

    def meant(self) -> list[str]:
        """Return `selected` plus the topics that no look has judged yet: they may hold records to copy."""
        return self._copied(self.chosen.meant())

    def _copied(self, names: Iterable[str]) -> list[str]:
        flow, writers = self._flow, state.writers_of(self._log.records, self._uid)
        return [name for name in names if writers is None or writers.copies(selection.target_name(flow.rename, name))]

    def mark_seeded(self) -> bool:
        """Mark mirrors whose last partition has been seeded: their policy is set now, not with the next settings.

        Returns:
            Whether there are any: a pass is due.
        """
        seeded = [
            name
            for name, mirror in self.mirrors.items()
            if POLICY in mirror.held_back and mirror.fault is None and 0 < mirror.partitions <= len(mirror.active)
        ]
        self._due.update(seeded)
        return bool(seeded)

    def _has_grown(self, name: str, target_name: str) -> bool:
        """Return whether names, ids or counts alone show that a topic needs a look."""
        mirror, source = self.mirrors[name], self._source.topics.get(name)
        target = self._target.topics.get(target_name)
        return source is not None and (
            source.partition_count != mirror.partitions
            or source.topic_id != mirror.source_id
            or target is None
            or target.topic_id != mirror.target_id
        )
