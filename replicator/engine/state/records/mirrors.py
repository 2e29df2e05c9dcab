"""Records of mirrors: who owns which topics of the target, where they were cut, and how a mirror starts over."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

from google.protobuf.message import DecodeError

from replicator.core.topics.ownership import MirrorOnSource
from replicator.engine.state.records.flows import every_flow
from replicator.engine.state.records.keys import get, key
from replicator.engine.state.records.writers import check_writers, writers_of
from replicator.engine.state.topic.damage import read_record, readable_records
from replicator.engine.state.topic.index import indexed
from replicator.state_pb import state_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


def mirror_key(uid: str, target_topic: str) -> bytes:
    """Return the key of a mirror's record."""
    return key(pb.KIND_MIRROR, uid, target_topic)


def get_mirror(records: Mapping[bytes, bytes], uid: str, target_topic: str) -> pb.MirrorRecord | None:
    """Return the record of the mirror that feeds a target topic."""
    return get(records, mirror_key(uid, target_topic), pb.MirrorRecord())


def mirrors_of(records: Mapping[bytes, bytes], uid: str) -> Iterator[pb.MirrorRecord]:
    """Return the records of all mirrors of a flow.

    Raises:
        DamagedRecord: A record cannot be read: nothing may be concluded from the others.
    """
    for raw_key, _, value in indexed(records).find(pb.KIND_MIRROR, uid):
        yield read_record(pb.MirrorRecord, raw_key, value)


def readable_mirrors_of(records: Mapping[bytes, bytes], uid: str) -> Iterator[pb.MirrorRecord]:
    """Yield the readable records; the mirrors of the others are reported and stopped, topic by topic."""
    for _, mirror in readable_records(pb.MirrorRecord, indexed(records).find(pb.KIND_MIRROR, uid)):
        yield mirror


def has_mirrors(records: Mapping[bytes, bytes], uid: str) -> bool:
    """Return whether any mirror of a flow is recorded, readable or not."""
    return next(indexed(records).find(pb.KIND_MIRROR, uid), None) is not None


def every_mirror(records: Mapping[bytes, bytes]) -> Iterator[tuple[str, pb.MirrorRecord | None]]:
    """Yield the mirrors of all flows, each with its target topic; None for a damaged record."""
    for _, found, raw in indexed(records).find(pb.KIND_MIRROR):
        try:
            yield found.topic, pb.MirrorRecord.FromString(raw)
        except DecodeError:
            yield found.topic, None


def names_its_topic(record: pb.MirrorRecord) -> bool:
    """Return whether a mirror's record says which topic of the target is ours; it does not while it starts over.

    Without an id, as on a cluster that reports none, it does once the topic was seen with its partitions.
    """
    if any(record.target_topic_id):
        return True
    begun = record.phase not in {pb.MIRROR_PHASE_UNSPECIFIED, pb.MIRROR_PHASE_PENDING}
    return begun and bool(record.source_partitions or record.active_partitions)


def start_over(record: pb.MirrorRecord, doomed: bytes) -> None:
    """Clear everything from a mirror's record but its name, its owner and the decisions about it.

    Args:
        record: The mirror's record; it is changed.
        doomed: Id of the target topic that is deleted before it is created again; empty for none.
    """
    record.doomed_topic_id = doomed
    record.source_topic_id = bytes(16)
    record.target_topic_id = bytes(16)
    record.phase = pb.MIRROR_PHASE_PENDING
    record.begin_at_end = False
    del record.active_partitions[:]
    del record.leader_epochs[:]
    for field in (
        record.managed,
        record.held_back,
        record.seeded,
        record.maps,
        record.given_up,
        record.tombstones_ok_ms,
        record.epochs_unproven,
    ):
        field.clear()


def take_lineage(record: pb.MirrorRecord, epoch: int) -> None:
    """Clear what a mirror's record says about a source that the flow no longer has, and note the lineage epoch.

    Args:
        record: The mirror's record; it is changed.
        epoch: The flow's lineage epoch.
    """
    if record.lineage_epoch != epoch:
        record.source_topic_id = bytes(16)
        del record.leader_epochs[:]
        record.epochs_unproven.clear()
        record.lineage_epoch = epoch


def foreign_owners(records: Mapping[bytes, bytes], uid: str) -> dict[str, str]:
    """Return, for each target topic that is recorded for another flow, the uid of that flow."""
    every = indexed(records).find(pb.KIND_MIRROR)
    return {found.topic: found.flow_uid for _, found, _ in every if found.flow_uid != uid}


def copied_from(
    records: Mapping[bytes, bytes], cluster_id: str, topics: Mapping[str, bytes]
) -> dict[str, MirrorOnSource]:
    """Return which of these topics of another cluster are being copied to this one, each with its mirror here.

    Args:
        records: The records of this cluster's state topic.
        cluster_id: The other cluster's id.
        topics: Topic ids of the other cluster's topics, by name.
    """
    found: dict[str, MirrorOnSource] = {}
    check_writers(records)
    named = {one.uid: one for one in every_flow(records) if one.source_cluster_id == cluster_id}
    flows = {uid: writers_of(records, uid) for uid in named}
    for raw_key, found_key, value in indexed(records).find(pb.KIND_MIRROR):
        writers = flows.get(found_key.flow_uid)
        if writers is None:
            continue
        mirror = read_record(pb.MirrorRecord, raw_key, value)
        topic_id = topics.get(mirror.source_topic)
        flow = named[found_key.flow_uid]
        # Until its first pass over a new source, a mirror still names the topic of the old one.
        meant = mirror.source_topic_id if mirror.lineage_epoch == flow.lineage_epoch else b""
        if topic_id is None or (any(topic_id) and any(meant) and topic_id != meant):
            continue  # an unknown id rules nothing out: it may be this topic
        if writers.copies(mirror.target_topic):
            found[mirror.source_topic] = MirrorOnSource(mirror.target_topic, flow.name)
    return found


def cuts_made(records: Mapping[bytes, bytes], uid: str) -> dict[str, int]:
    """Return, for each target topic of a flow, the epoch of the fence at which it was last cut."""
    return {
        found.topic: read_record(pb.CutRecord, raw_key, value).epoch
        for raw_key, found, value in indexed(records).find(pb.KIND_CUT, uid)
    }


def uuid_text(raw: bytes) -> str | None:
    """Return a topic id as text; None for the zero id of clusters without ids."""
    return str(uuid.UUID(bytes=raw)) if any(raw) else None
