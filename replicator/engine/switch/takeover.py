"""Makes mirrors of topics that were a source until now: the flow that goes back begins in place, at exact offsets.

What such a topic holds was written by applications, not by us. It is taken over as it stands: below a place that was
proven to be the same moment in both logs nothing is compared any more, and copying goes on from there.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from replicator.core.offsets.offset_map import OffsetMap, Place
from replicator.engine.copy.live_maps import offset_block
from replicator.engine.state import records as state
from replicator.engine.work.roles import copying
from replicator.errors import Conflict
from replicator.obs.logs import get_logger
from replicator.state_pb import state_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from replicator.engine.state.log import Change, StateLog

_HOW = "take_over"

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Takeover:
    """One topic that becomes a mirror.

    Attributes:
        source_topic: Where it is copied from, on the new primary.
        target_topic: Its own name.
        source_topic_id: Id of the former, 16 bytes, zero where the cluster has none.
        target_topic_id: Its own.
        places: Per partition, the same moment in both logs: nothing behind it was written to this topic.
        known: Per partition, what stands for what below its place, as far as that is known.
        mapped: Whether offsets differ from there on, and those without a record are left out.
        anew: Whether the topic is deleted, if it still has that id, and mirrored from the beginning.
    """

    source_topic: str
    target_topic: str
    source_topic_id: bytes
    target_topic_id: bytes
    places: Mapping[int, Place]
    known: Mapping[int, OffsetMap] = field(default_factory=dict)
    mapped: bool = False
    anew: bool = False


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
    """Record that the flow copies from these places on, and may: one change, that does nothing the second time.

    A take-over of nothing changes nothing.

    Args:
        state_log: The state topic of the flow's target.
        uid: The flow that goes back.
        topics: What it takes over.
        epoch: The producer epoch it writes with; every partition refuses a lower one.
        reason: Why, for the record; the same one again is the same order again.
        actor: Who wanted it.
        alone: Whether only these topics change hands, and the rest of the flow stays as it is.
        also: What else belongs into the change.

    Raises:
        Conflict: The flow copies already, from other places.
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
                    f"flow {uid} copies to {topic.target_topic} already, and did not take it over from there",
                    next_step="replicator flow status",
                )
            changes.append(state.put(key, _record(records, uid, stored, topic, _resolution(now_ms, reason, actor))))
            changes += [(old, None) for number in topic.places for old in blocks.get((topic.target_topic, number), ())]
        if not changes:
            # Nothing is taken over, or it was: this may be late, and the flow switched again since. Either way it must
            # not copy (once more): the side it copies to may be the open one.
            return []
        changes += copying(records, uid, epoch, [topic.target_topic for topic in topics], alone=alone)
        return [*changes, *_resumed(records, uid, now_ms, reason, actor), *also(records)]

    await state_log.change(uid, decide)
    if not topics:
        log.warning("nothing to take over: the flow goes on as it was", uid=uid, why=reason, actor=actor)
        return
    log.warning("topics taken over", uid=uid, topics=[topic.target_topic for topic in topics], why=reason, actor=actor)


def _resumed(records: Mapping[bytes, bytes], uid: str, now_ms: int, reason: str, actor: str) -> list[Change]:
    """Return the change that resumes a flow that was paused before its sides changed: it is ordered to copy now."""
    flow = state.get_flow(records, uid)
    if flow.desired != pb.DESIRED_PAUSED:
        return []
    flow.desired, flow.desired_changed_ms = pb.DESIRED_ACTIVE, now_ms
    flow.desired_actor, flow.desired_reason = actor, f"it took over: {reason}"
    return [state.put(state.flow_key(uid), flow)]


def _resolution(now_ms: int, reason: str, actor: str) -> pb.Resolution:
    return pb.Resolution(at_ms=now_ms, actor=actor, why=reason, how=_HOW)


def _is_taken(stored: pb.MirrorRecord, reason: str) -> bool:
    """Return whether that was recorded by an executor that died before it could say so."""
    return any(one.how == _HOW and one.why == reason for one in stored.resolutions)


def taken_by(stored: pb.MirrorRecord) -> str | None:
    """Return the reason for which a topic was taken over last, None where it never was, or was resolved since."""
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
    record.owner_flow_uid, record.owner_flow_name = uid, state.get_flow(records, uid).name
    record.source_topic, record.target_topic = topic.source_topic, topic.target_topic
    record.resolutions.append(resolution)
    record.generation += 1
    if topic.anew:
        state.begin_anew(record, topic.target_topic_id)
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
    # What stands there was set by applications: nothing of what we set, or held back, when it was a mirror before.
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


def _below(place: Place, known: OffsetMap | None, *, mapped: bool) -> OffsetMap:
    """Return the map up to a place."""
    if known is None:
        offsets = OffsetMap(place if mapped else Place(0, place.target - place.source))
        if not mapped:
            offsets.go_straight(place)
        return offsets
    offsets = OffsetMap.of(known.begin, known.below(place))
    offsets.pass_over(place)
    return offsets
