"""Proves, for a whole pass of topic sync, who owns the target topics; topics taken over are recorded first."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from replicator.core.topics import selection
from replicator.core.topics.ownership import OwnedTopic, OwnershipReason, recorded
from replicator.core.topics.plan import MirrorFault
from replicator.engine.state import records as state
from replicator.engine.state.ownership.ours import Ownership
from replicator.errors import KafkaError
from replicator.model.status.states import Reason
from replicator.obs.logs import get_logger
from replicator.state_pb import state_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from replicator.engine.state.ownership.owners import Owners
    from replicator.engine.state.topic.log import Change, StateLog
    from replicator.engine.state.topic.source import SourceState
    from replicator.engine.topics.facts import TopicFacts, TopicPair
    from replicator.engine.topics.mirror import Mirror
    from replicator.model.spec import FlowSpec
    from replicator.wire.cluster import Cluster
    from replicator.wire.topology import Topic

Proof: TypeAlias = OwnedTopic | MirrorFault | KafkaError
log = get_logger(__name__)


class OwnerProofs:
    """Who owns the target topics of one flow.

    Args:
        flow: The flow's policy.
        uid: The flow's id.
        there: What is recorded on the source cluster.
        target: The cluster with the mirrors.
        state_log: The state topic of the target.
        owners: Which other flows feed topics of the target.
        facts: Plans topics: what cannot be a mirror is not taken over.
        from_record: Returns the mirror of a source topic with its target topic, from its record.
    """

    def __init__(
        self,
        flow: FlowSpec,
        uid: str,
        there: SourceState,
        target: Cluster,
        state_log: StateLog,
        owners: Owners,
        facts: TopicFacts,
        from_record: Callable[[str, str], Mirror],
    ) -> None:
        self._ownership = Ownership(flow, uid, there, target, state_log)
        self._flow = flow
        self._uid = uid
        self._source = there.cluster
        self._log = state_log
        self._owners = owners
        self._facts = facts
        self._from_record = from_record
        self._feeders: dict[str, str] = {}
        self._selected: frozenset[str] = frozenset()

    def selected(self, targets: Mapping[str, str]) -> None:
        """Take what this pass copies: source topic -> target topic."""
        self._feeders = _first_of(targets)
        self._selected = frozenset(targets)

    async def prove(self, found: Mapping[str, TopicPair]) -> dict[str, Proof]:
        """Return, by source topic, the proof that its target topic is ours, or why it is not, or why that is unknown.

        A topic that existed before us and never held a record is recorded as ours before it is changed in any way: so a
        daemon killed in between leaves no doubt. A topic that an operator gave up, or that is missing, has no proof.
        """
        proofs: dict[str, Proof] = {}
        candidates: dict[str, Topic] = {}
        owners = {} if self._flow.both_ways else state.foreign_owners(self._log.records, self._uid)
        for name, facts in found.items():
            target_name = self._target_name(name)
            taken = self._taken(name, target_name, owners)
            if taken is not None:
                proofs[name] = taken
            elif facts.target is not None and not self._is_given_up(facts.target):
                candidates[name] = facts.target
        sources = {topic.name: name for name, topic in candidates.items()}
        by_topic = await self._ownership.prove(candidates.values(), sources)
        adopted: dict[str, Topic] = {}
        for name, topic in candidates.items():
            proof = by_topic[topic.name]
            if not isinstance(proof, OwnedTopic) or proof.because is OwnershipReason.RECORDED:
                proofs[name] = proof
                continue
            mirror = self._from_record(name, topic.name)
            if self._facts.fault(mirror, found[name], self._facts.plan(mirror, found[name])) is None:
                adopted[name] = topic
        return proofs | await self._adopt(found, adopted)

    async def _adopt(self, found: Mapping[str, TopicPair], topics: Mapping[str, Topic]) -> dict[str, Proof]:
        """Record topics as ours, all in one change; return the proofs for those that are recorded afterwards."""
        mirrors = {name: self._from_record(name, topic.name) for name, topic in topics.items()}

        def decide(records: Mapping[bytes, bytes]) -> list[Change]:
            owners = {} if self._flow.both_ways else state.foreign_owners(records, self._uid)
            changes: list[Change] = []
            for name, topic in topics.items():
                stored = state.get_mirror(records, self._uid, topic.name)
                changed = stored is not None and (
                    state.names_its_topic(stored) or stored.generation != mirrors[name].generation
                )
                changed |= stored is not None and stored.lineage_epoch > mirrors[name].lineage
                if changed or topic.name in owners:
                    continue  # somebody was faster; the next pass finds out what that means
                record = mirrors[name].as_record((self._uid, self._flow.name), stored)
                record.source_topic_id, record.target_topic_id = found[name].source.topic_id, topic.topic_id
                record.source_partitions, record.phase = found[name].source.partition_count, pb.MIRROR_PHASE_SEEDING
                changes.append(state.put(state.mirror_key(self._uid, topic.name), record))
            return changes

        if topics:
            await self._log.change(self._uid, decide)
        why = "others write to it too" if self._flow.both_ways else "it existed already and never held a record"
        proofs: dict[str, Proof] = {}
        for name, topic in topics.items():
            record = state.get_mirror(self._log.records, self._uid, topic.name)
            if record is not None and record.source_topic == name and record.target_topic_id == topic.topic_id:
                log.info("topic adopted", topic=topic.name, why=why)
                proofs[name] = recorded(topic.name, topic.topic_id)
        return proofs

    def _taken(self, name: str, target_name: str, owners: Mapping[str, str]) -> MirrorFault | None:
        """Return who else feeds this target topic: another flow, or another topic of this flow with the same new name.

        Among topics of this flow, the recorded one feeds it, else the first in name order: logs are not merged.
        """
        if target_name in owners:
            return self.owned_elsewhere(target_name)
        record = state.get_mirror(self._log.records, self._uid, target_name)
        feeder = record.source_topic if record is not None else self._feeders.get(target_name, name)
        if feeder == name:
            return None
        if feeder in self._selected:
            what, step = f"is copied to {target_name} already", "exclude one of them, or rename it apart"
        else:
            what = f"was copied to {target_name}"
            flow = self._flow.name
            step = (
                f"rename {name} apart; or, if {target_name} is to hold {name} from now on, `replicator mirror forget "
                f"{flow} {feeder}`, then `replicator mirror resolve {flow} {name} --how recreate` (`accept` where it "
                "holds the same records)"
            )
        return MirrorFault(
            Reason.TARGET_TAKEN,
            f"topic {feeder} of this flow {what}, and two topics are never merged into one; next: {step}",
        )

    def _target_name(self, name: str) -> str:
        return selection.target_name(self._flow.rename, name)

    def _is_given_up(self, topic: Topic) -> bool:
        """Return whether an operator wants this very topic deleted."""
        record = state.get_mirror(self._log.records, self._uid, topic.name)
        return record is not None and bool(record.doomed_topic_id) and record.doomed_topic_id == topic.topic_id

    def owned_elsewhere(self, target_name: str) -> MirrorFault | None:
        """Return the fault of a mirror whose target topic belongs to another flow; None if it does not."""
        owner = None if self._flow.both_ways else self._owners.of(target_name)
        if owner is None:
            return None
        self._owners.observe(owner)  # so that its activity is known by the time somebody wants to adopt the topic
        text = owner.text(target_name, self._flow.source, self._source.cluster_id or "")
        return MirrorFault(Reason.OTHER_OWNER, f"{text}; next: {owner.next_step(self._flow.name)}")


def _first_of(targets: Mapping[str, str]) -> dict[str, str]:
    """Return the first source topic in name order of each target topic."""
    first: dict[str, str] = {}
    for name, target_name in targets.items():
        first[target_name] = min(name, first.get(target_name, name))
    return first
