"""Turns topics that were a source until now into mirrors: the reverse flow begins in place, at exact offsets.

Applications, not we, wrote what such a topic holds. It is taken over as it is: nothing is compared below a position
that was proven to be the same moment in both logs, and copying goes on from there.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from replicator.core.offsets.offset_map import OffsetMap, OffsetPair
from replicator.engine.copy.partitions.live_maps import offset_block
from replicator.engine.state import records as state
from replicator.engine.work.roles import copying
from replicator.errors import Conflict
from replicator.obs.logs import get_logger
from replicator.state_pb import state_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from replicator.engine.state.topic.log import Change, StateLog

_HOW = "take_over"

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Takeover:
    """One topic that becomes a mirror.

    Attributes:
        source_topic: The topic it is copied from, on the new primary.
        target_topic: Its own name.
        source_topic_id: Id of `source_topic`, 16 bytes, zero if the cluster has none.
        target_topic_id: Id of `target_topic`.
        places: Per partition, the same moment in both logs: nothing was written to this topic after it.
        known: Per partition, the offset map below its place, as far as known.
        mapped: Whether offsets differ from there on, and those without a record are left out.
        recreate: Whether to delete the topic, if it still has that id, and mirror it from the beginning.
    """

    source_topic: str
    target_topic: str
    source_topic_id: bytes
    target_topic_id: bytes
    places: Mapping[int, OffsetPair]
    known: Mapping[int, OffsetMap] = field(default_factory=dict)
    mapped: bool = False
    recreate: bool = False


async def take_over(
    state_log: StateLog,
    uid: str,
    topics: Sequence[Takeover],
    *,
    epoch: int,
    reason: str,
    actor: str,
    alone: bool = False,
    also: Callable[[Mapping[bytes, bytes]], list[Change]] = lambda _: [],
) -> None:
    """Record that the flow copies from these places on, and is allowed to, in one idempotent change.

    A takeover of nothing changes nothing.

    Args:
        state_log: The state topic of the flow's target.
        uid: The reverse flow.
        topics: What it takes over.
        epoch: The producer epoch it writes with; every partition refuses a lower one.
        reason: Why, for the record; the same reason again is the same order.
        actor: Who ordered it.
        alone: Whether only these topics change hands, and the rest of the flow stays as it is.
        also: What else is part of the change.

    Raises:
        Conflict: The flow already copies, from other places.
        KafkaError: The state topic cannot be changed.
    """
    now_ms = time.time_ns() // 1_000_000

    def decide(records: Mapping[bytes, bytes]) -> list[Change]:
        changes: list[Change] = []
        writers = state.writers_of(records, uid)
        blocks = state.segment_keys(records, uid)  # one pass: there may be thousands of partitions
        for topic in topics:
            key = state.mirror_key(uid, topic.target_topic)
            stored = state.get_mirror(records, uid, topic.target_topic)
            if stored is not None and _is_taken(stored, reason):
                continue
            if writers is not None and writers.copies(topic.target_topic):
                raise Conflict(
                    f"flow {uid} already copies to {topic.target_topic}, and did not take it over for this switch",
                    next_step="replicator flow status",
                )
            changes.append(state.put(key, _record(records, uid, stored, topic, _resolution(now_ms, reason, actor))))
            changes += [(old, None) for number in topic.places for old in blocks.get((topic.target_topic, number), ())]
        if not changes:
            # There is nothing to take over, or it was done: this may be late, and the flow switched again since. Either
            # way it must not start copying: the side it copies to may be the open one.
            return []
        changes += copying(records, uid, epoch, [topic.target_topic for topic in topics], alone=alone)
        return [*changes, *_resumed(records, uid, now_ms, reason, actor), *also(records)]

    await state_log.change(uid, decide)
    if not topics:
        log.warning("nothing to take over, the flow goes on as it was", uid=uid, why=reason, actor=actor)
        return
    log.warning("topics taken over", uid=uid, topics=[topic.target_topic for topic in topics], why=reason, actor=actor)


def _resumed(records: Mapping[bytes, bytes], uid: str, now_ms: int, reason: str, actor: str) -> list[Change]:
    """Return the change that resumes a flow that was paused before the switch: it is to copy now."""
    flow = state.get_flow(records, uid)
    if flow.desired != pb.DESIRED_PAUSED:
        return []
    flow.desired, flow.desired_changed_ms = pb.DESIRED_ACTIVE, now_ms
    flow.desired_actor, flow.desired_reason = actor, f"it took over: {reason}"
    return [state.put(state.flow_key(uid), flow)]


def _resolution(now_ms: int, reason: str, actor: str) -> pb.Resolution:
    return pb.Resolution(at_ms=now_ms, actor=actor, why=reason, how=_HOW)


def _is_taken(stored: pb.MirrorRecord, reason: str) -> bool:
    """Return whether it was already recorded, for example by an executor that died before it could report it."""
    return any(one.how == _HOW and one.why == reason for one in stored.resolutions)


def taken_by(stored: pb.MirrorRecord) -> str | None:
    """Return the reason of a topic's last takeover, None if it never was taken over, or was resolved since."""
    last = stored.resolutions[-1] if stored.resolutions else None
    return last.why if last is not None and last.how == _HOW else None


def _record(
    records: Mapping[bytes, bytes],
    uid: str,
    stored: pb.MirrorRecord | None,
    topic: Takeover,
    resolution: pb.Resolution,
) -> pb.MirrorRecord:
    """Return the record of a mirror that begins at its places, whatever it was before."""
    record = pb.MirrorRecord()
    if stored is not None:
        record.CopyFrom(stored)
    flow = state.get_flow(records, uid)
    record.owner_flow_uid, record.owner_flow_name, record.lineage_epoch = uid, flow.name, flow.lineage_epoch
    record.source_topic, record.target_topic = topic.source_topic, topic.target_topic
    record.resolutions.append(resolution)
    record.generation += 1
    if topic.recreate:
        state.start_over(record, topic.target_topic_id)
        record.mode = "identical"
        return record
    record.source_topic_id, record.target_topic_id = topic.source_topic_id, topic.target_topic_id
    record.phase = pb.MIRROR_PHASE_ACTIVE
    record.mode = "mapped" if topic.mapped else "identical"
    record.source_partitions = len(topic.places)
    record.begin_at_end = False
    record.doomed_topic_id = b""
    del record.active_partitions[:]
    record.active_partitions.extend(sorted(topic.places))
    del record.leader_epochs[:]
    # Its settings are the applications': none of those that we set or held back when it was a mirror before.
    decided_before = (record.given_up, record.tombstones_ok_ms, record.epochs_unproven)
    for field_of_before in (record.managed, record.held_back, record.seeded, record.maps, *decided_before):
        field_of_before.clear()
    for number, place in topic.places.items():
        record.map_generation += 1
        offsets = _below(place, topic.known.get(number), mapped=topic.mapped)
        record.maps[number].CopyFrom(
            pb.PartitionMap(
                generation=record.map_generation,
                mapped=topic.mapped,
                base=offset_block(offsets, place),
                judged_from=place.target,
            )
        )
    return record


def _below(place: OffsetPair, known: OffsetMap | None, *, mapped: bool) -> OffsetMap:
    """Return the map up to a place."""
    if known is None:
        offsets = OffsetMap(place if mapped else OffsetPair(0, place.target - place.source))
        if not mapped:
            offsets.go_straight(place)
        return offsets
    offsets = OffsetMap.of(known.begin, known.below(place))
    offsets.pass_over(place)
    return offsets
