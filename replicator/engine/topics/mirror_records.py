"""The records of mirrors: read for mirrors that a daemon does not know yet, and written after each pass."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

from replicator.engine.state import records as state
from replicator.engine.topics.mirror import Mirror, fault_of
from replicator.errors import DamagedRecord
from replicator.obs.logs import get_logger
from replicator.state_pb import state_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from replicator.engine.state.topic.log import Change, StateLog
    from replicator.engine.topics.chosen import ChosenTopics
    from replicator.model.spec import FlowSpec
    from replicator.wire.cluster import Cluster

_RECORDED_AT_ONCE = 100
"""Mirrors in one compare-and-set: its decision blocks the event loop."""

log = get_logger(__name__)


class MirrorRecords:
    """The records of the mirrors of one flow.

    Args:
        flow: The flow's policy.
        uid: The flow's id.
        target: The cluster with the mirrors.
        state_log: Its state topic.
        chosen: Which topics are copied, and what was announced.
        mirrors: The daemon's mirrors by source topic name; shared with `TopicSync`.
    """

    def __init__(
        self,
        flow: FlowSpec,
        uid: str,
        target: Cluster,
        state_log: StateLog,
        chosen: ChosenTopics,
        mirrors: dict[str, Mirror],
    ) -> None:
        self._flow = flow
        self._uid = uid
        self._target = target
        self._log = state_log
        self._chosen = chosen
        self._mirrors = mirrors

    def mirror(self, name: str, target_name: str) -> Mirror:
        """Return the mirror of a source topic with its target topic, from its record if there is one."""
        lineage = state.lineage_epoch_of(self._log.records, self._uid)
        mirror = Mirror(name, target_name, begin_at_end=self._chosen.begins_at_end(name), lineage=lineage)
        record = state.get_mirror(self._log.records, self._uid, target_name)
        if record is not None and record.source_topic == name:
            mirror.take(record)
            mirror.recorded = state.names_its_topic(record)
        return mirror

    def readable(self, names: Iterable[str], targets: Mapping[str, str]) -> list[str]:
        """Return the topics whose mirror's record is readable or missing; the mirrors of the others are stopped."""
        readable = []
        for name in names:
            try:
                state.get_mirror(self._log.records, self._uid, targets[name])
            except DamagedRecord as error:
                fault = fault_of(error)
                mirror = self._mirrors.setdefault(name, Mirror(name, targets[name]))
                if mirror.fault != fault:
                    log.warning("topic stopped", topic=name, reason=fault.reason, why=str(error), next=error.next_step)
                mirror.fault = fault
            else:
                readable.append(name)
        return readable

    def of(self, mirror: Mirror, stored: pb.MirrorRecord | None) -> pb.MirrorRecord:
        """Return a mirror's record to be changed: a copy of the stored one, or the first one if there is none yet."""
        if stored is not None:
            record = pb.MirrorRecord()
            record.CopyFrom(stored)
            return record
        return mirror.as_record((self._uid, self._flow.name), None)

    async def write(self) -> None:
        """Write the mirrors that changed, a limited number at a time: each record is a fact of its own.

        Raises:
            KafkaError: The state topic could not be read, or changed.
        """
        mirrors = list(self._mirrors.values())
        for at in range(0, len(mirrors), _RECORDED_AT_ONCE):
            changes = partial(self._changes, mirrors[at : at + _RECORDED_AT_ONCE])
            if changes(self._log.records):
                await self._log.change(self._uid, changes)
            await asyncio.sleep(0)
        if self._settled(self._log.records):
            await self._log.change(self._uid, self._settled)
        for mirror in self._mirrors.values():
            if not mirror.recorded and mirror.fault is None and mirror.partitions:
                record = state.get_mirror(self._log.records, self._uid, mirror.target_topic)
                mirror.recorded = record is not None and record.target_topic_id == mirror.target_id
        self._chosen.forget(self._mirrored() | self._others())

    def _changes(self, mirrors: Iterable[Mirror], records: Mapping[bytes, bytes]) -> list[Change]:
        changes: list[Change] = []
        owners: dict[str, str] | None = None
        for mirror in mirrors:
            if mirror.fault is not None or not mirror.partitions:
                continue
            stored = state.get_mirror(records, self._uid, mirror.target_topic)
            if stored is not None and stored.generation != mirror.generation:
                continue  # the mirror is being started over: what is remembered here is outdated
            if stored is not None and any(stored.target_topic_id) and stored.target_topic_id != mirror.target_id:
                continue  # another topic is recorded as ours
            if stored is not None and stored.lineage_epoch > mirror.lineage:
                continue  # the flow has another source by now: this daemon is about to find out
            if stored is None and not self._flow.both_ways:
                owners = state.foreign_owners(records, self._uid) if owners is None else owners
                if mirror.target_topic in owners:
                    continue  # another flow adopted it, or was faster; the next look says so
            record = mirror.as_record((self._uid, self._flow.name), stored)
            if stored is None or record != stored:
                changes.append(state.put(state.mirror_key(self._uid, mirror.target_topic), record))
        return changes

    def _settled(self, records: Mapping[bytes, bytes]) -> list[Change]:
        """Return the change that withdraws announcements, once the mirrors they announced are recorded."""
        return self._chosen.settled(records, self._mirrored(), self._others())

    def _mirrored(self) -> set[str]:
        """Return the target topics that are mirrors: none of them is still to be created."""
        return {one.target_topic for one in self._mirrors.values() if one.partitions and one.fault is None}

    def _others(self) -> set[str]:
        """Return the target topics that exist and are not mirrors; one that waits for its leaders will become one."""
        return {
            one.target_topic
            for one in self._mirrors.values()
            if one.fault is not None and one.target_topic in self._target.topics
        }
