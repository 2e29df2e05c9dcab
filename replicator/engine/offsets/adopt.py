"""Moves the record of a mirror, with its map, from the flow that owned it to another one, in a single change."""

from __future__ import annotations

from typing import TYPE_CHECKING

from replicator.core.offsets.offset_map import OffsetMap, OffsetPair
from replicator.engine.copy.partitions.live_maps import compared_from, offset_block, recorded_map
from replicator.engine.logs.ranges.walking import walk
from replicator.engine.state import records as state
from replicator.engine.state.topic.damage import read_record
from replicator.engine.state.topic.index import indexed
from replicator.errors import Conflict
from replicator.model.names import TopicPartition
from replicator.state_pb import state_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Mapping

    from replicator.core.offsets.resolution import GoOn
    from replicator.engine.logs.ranges.walking import Log
    from replicator.engine.state.topic.log import Change


class AdoptedMirror:
    """A mirror that is taken over from another flow.

    Args:
        records: The records of the state topic from which the plan was made.
        uid: The id of the flow that owns it.
        topic: The topic on the target.
    """

    def __init__(self, records: Mapping[bytes, bytes], uid: str, topic: str) -> None:
        self._records = dict(records)
        self._uid = uid
        self._topic = topic
        self._key = state.mirror_key(uid, topic)
        self._before = records.get(self._key)
        self._same_source = False
        self._walked: dict[int, OffsetMap] = {}

    def hand_over(
        self, records: Mapping[bytes, bytes], record: pb.MirrorRecord, source: tuple[str, bytes]
    ) -> list[Change]:
        """Copy what is still true of the topic into the new owner's record; return the changes that end the old one's.

        Args:
            records: The current records.
            record: The new owner's record; it is changed.
            source: Cluster id and topic id of the source that is copied from now on.

        Raises:
            Conflict: The owner changed its record meanwhile, or is no longer the owner.
        """
        if self._before is None or records.get(self._key) != self._before:
            raise Conflict(
                f"the record of mirror {self._topic} changed meanwhile",
                why="the flow that owns it is active, or somebody else was faster",
                next_step=f"look at `replicator mirror describe FLOW {self._topic}` and decide again",
            )
        old = pb.MirrorRecord.FromString(self._before)
        flow = state.stored_flow(records, self._uid)
        self._same_source = (
            flow is not None and flow.source_cluster_id == source[0] and _is_same(old.source_topic_id, source[1])
        )
        record.source_topic_id = source[1]
        record.map_generation = max(record.map_generation, old.map_generation)
        record.generation = max(record.generation, old.generation)
        for field in ("managed", "held_back"):
            getattr(record, field).update(getattr(old, field))
        if self._same_source:
            record.seeded.update(old.seeded)
            for number, given_up in old.given_up.items():
                record.given_up[number].CopyFrom(given_up)
            record.tombstones_ok_ms.update(old.tombstones_ok_ms)
            record.epochs_unproven.update(old.epochs_unproven)
        record.resolutions.extend(old.resolutions)
        record.has_dead_letter |= old.has_dead_letter
        record.dead_letter_topic_id = record.dead_letter_topic_id or old.dead_letter_topic_id
        blocks = [
            (key, None)
            for number in range(max(old.source_partitions, max(old.maps, default=-1) + 1))
            for key, _ in state.segments_of(records, self._uid, self._topic, number)
        ]
        own = state.writer_key(self._uid, self._topic)
        ended = [(self._key, None), *blocks, *([(own, None)] if own in records else [])]
        return [*ended, *self._commits(records, record.owner_flow_uid)]

    def _commits(self, records: Mapping[bytes, bytes], uid: str) -> list[Change]:
        """Return the changes that move the group commits on the target: we wrote them, whichever flow copies now."""
        changes: list[Change] = []
        for key, found, value in indexed(records).find(pb.KIND_GROUP, self._uid):
            group, theirs = found.topic, read_record(pb.GroupRecord, key, value)
            moved = [one for one in theirs.topics if one.topic == self._topic]
            if not moved:
                continue
            kept = pb.GroupRecord(topics=[one for one in theirs.topics if one.topic != self._topic])
            new_key = state.group_key(uid, group)
            ours = read_record(pb.GroupRecord, new_key, records.get(new_key, b""))
            others = [one for one in ours.topics if one.topic != self._topic]
            changes.append(state.put(key, kept) if kept.topics else (key, None))
            changes.append(state.put(new_key, pb.GroupRecord(topics=[*others, *moved])))
        return changes

    async def walk(self, number: int, source: Log, target: Log) -> None:
        """Extend the map of a mapped partition to both logs' ends, for whatever its owner had not recorded yet.

        Raises:
            KafkaError: A broker refuses.
            CorruptRecords: A log cannot be read.
        """
        found = self._map(number)
        if found is None or not found.mapped:
            return
        known = recorded_map(self._records, self._uid, TopicPartition(self._topic, number), found)
        if (await walk(known, source, target)).place is not None:
            self._walked[number] = known

    def known(self, step: GoOn) -> tuple[OffsetMap, int] | None:
        """Return the map below the place of a partition, and from where it is compared; None if nothing is known of it.

        The old map says nothing about the log of a different source.
        """
        found = self._map(step.partition)
        if not self._same_source or found is None:
            return None
        if found.mapped and step.partition not in self._walked:
            return None
        where = TopicPartition(self._topic, step.partition)
        known = self._walked.get(step.partition) or recorded_map(self._records, self._uid, where, found)
        offsets = OffsetMap.of(known.begin, known.below(step.place))
        if not found.mapped:
            offsets.go_straight(step.place)
        if step.place.source < offsets.end.source or step.place.target < offsets.end.target:
            return None
        offsets.pass_over(step.place)
        return offsets, compared_from(found)

    def _map(self, number: int) -> pb.PartitionMap | None:
        """Return the recorded map of a partition; None if it was never copied to."""
        old = pb.MirrorRecord.FromString(self._before) if self._before is not None else pb.MirrorRecord()
        if number not in old.active_partitions:
            return None
        if number in old.maps:
            return old.maps[number]
        begin = OffsetPair(0, 0)  # offsets were identical
        return pb.PartitionMap(base=offset_block(OffsetMap(begin), begin))


def _is_same(before: bytes, now: bytes) -> bool:
    """Return whether two topic ids belong to the same topic; a cluster without ids cannot tell."""
    return any(now) and before == now
