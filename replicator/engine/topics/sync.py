"""Keeps the topics of a flow in step: found, created, grown, configured, and noticed when they go.

One pass reads both clusters, plans each topic (`core.topics.plan`), carries the steps out, and records what became a
mirror. A topic that cannot be handled faults alone; the pass goes on with the others.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from replicator.aio.turns import Turns
from replicator.core.copy.attach_facts import Role
from replicator.core.topics import selection
from replicator.core.topics.ownership import OwnedTopic, given_up
from replicator.core.topics.plan import CreateTopic, Fault, GrowTopic, SetConfigs, TopicPlan, creation_advice
from replicator.engine.logs.refusals import TOPIC_AUTHORIZATION_FAILED, refused, told
from replicator.engine.state import records as state
from replicator.engine.state.between import check_clusters
from replicator.engine.state.index import parse_key
from replicator.engine.state.source import SourceState
from replicator.engine.topics.chosen import Chosen
from replicator.engine.topics.facts import DELETE_RETENTION, MAX_BYTES, POLICY, TopicFacts, effective_of
from replicator.engine.topics.mirror import MAX_BYTES_DEFAULT, Mirror
from replicator.engine.topics.proof import TargetProof
from replicator.engine.topics.target import TargetTopics
from replicator.engine.work.fence import role_text
from replicator.errors import AuthorizationFailed, BrokerRefused, DamagedRecord, KafkaError, NotOurs
from replicator.model.states import Reason
from replicator.obs.logs import get_logger
from replicator.state_pb import state_pb2 as pb
from replicator.wire.cluster import Cluster
from replicator.wire.topology import Topic

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from replicator.admin.topics import TopicAdmin
    from replicator.engine.state.log import Change, StateLog
    from replicator.engine.state.owners import Owners
    from replicator.engine.topics.facts import Found
    from replicator.engine.topics.proof import Proof
    from replicator.model.spec import FlowSpec

_RECORDED_AT_ONCE = 100
"""Mirrors in one compare-and-set: what is decided in it lets nothing else run."""

log = get_logger(__name__)


class TopicSync:
    """Runs passes for one flow.

    Args:
        flow: Its policy.
        uid: The flow's.
        source: Where topics are found.
        target: Where their mirrors stand.
        admins: Of both.
        state_log: The state topic of the target.
        there: What is recorded on the source, for all who ask; None: read for this alone.
        doubted: Returns why the mirror of a source topic may hold what is not ours, None where nothing says so.

    Attributes:
        mirrors: By source topic name.
        chosen: Which topics are copied, and which are left out.
        facts: What both sides tell of topics.
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
        self.chosen = Chosen(flow, uid, there, target, state_log)
        self._flow = flow
        self._uid = uid
        self._source = source
        self._target = target
        self.facts = TopicFacts(flow, uid, source, target, admins, state_log)
        self._proof = TargetProof(flow, uid, there, target, state_log, owners, self.facts, self._from_record)
        self._topics = TargetTopics(target, admins[1])
        self._doubted = doubted
        self._outrun: set[str] = set()
        self._log = state_log
        self._owners = owners
        self._first_pass = True
        self._anew: set[str] = set()

    def note_record(self, key: bytes) -> str | None:
        """Take the news that a record changed; return the source topic of a mirror that has to begin anew."""
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
        self.mirrors[mirror.topic] = self._from_record(mirror.topic, mirror.target_topic)
        self._anew.add(mirror.topic)
        return mirror.topic

    def _damaged(self, target_topic: str, error: DamagedRecord) -> str | None:
        """Stop the mirror whose record cannot be read; return its source topic, None where it is not known yet."""
        mirror = next((one for one in self.mirrors.values() if one.target_topic == target_topic), None)
        if mirror is None:
            return None
        mirror.fault = _fault_of(error)
        return mirror.topic

    def _readable(self, names: Iterable[str], targets: Mapping[str, str]) -> list[str]:
        """Return those topics whose mirror's record can be read, if there is one; the others stand still."""
        readable = []
        for name in names:
            try:
                state.get_mirror(self._log.records, self._uid, targets[name])
            except DamagedRecord as error:
                fault = _fault_of(error)
                mirror = self.mirrors.setdefault(name, Mirror(name, targets[name]))
                if mirror.fault != fault:
                    log.warning("topic stopped", topic=name, reason=fault.reason, why=str(error), next=error.next_step)
                mirror.fault = fault
            else:
                readable.append(name)
        return readable

    def _removed(self, target_topic: str) -> str | None:
        """Return the source topic of a mirror whose record is gone: another flow adopted it, or it is forgotten."""
        mirror = next((one for one in self.mirrors.values() if one.target_topic == target_topic), None)
        if mirror is None:
            return None
        if self._owners.of(target_topic) is None:
            del self.mirrors[mirror.topic]
            return mirror.topic
        fresh = self.mirrors[mirror.topic] = self._from_record(mirror.topic, target_topic)
        fresh.fault = self._proof.owned_elsewhere(target_topic)
        return mirror.topic

    def stand_by(self) -> bool:
        """Show mirrors that are not copied to as they are recorded: nothing of them is ours to change.

        Returns:
            Whether anything was shown otherwise before.
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
                mirror = self.mirrors[name] = self._from_record(name, record.target_topic)
                mirror.partitions = record.source_partitions
            fault = Fault(Reason.FENCED, f"{role_text(role)} ({role})")
            changed |= mirror.fault != fault
            mirror.fault = fault
        return changed

    async def run_pass(self, *, configs: bool) -> bool:
        """Look at everything once; return whether anything had to be looked at closely.

        Args:
            configs: Whether settings are read again too, or only names, ids and partition counts.

        Raises:
            WrongCluster: Another cluster answers where one of the flow's was.
            KafkaError: A cluster as a whole cannot be asked.
        """
        await self._source.refresh(None)
        self.check_clusters()
        stopped = self.stand_by()
        # A daemon that has just started knows of its mirrors what is recorded.
        recorded = (one.source_topic for one in state.readable_mirrors_of(self._log.records, self._uid))
        await self.chosen.look(self.mirrors.keys() | (recorded if self._first_pass else ()))
        names = self.selected()
        await self.chosen.decide_start(names)
        targets = {name: selection.target_name(self._flow.rename, name) for name in names}
        anew, self._anew = self._anew, set()
        fresh = [
            name for name in names if configs or name in anew or name not in self.mirrors or self.mirrors[name].fault
        ]
        grown = [name for name in names if name not in fresh and self._has_grown(name, targets[name])]
        looked_at = self._readable(fresh + grown, targets)
        if self._first_pass:
            self._remember_missing(names)
        gone = self._note_missing(names, await self._why_missing(names))
        self._proof.selected(targets)
        outrun = await self._look_at(looked_at, targets)
        if outrun:  # somebody else created those in the same moment: whose they are is proven like that of any other
            await self._look_at(outrun, targets)
        left = self.chosen.note_left(targets.values(), asyncio.get_running_loop().time())
        if looked_at or left:
            await self._record()
        if looked_at and self.facts.known_configs is None:
            # What was created got what every version knows; its own settings tell what else this one does.
            await self._look_at(looked_at, targets)
            await self._record()
        self._first_pass = False
        return bool(looked_at) or gone or stopped

    async def _look_at(self, names: list[str], targets: Mapping[str, str]) -> list[str]:
        """Bring topics in step; return those that somebody else created on the target in the same moment."""
        if not names:
            return []
        # The target is asked only about topics that need a look: one that goes there is noticed by its refusals.
        absent = await self._target.refresh(sorted({targets[name] for name in names}))
        found = await self.facts.of(names, targets)
        proofs = await self._proof.prove(found)
        new = [targets[name] for name, facts in found.items() if facts.target is None]
        await self.chosen.announce(new)
        await self._topics.look_before(new)
        self._outrun.clear()
        turns = Turns()
        for name, facts in found.items():
            await self._handle(name, targets[name], facts, absent.get(targets[name]), proofs.get(name))
            await turns.give()
        return sorted(self._outrun)

    def check_clusters(self) -> None:
        """Return if the clusters that answer are those that the flow goes between.

        Raises:
            WrongCluster: Another one answers.
        """
        check_clusters(self._log.records, self._uid, self._flow, self._source, self._target)

    def selected(self) -> list[str]:
        """Return the topics that the source has, as it was described last, and the last look found to be copied."""
        return self._copied(name for name in self.chosen.selected if name in self._source.topics)

    def meant(self) -> list[str]:
        """Return the same with those that no look has judged yet: they may hold what has to be copied."""
        return self._copied(self.chosen.meant())

    def _copied(self, names: Iterable[str]) -> list[str]:
        flow, writers = self._flow, state.writers_of(self._log.records, self._uid)
        return [name for name in names if writers is None or writers.copies(selection.target_name(flow.rename, name))]

    def look_again(self) -> bool:
        """Mark mirrors of which the last partition was seeded: their policy follows now, not with the next settings.

        Returns:
            Whether there are any: a pass is due.
        """
        seeded = [
            name
            for name, mirror in self.mirrors.items()
            if POLICY in mirror.held_back and mirror.fault is None and 0 < mirror.partitions <= len(mirror.active)
        ]
        self._anew.update(seeded)
        return bool(seeded)

    def _has_grown(self, name: str, target_name: str) -> bool:
        """Return whether names, ids or counts alone show that a topic has to be looked at."""
        mirror, source = self.mirrors[name], self._source.topics.get(name)
        target = self._target.topics.get(target_name)
        return source is not None and (
            source.partition_count != mirror.partitions
            or source.topic_id != mirror.source_id
            or target is None
            or target.topic_id != mirror.target_id
        )

    def _remember_missing(self, names: Iterable[str]) -> None:
        """A topic that was copied once is missed by a daemon that never saw it, too."""
        present = set(names)
        for record in state.readable_mirrors_of(self._log.records, self._uid):
            name = record.source_topic
            if name not in present and name not in self.mirrors and selection.matches(self._flow.topics, name):
                self.mirrors[name] = self._from_record(name, record.target_topic)

    async def _why_missing(self, names: Iterable[str]) -> dict[str, Fault]:
        """Return why copied topics are not among those that the source tells of, where that is not known yet.

        A topic that this user may not describe any more is left out of that answer without a word.
        """
        known = {*names, *(name for name in self.mirrors if self.chosen.left_out(name) is not None)}
        missing = [name for name, mirror in self.mirrors.items() if name not in known and mirror.fault is None]
        codes = await self._source.refresh(missing) if missing else {}
        unknown = await self._source.gone(name for name, code in codes.items() if _is_absence(code))
        faults = {
            name: Fault(
                Reason.SOURCE_MISSING, f"{name} is not on the source any more; the target keeps what was copied"
            )
            for name in unknown
        }
        faults |= {
            name: Fault(Reason.WAITING_FOR_ACCESS, told(self._source.spec, "Metadata", code, name))
            for name, code in codes.items()
            if code == TOPIC_AUTHORIZATION_FAILED
        }
        return faults

    def _note_missing(self, names: Iterable[str], faults: Mapping[str, Fault]) -> bool:
        """A topic that is gone from the source, or from the selection, is reported and left alone on the target."""
        present = set(names)
        changed = False
        for name, mirror in self.mirrors.items():
            if name in present:
                if mirror.fault is not None and mirror.fault.reason in {Reason.SOURCE_MISSING, Reason.LEFT_OUT}:
                    mirror.fault, changed = None, True
                continue
            left_out = self.chosen.left_out(name)
            if left_out is not None:
                changed |= self._leave_out(mirror, left_out)
            elif mirror.fault is None and name in faults:
                mirror.fault, changed = faults[name], True
                if mirror.fault.reason is Reason.SOURCE_MISSING:
                    log.warning("topic gone", flow=self._flow.name, topic=name)
                else:
                    log.warning("topic stopped", topic=name, reason=mirror.fault.reason, why=mirror.fault.text)
        return changed

    def _leave_out(self, mirror: Mirror, why: str) -> bool:
        """Stop a mirror that an earlier version, or a wider file, began; return whether it went on before."""
        fault = Fault(
            Reason.LEFT_OUT,
            f"{mirror.topic} {why}; what was copied stays on the target; next: list {mirror.topic} in topics.include "
            f"by its full name to copy it all the same, or add it to topics.exclude and delete {mirror.target_topic}",
        )
        if mirror.fault == fault or (mirror.fault is not None and mirror.fault.reason is Reason.FENCED):
            return False
        log.warning("topic left out", flow=self._flow.name, topic=mirror.topic, why=why)
        mirror.fault = fault
        return True

    # -- one topic ------------------------------------------------------------------------------------------------

    async def _handle(
        self,
        name: str,
        target_name: str,
        found: Found,
        target_error: int | None,
        proof: Proof | None,
    ) -> None:
        mirror = self.mirrors.get(name)
        if mirror is None:
            mirror = self._from_record(name, target_name)
            self.mirrors[name] = mirror
        try:
            if target_error is not None and not _is_absence(target_error):
                raise refused(self._target.spec, "Metadata", target_error, target_name)
            if isinstance(proof, KafkaError):
                raise proof
            if found.untold is not None:
                raise found.untold
            await self._bring_in_step(mirror, found, proof)
        except KafkaError as error:
            if error.retryable or (error is found.untold and mirror.partitions and mirror.fault is None):
                # What is copied goes on being copied though its settings cannot be read now.
                log.warning("topic not in step yet", topic=name, why=str(error), next=error.next_step)
                if not mirror.partitions:
                    del self.mirrors[name]
                return
            fault = _fault_of(error)
            if mirror.fault != fault:  # each pass tries again, and is refused again
                log.warning("topic stopped", topic=name, reason=fault.reason, why=str(error), next=error.next_step)
            mirror.fault = fault

    def _from_record(self, name: str, target_name: str) -> Mirror:
        mirror = Mirror(name, target_name, begin_at_end=self.chosen.begins_at_end(name))
        record = state.get_mirror(self._log.records, self._uid, target_name)
        if record is not None and record.source_topic == name:
            mirror.take(record)
            mirror.recorded = state.names_its_topic(record)
        return mirror

    async def _bring_in_step(self, mirror: Mirror, found: Found, proof: OwnedTopic | Fault | None) -> None:
        if proof is None:
            found = await self._without_doomed(mirror, found)
        _note_cleaning(mirror, found)
        plan = self.facts.plan(mirror, found)
        was_ours = plan.fault if any(mirror.target_id) else None
        fault = was_ours or (proof if isinstance(proof, Fault) else self.facts.fault(mirror, found, plan))
        if fault is not None:
            if mirror.fault != fault:
                log.warning("topic stopped", topic=mirror.topic, reason=fault.reason, why=fault.text)
            mirror.fault = fault
            return
        if plan.steps and (doubted := self._doubted(mirror.topic)) is not None:
            # It may hold what is not ours: nothing of it is changed before an operator has decided.
            mirror.notes = (f"the target topic is left as it is while a partition stands still with {doubted}",)
            return
        owned = proof if isinstance(proof, OwnedTopic) else None
        target = await self._in_step(mirror, found, plan, owned)
        if target is None:
            return
        mirror.fault = None
        mirror.notes = plan.notes
        mirror.target_id = target.topic_id
        if any(found.source.topic_id):  # a broker in the middle of an upgrade may tell none: what is known stays
            mirror.source_id = found.source.topic_id
        mirror.partitions = found.source.partition_count
        if self.chosen.unknown is None:  # else what is recorded stays: others tell by it where a ring ends
            mirror.came_through = self.chosen.trail(mirror.topic)
        if mirror.begin_at_end and not mirror.begin_at_end_partitions:
            mirror.begin_at_end_partitions = mirror.partitions
        mirror.managed = dict(plan.managed)
        mirror.held_back, mirror.tells_policy = dict(plan.held_back), True
        limit = plan.managed.get(MAX_BYTES) or effective_of(found.target_config).get(MAX_BYTES)
        mirror.batch_bytes_max = int(limit) if limit else MAX_BYTES_DEFAULT

    def _may_change(self, mirror: Mirror) -> bool:
        """Return whether the target topic is still the passive side: a pass may take minutes, a switch seconds."""
        return state.is_copied_to(self._log.records, self._uid, mirror.target_topic)

    async def _in_step(self, mirror: Mirror, found: Found, plan: TopicPlan, owned: OwnedTopic | None) -> Topic | None:
        """Create the target topic, or change the one that is ours; return it once it has leaders, None if not yet."""
        target, partitions = found.target, found.source.partition_count
        if target is None:
            owned = await self._create(mirror, plan)
        elif owned is not None:
            for step in plan.steps:
                if isinstance(step, GrowTopic | SetConfigs) and self._may_change(mirror):
                    await self._topics.carry_out(owned, step)
        if owned is None or not self._may_change(mirror):
            return None  # somebody else was faster, or it was opened meanwhile: the next look tells whose it is
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
            self._outrun.add(mirror.topic)
        return made

    async def _without_doomed(self, mirror: Mirror, found: Found) -> Found:
        """Delete the target topic that an operator gave up, if it is still there; return what is found then."""
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

    # -- the record -----------------------------------------------------------------------------------------------

    async def _record(self) -> None:
        """Write what changed of the mirrors, some at a time: each is a fact of its own."""
        mirrors = list(self.mirrors.values())
        for at in range(0, len(mirrors), _RECORDED_AT_ONCE):
            changes = partial(self._changes, mirrors[at : at + _RECORDED_AT_ONCE])
            if changes(self._log.records):
                await self._log.change(self._uid, changes)
            await asyncio.sleep(0)
        if self._settled(self._log.records):
            await self._log.change(self._uid, self._settled)
        for mirror in self.mirrors.values():
            if not mirror.recorded and mirror.fault is None and mirror.partitions:
                record = state.get_mirror(self._log.records, self._uid, mirror.target_topic)
                mirror.recorded = record is not None and record.target_topic_id == mirror.target_id
        self.chosen.forget(self._mirrored() | self._others())

    def _changes(self, mirrors: Iterable[Mirror], records: Mapping[bytes, bytes]) -> list[Change]:
        changes: list[Change] = []
        owners: dict[str, str] | None = None
        for mirror in mirrors:
            if mirror.fault is not None or not mirror.partitions:
                continue
            stored = state.get_mirror(records, self._uid, mirror.target_topic)
            if stored is not None and stored.generation != mirror.generation:
                continue  # somebody begins with it anew: what is remembered here is not true any more
            if stored is not None and any(stored.target_topic_id) and stored.target_topic_id != mirror.target_id:
                continue  # another topic is recorded as ours
            if stored is None and not self._flow.both_ways:
                owners = state.foreign_owners(records, self._uid) if owners is None else owners
                if mirror.target_topic in owners:
                    continue  # another flow adopted it, or was faster; the next look says so
            record = mirror.as_record((self._uid, self._flow.name), stored)
            if stored is None or record != stored:
                changes.append(state.put(state.mirror_key(self._uid, mirror.target_topic), record))
        return changes

    def _settled(self, records: Mapping[bytes, bytes]) -> list[Change]:
        """Return the change that takes announcements back, once what they announced is recorded."""
        return self.chosen.settled(records, self._mirrored(), self._others())

    def _mirrored(self) -> set[str]:
        """Return target topics that are mirrors: none of them is still to be created."""
        return {one.target_topic for one in self.mirrors.values() if one.partitions and one.fault is None}

    def _others(self) -> set[str]:
        """Return target topics that stand there, and are no mirrors; one that waits for its leaders will be one."""
        return {
            one.target_topic
            for one in self.mirrors.values()
            if one.fault is not None and one.target_topic in self._target.topics
        }

    def record_of(self, mirror: Mirror, stored: pb.MirrorRecord | None) -> pb.MirrorRecord:
        """Return the record of a mirror to be changed: the stored one, or the first of a topic that has none yet."""
        if stored is not None:
            record = pb.MirrorRecord()
            record.CopyFrom(stored)
            return record
        return mirror.as_record((self._uid, self._flow.name), None)

    async def record_now(self) -> None:
        """Write what the runner changed on mirrors (active partitions, leader epochs)."""
        await self._record()


def _note_cleaning(mirror: Mirror, found: Found) -> None:
    """Note how the source's log is cleaned; of a mirror that stands still, too: how it may be resolved rests on it."""
    source = effective_of(found.source_config)
    policy = source.get(POLICY, "")
    mirror.surely_compacted, mirror.only_compacted = "compact" in policy, policy == "compact"
    kept_ms = source.get(DELETE_RETENTION)
    mirror.delete_retention_ms = int(kept_ms) if kept_ms else None
    # Where the setting cannot be read, a record that is gone must not be taken for lost history.
    mirror.compacted = "compact" in source.get(POLICY, "compact")


def _fault_of(error: KafkaError) -> Fault:
    """Return why a mirror stands still, with what helps: its text is all that status keeps of the error."""
    reason = Reason.WAITING_FOR_ACCESS if isinstance(error, AuthorizationFailed) else Reason.TARGET_REFUSED
    step = error.next_step or (creation_advice(error.code) if isinstance(error, BrokerRefused) else "")
    return Fault(reason, f"{error}; next: {step}" if step else str(error))


def _is_absence(code: int) -> bool:
    unknown_topic = 3
    return code == unknown_topic
