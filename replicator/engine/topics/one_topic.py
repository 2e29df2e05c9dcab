"""Brings one topic up to date: creates, grows and configures its target topic, and notes what stops its mirror."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from replicator.core.topics.ownership import OwnedTopic, given_up
from replicator.core.topics.plan import CreateTopic, GrowTopic, MirrorFault, SetConfigs, TopicPlan
from replicator.engine.logs.refusals import broker_error
from replicator.engine.state import records as state
from replicator.engine.topics.facts import DELETE_RETENTION, MAX_BYTES, POLICY, effective_of
from replicator.engine.topics.mirror import MAX_BYTES_DEFAULT, fault_of
from replicator.errors import KafkaError, NotOurs
from replicator.obs.logs import get_logger
from replicator.wire.protocol.codes import ErrorCode

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from replicator.engine.state.topic.log import Change, StateLog
    from replicator.engine.topics.chosen import ChosenTopics
    from replicator.engine.topics.facts import TopicFacts, TopicPair
    from replicator.engine.topics.mirror import Mirror
    from replicator.engine.topics.mirror_records import MirrorRecords
    from replicator.engine.topics.owner_proof import Proof
    from replicator.engine.topics.target import TargetTopics
    from replicator.model.status.states import Reason
    from replicator.wire.cluster import Cluster
    from replicator.wire.topology import Topic

log = get_logger(__name__)


class TopicSteps:
    """Brings topics of one flow up to date, one by one.

    Args:
        uid: The flow's id.
        target: The cluster with the mirrors.
        state_log: Its state topic.
        chosen: Which topics are copied, and what they were copied from.
        facts: Plans topics.
        topics: Changes topics of the target.
        records: The mirrors' records.
        mirrors: By source topic name.
        doubted: Returns why the mirror of a source topic may hold records that are not ours; None if nothing says so.

    Attributes:
        outrun: Topics that somebody else created on the target at the same time, since `begin`.
    """

    def __init__(
        self,
        uid: str,
        target: Cluster,
        state_log: StateLog,
        chosen: ChosenTopics,
        facts: TopicFacts,
        topics: TargetTopics,
        *,
        records: MirrorRecords,
        mirrors: dict[str, Mirror],
        doubted: Callable[[str], Reason | None],
    ) -> None:
        self.outrun: set[str] = set()
        self._uid = uid
        self._target = target
        self._log = state_log
        self._chosen = chosen
        self._facts = facts
        self._topics = topics
        self._records = records
        self._mirrors = mirrors
        self._doubted = doubted

    async def begin(self, new: list[str]) -> None:
        """Start a look at some topics, for which these target topics will be created.

        Raises:
            KafkaError: The target cannot be asked.
        """
        await self._topics.note_old_ids(new)
        self.outrun.clear()

    async def bring(
        self,
        name: str,
        target_name: str,
        found: TopicPair,
        target_error: int | None,
        proof: Proof | None,
    ) -> None:
        """Bring one topic up to date; what stops it is noted in its mirror, and stops no other.

        Args:
            name: The topic on the source.
            target_name: The topic on the target.
            found: The facts from both sides.
            target_error: The target's Kafka error code for it; None for none.
            proof: Whether the target topic is ours; None if it does not exist or was given up.
        """
        mirror = self._mirrors.get(name)
        if mirror is None:
            mirror = self._records.mirror(name, target_name)
            self._mirrors[name] = mirror
        try:
            if target_error is not None and target_error != ErrorCode.unknown_topic_or_partition:
                raise broker_error(self._target.spec, "Metadata", target_error, target_name)
            if isinstance(proof, KafkaError):
                raise proof
            if found.configs_error is not None:
                raise found.configs_error
            await self._bring_in_step(mirror, found, proof)
        except KafkaError as error:
            if error.retryable or (error is found.configs_error and mirror.partitions and mirror.fault is None):
                # What is being copied continues, even if its settings cannot be read now.
                log.warning("topic not in step yet", topic=name, why=str(error), next=error.next_step)
                if not mirror.partitions:
                    del self._mirrors[name]
                return
            fault = fault_of(error)
            if mirror.fault != fault:  # each pass tries again, and is refused again
                log.warning("topic stopped", topic=name, reason=fault.reason, why=str(error), next=error.next_step)
            mirror.fault = fault

    async def _bring_in_step(self, mirror: Mirror, found: TopicPair, proof: OwnedTopic | MirrorFault | None) -> None:
        if proof is None:
            found = await self._without_doomed(mirror, found)
        _note_cleaning(mirror, found)
        plan = self._facts.plan(mirror, found)
        was_ours = plan.fault if any(mirror.target_id) else None
        fault = was_ours or (proof if isinstance(proof, MirrorFault) else self._facts.fault(mirror, found, plan))
        if fault is not None:
            if mirror.fault != fault:
                log.warning("topic stopped", topic=mirror.topic, reason=fault.reason, why=fault.text)
            mirror.fault = fault
            return
        if plan.steps and (doubted := self._doubted(mirror.topic)) is not None:
            # It may hold records that are not ours: it is not changed before an operator has decided.
            mirror.notes = (f"the target topic is left as it is while a partition is stopped with {doubted}",)
            return
        owned = proof if isinstance(proof, OwnedTopic) else None
        target = await self._in_step(mirror, found, plan, owned)
        if target is None:
            return
        mirror.fault = None
        mirror.notes = plan.notes
        mirror.target_id = target.topic_id
        if any(found.source.topic_id):  # a broker in the middle of an upgrade may report none: what is known stays
            mirror.source_id = found.source.topic_id
        mirror.partitions = found.source.partition_count
        if self._chosen.unknown is None:  # else the record stays as it is: others find the end of a ring by it
            mirror.came_through = self._chosen.trail(mirror.topic)
        if mirror.begin_at_end and not mirror.begin_at_end_partitions:
            mirror.begin_at_end_partitions = mirror.partitions
        mirror.managed = dict(plan.managed)
        mirror.held_back, mirror.names_policy = dict(plan.held_back), True
        limit = plan.managed.get(MAX_BYTES) or effective_of(found.target_config).get(MAX_BYTES)
        mirror.batch_bytes_max = int(limit) if limit else MAX_BYTES_DEFAULT

    def _may_change(self, mirror: Mirror) -> bool:
        """Return whether the target topic is still passive: a pass may take minutes, a switch seconds."""
        return state.is_copied_to(self._log.records, self._uid, mirror.target_topic)

    async def _in_step(
        self, mirror: Mirror, found: TopicPair, plan: TopicPlan, owned: OwnedTopic | None
    ) -> Topic | None:
        """Create the target topic, or change ours; return it once it has leaders, None if it does not have them yet."""
        target, partitions = found.target, found.source.partition_count
        if target is None:
            owned = await self._create(mirror, plan)
        elif owned is not None:
            for step in plan.steps:
                if isinstance(step, GrowTopic | SetConfigs) and self._may_change(mirror):
                    await self._topics.carry_out(owned, step)
        if owned is None or not self._may_change(mirror):
            return None  # somebody else was faster, or it was opened meanwhile: the next pass finds out whose it is
        if plan.steps and (target is None or target.partition_count != partitions):
            target = await self._topics.await_leaders(owned, partitions)
        if target is not None and not owned.is_still(target.topic_id):
            raise NotOurs(
                f"{owned.name} was left as it is",
                cluster=self._target.spec.alias,
                why=owned.why_not(target.topic_id),
            )
        return target

    async def _create(self, mirror: Mirror, plan: TopicPlan) -> OwnedTopic | None:
        made = None
        for step in plan.steps:
            if isinstance(step, CreateTopic):
                made = await self._topics.create(step)
        if made is None:
            self.outrun.add(mirror.topic)
        return made

    async def _without_doomed(self, mirror: Mirror, found: TopicPair) -> TopicPair:
        """Delete the target topic that an operator gave up, if it still exists; return the facts afterwards."""
        record = state.get_mirror(self._log.records, self._uid, mirror.target_topic)
        if record is None or not record.doomed_topic_id:
            return found
        doomed = record.doomed_topic_id
        if found.target is not None and found.target.topic_id == doomed:
            await self._topics.delete(given_up(mirror.target_topic, doomed))
            found = replace(found, target=None, target_config=None)

        def decide(records: Mapping[bytes, bytes]) -> list[Change]:
            stored = state.get_mirror(records, self._uid, mirror.target_topic)
            if stored is None or stored.doomed_topic_id != doomed:
                return []
            stored.doomed_topic_id = b""
            return [state.put(state.mirror_key(self._uid, mirror.target_topic), stored)]

        await self._log.change(self._uid, decide)
        return found


def _note_cleaning(mirror: Mirror, found: TopicPair) -> None:
    """Note how the source's log is cleaned, for stopped mirrors as well: the ways to resolve them depend on it."""
    source = effective_of(found.source_config)
    policy = source.get(POLICY, "")
    mirror.surely_compacted, mirror.only_compacted = "compact" in policy, policy == "compact"
    kept_ms = source.get(DELETE_RETENTION)
    mirror.delete_retention_ms = int(kept_ms) if kept_ms else None
    # If the setting cannot be read, assume compaction: a removed record must not be taken for lost history.
    mirror.compacted = "compact" in source.get(POLICY, "compact")
