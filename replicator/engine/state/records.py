"""Typed reading and writing of `replicator.state` records: the only place that knows their keys."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, TypeVar

from google.protobuf.message import DecodeError, Message

from replicator.core.copy.attach_facts import Role, Writer, Writers
from replicator.core.topics.ownership import Copied
from replicator.engine.state.damage import read_record, readable_records
from replicator.engine.state.index import indexed, parse_key
from replicator.errors import Conflict, DamagedRecord
from replicator.model.names import STATE_TOPIC
from replicator.state_pb import state_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from replicator.engine.state.log import Change

M = TypeVar("M", bound=Message)
_RENEWAL = "renewal"
_PRESENCE = "presence/"

_ROLES = {
    pb.WRITER_ROLE_COPYING: Role.COPYING,
    pb.WRITER_ROLE_FENCING: Role.FENCING,
    pb.WRITER_ROLE_PROMOTED: Role.PROMOTED,
}


_RECORDED_ROLES = {role: recorded for recorded, role in _ROLES.items()}


def key(kind: pb.Kind, flow_uid: str, topic: str = "", partition: int = 0, block: int = 0) -> bytes:
    """Return the key of a record."""
    made = pb.StateKey(kind=kind, flow_uid=flow_uid, topic=topic, partition=partition, block=block)
    return made.SerializeToString(deterministic=True)


def _get(records: Mapping[bytes, bytes], record_key: bytes, record: M) -> M | None:
    raw = records.get(record_key)
    return None if raw is None else read_record(type(record), record_key, raw)


def put(record_key: bytes, record: Message) -> Change:
    """Return the change that stores a record."""
    return record_key, record.SerializeToString(deterministic=True)


def find_flow(
    records: Mapping[bytes, bytes], name: str, source_cluster_id: str | None, target_cluster_id: str | None
) -> pb.FlowRecord | None:
    """Return the flow of that name between these clusters: all three make a flow, and an unknown id is that of none."""
    for flow in flows_named(records, name):
        if (flow.source_cluster_id, flow.target_cluster_id) == (source_cluster_id, target_cluster_id):
            return flow
    for raw_key, _, raw in indexed(records).find(pb.KIND_FLOW):
        # It may be this one's: under another identity it would be copied a second time.
        read_record(pb.FlowRecord, raw_key, raw)
    return None


def flows_named(records: Mapping[bytes, bytes], name: str) -> list[pb.FlowRecord]:
    """Return the flows of that name, whatever clusters they go between: to tell of them, never to pick one."""
    found = readable_records(pb.FlowRecord, indexed(records).find(pb.KIND_FLOW))
    return [flow for _, flow in found if flow.name == name]


def every_flow(records: Mapping[bytes, bytes]) -> Iterator[pb.FlowRecord]:
    """Return all flows that are recorded.

    Raises:
        DamagedRecord: One of them cannot be read: nothing may be concluded from the others.
    """
    for raw_key, _, value in indexed(records).find(pb.KIND_FLOW):
        yield read_record(pb.FlowRecord, raw_key, value)


def flows_of(records: Mapping[bytes, bytes]) -> list[pb.FlowRecord]:
    """Return every flow that is recorded here; raises as `every_flow`."""
    return list(every_flow(records))


def flow_key(uid: str) -> bytes:
    """Return the key of a flow's record."""
    return key(pb.KIND_FLOW, uid)


def get_flow(records: Mapping[bytes, bytes], uid: str) -> pb.FlowRecord:
    """Return a flow's record.

    Raises:
        Conflict: Somebody has removed it meanwhile.
    """
    flow = stored_flow(records, uid)
    if flow is None:
        raise _removed("record", uid)
    return flow


def _removed(what: str, uid: str) -> Conflict:
    return Conflict(
        f"the {what} of flow {uid} was removed from {STATE_TOPIC}",
        why="by `replicator flow damaged --clear`, `replicator flow forget`, or by hand",
        next_step="a flow of that name begins as a new one: replicator flow status",
    )


def stored_flow(records: Mapping[bytes, bytes], uid: str) -> pb.FlowRecord | None:
    """Return a flow's record, None where it was removed."""
    return _get(records, flow_key(uid), pb.FlowRecord())


def writer_key(uid: str, target_topic: str = "") -> bytes:
    """Return the key of the writer's record; with a topic, that of a mirror's own role."""
    return key(pb.KIND_WRITER, uid, target_topic)


def own_writers(records: Mapping[bytes, bytes], uid: str) -> dict[str, pb.WriterRecord]:
    """Return what mirrors that were switched alone have of their own, by target topic."""
    own: dict[str, pb.WriterRecord] = {}
    for _, found, value in indexed(records).find(pb.KIND_WRITER, uid):
        if found.topic:
            try:
                own[found.topic] = pb.WriterRecord.FromString(value)
            except DecodeError:  # nothing may be copied under what it says
                own[found.topic] = pb.WriterRecord(role=pb.WRITER_ROLE_PROMOTED)
    return own


def get_writer_record(records: Mapping[bytes, bytes], uid: str) -> pb.WriterRecord:
    """Return the flow's identity on the target as it is recorded, to be changed.

    Raises:
        Conflict: Somebody has removed it meanwhile: it is minted with the flow.
    """
    record = _get(records, writer_key(uid), pb.WriterRecord())
    if record is None:
        raise _removed("writer's record", uid)
    return record


def get_writer(records: Mapping[bytes, bytes], uid: str) -> Writer | None:
    """Return the flow's identity on the target."""
    record = _get(records, writer_key(uid), pb.WriterRecord())
    if record is None:
        return None
    return Writer(
        producer_id=record.producer_id,
        producer_epoch=record.epoch,
        # A role of a newer version is one we must not copy under.
        role=_ROLES.get(record.role, Role.PROMOTED),
        filler_id=record.filler_producer_id,
        filler_epoch=record.filler_epoch,
        fill_id=record.fill_producer_id,
    )


def is_copied_to(records: Mapping[bytes, bytes], uid: str, target_topic: str) -> bool:
    """Return whether the flow copies to this topic now, from two records alone; also before the flow is minted."""
    writers = writers_to(records, uid, target_topic)
    return writers is None or writers.copies(target_topic)


def writers_to(records: Mapping[bytes, bytes], uid: str, target_topic: str) -> Writers | None:
    """Return who may write to this topic for a flow, from two records alone; None before the flow is minted."""
    flow = get_writer(records, uid)
    if flow is None:
        return None
    own = _get(records, writer_key(uid, target_topic), pb.WriterRecord())
    if own is None:
        return Writers(flow)
    role = _ROLES.get(own.role, Role.PROMOTED) if own.role else None
    return Writers(flow, {target_topic: flow.for_mirror(role, own.epoch)})


def writers_of(records: Mapping[bytes, bytes], uid: str) -> Writers | None:
    """Return who may write to each mirror of the flow; None before the flow is minted."""
    flow = get_writer(records, uid)
    if flow is None:
        return None
    return Writers(
        flow,
        {
            topic: flow.for_mirror(_ROLES.get(own.role, Role.PROMOTED) if own.role else None, own.epoch)
            for topic, own in own_writers(records, uid).items()
        },
    )


def standing_role(records: Mapping[bytes, bytes], uid: str) -> Role | None:
    """Return which role lets a flow stand by; None where it copies, a mirror of it does, or it is not minted yet.

    The records are searched for mirrors' own roles only where the flow does not copy: this is asked for each group.
    """
    flow = get_writer(records, uid)
    if flow is None or flow.role is Role.COPYING:
        return None
    writers = writers_of(records, uid)
    return None if writers is None or writers.any_copies else flow.role


def writer_record(writer: Writer) -> pb.WriterRecord:
    """Return the record of a writer."""
    return pb.WriterRecord(
        producer_id=writer.producer_id,
        epoch=writer.producer_epoch,
        role=_RECORDED_ROLES[writer.role],
        filler_producer_id=writer.filler_id,
        filler_epoch=writer.filler_epoch,
        fill_producer_id=writer.fill_id,
    )


def claim_key(uid: str, shard: int) -> bytes:
    """Return the key of a shard's claim."""
    return key(pb.KIND_CLAIM, uid, partition=shard)


def renewal_key(uid: str, shard: int) -> bytes:
    """Return the key of the claim holder's signs of life."""
    return key(pb.KIND_CLAIM, uid, _RENEWAL, shard)


def presence_key(uid: str, instance: str, shard: int) -> bytes:
    """Return the key under which a daemon says that it works on a shard of this flow."""
    return key(pb.KIND_CLAIM, uid, _PRESENCE + instance, shard)


def presence_of(raw: bytes, uid: str) -> tuple[str, int] | None:
    """Return the daemon and the shard whose presence this key is about, None for any other key."""
    parsed = parse_key(raw)
    if parsed is None or parsed.kind != pb.KIND_CLAIM or parsed.flow_uid != uid:
        return None
    if not parsed.topic.startswith(_PRESENCE):
        return None
    return parsed.topic.removeprefix(_PRESENCE), parsed.partition


def claim_record(parsed: pb.StateKey) -> type[Message]:
    """Return which record stands under a key of the kind of claims."""
    return pb.RenewalRecord if parsed.topic else pb.ClaimRecord


def signs_of(records: Mapping[bytes, bytes], uid: str) -> dict[bytes, bytes]:
    """Return what shows that daemons of a flow may be at work: claims that are held, their renewals, presences."""
    return {
        raw_key: value
        for raw_key, parsed, value in indexed(records).find(pb.KIND_CLAIM, uid)
        if not _is_given_back(records, uid, parsed, value)
    }


def _is_given_back(records: Mapping[bytes, bytes], uid: str, parsed: pb.StateKey, value: bytes) -> bool:
    """Return whether a sign is of a claim that was given back; one that cannot be read shows that somebody is there."""
    try:
        if not parsed.topic:
            return pb.ClaimRecord.FromString(value).released
        claim = get_claim(records, uid, parsed.partition) if parsed.topic == _RENEWAL else None
    except (DecodeError, DamagedRecord):
        return False
    return claim is not None and claim.released


def shards_of(flow: pb.FlowRecord) -> int:
    """Return how many shards the daemons of a flow have agreed on."""
    return flow.shards or 1


def get_claim(records: Mapping[bytes, bytes], uid: str, shard: int) -> pb.ClaimRecord | None:
    """Return a shard's claim."""
    return _get(records, claim_key(uid, shard), pb.ClaimRecord())


def get_renewal(records: Mapping[bytes, bytes], uid: str, shard: int) -> pb.RenewalRecord | None:
    """Return the last sign of life of a shard's claim."""
    return _get(records, renewal_key(uid, shard), pb.RenewalRecord())


def mirror_key(uid: str, target_topic: str) -> bytes:
    """Return the key of a mirror's record."""
    return key(pb.KIND_MIRROR, uid, target_topic)


def get_mirror(records: Mapping[bytes, bytes], uid: str, target_topic: str) -> pb.MirrorRecord | None:
    """Return the record of the mirror that feeds a target topic."""
    return _get(records, mirror_key(uid, target_topic), pb.MirrorRecord())


def mirrors_of(records: Mapping[bytes, bytes], uid: str) -> Iterator[pb.MirrorRecord]:
    """Return the records of all mirrors of a flow.

    Raises:
        DamagedRecord: One of them cannot be read: nothing may be concluded from the others.
    """
    for raw_key, _, value in indexed(records).find(pb.KIND_MIRROR, uid):
        yield read_record(pb.MirrorRecord, raw_key, value)


def readable_mirrors_of(records: Mapping[bytes, bytes], uid: str) -> Iterator[pb.MirrorRecord]:
    """Return those that can be read: the others are told, and stand still, topic by topic."""
    for _, mirror in readable_records(pb.MirrorRecord, indexed(records).find(pb.KIND_MIRROR, uid)):
        yield mirror


def has_mirrors(records: Mapping[bytes, bytes], uid: str) -> bool:
    """Return whether any mirror of a flow is recorded, readable or not."""
    return next(indexed(records).find(pb.KIND_MIRROR, uid), None) is not None


def check_writers(records: Mapping[bytes, bytes]) -> None:
    """Return if every writer's record can be read: one that cannot counts as one that does not copy.

    Raises:
        DamagedRecord: One cannot.
    """
    for raw_key, _, value in indexed(records).find(pb.KIND_WRITER):
        read_record(pb.WriterRecord, raw_key, value)


def every_mirror(records: Mapping[bytes, bytes]) -> Iterator[tuple[str, pb.MirrorRecord | None]]:
    """Return the mirrors of all flows, each with its target topic; None for a record that is damaged."""
    for _, found, raw in indexed(records).find(pb.KIND_MIRROR):
        try:
            yield found.topic, pb.MirrorRecord.FromString(raw)
        except DecodeError:
            yield found.topic, None


def names_its_topic(record: pb.MirrorRecord) -> bool:
    """Return whether a mirror's record says which topic of the target is ours: not while it begins anew.

    Without an id, as of a cluster that tells none, it does once the topic was seen with its partitions.
    """
    if any(record.target_topic_id):
        return True
    begun = record.phase not in {pb.MIRROR_PHASE_UNSPECIFIED, pb.MIRROR_PHASE_PENDING}
    return begun and bool(record.source_partitions or record.active_partitions)


def cuts_made(records: Mapping[bytes, bytes], uid: str) -> dict[str, int]:
    """Return the epoch of the fence at which each target topic of a flow was cut last."""
    return {
        found.topic: read_record(pb.CutRecord, raw_key, value).epoch
        for raw_key, found, value in indexed(records).find(pb.KIND_CUT, uid)
    }


def making_key(uid: str) -> bytes:
    """Return the key of the target topics that a flow is about to create."""
    return key(pb.KIND_MAKING, uid)


def get_making(records: Mapping[bytes, bytes], uid: str) -> bytes:
    """Return the target topics that a flow is about to create, as digests in a row (`engine.state.provenance`)."""
    record = _get(records, making_key(uid), pb.MakingRecord())
    return record.topics if record is not None else b""


def start_key(uid: str) -> bytes:
    """Return the key of what was there at a flow's first start."""
    return key(pb.KIND_START, uid)


def get_start(records: Mapping[bytes, bytes], uid: str) -> bytes | None:
    """Return the source topics that were there at a flow's first start, as digests in a row; None before it."""
    record = _get(records, start_key(uid), pb.StartRecord())
    return record.topics if record is not None else None


def source_end_key(uid: str, shard: int) -> bytes:
    """Return the key of the source's ends as the holder of a shard saw them."""
    return key(pb.KIND_SOURCE_END, uid, partition=shard)


def source_end_block(records: Mapping[bytes, bytes], record_key: bytes) -> pb.SourceEndBlock:
    """Return the source's ends under a key: none where nothing is recorded, or what is cannot be read.

    They are recorded anew every few seconds, and what is not known of an end is shown as unknown.
    """
    try:
        return _get(records, record_key, pb.SourceEndBlock()) or pb.SourceEndBlock()
    except DamagedRecord:
        return pb.SourceEndBlock()


def segment_key(uid: str, target_topic: str, partition: int, block: int) -> bytes:
    """Return the key of a block of an offset map."""
    return key(pb.KIND_SEGMENT, uid, target_topic, partition, block)


def segments_of(
    records: Mapping[bytes, bytes], uid: str, target_topic: str, partition: int
) -> Iterator[tuple[bytes, pb.SegmentBlock]]:
    """Return the blocks of a partition's offset map, each with its key."""
    # A block that cannot be read leaves a stretch that both logs are asked for, as if it had not been written yet.
    yield from readable_records(pb.SegmentBlock, indexed(records).find(pb.KIND_SEGMENT, uid, target_topic, partition))


def segment_keys(records: Mapping[bytes, bytes], uid: str) -> dict[tuple[str, int], list[bytes]]:
    """Return the keys of all blocks of a flow's offset maps, by target topic and partition: in one pass."""
    found: dict[tuple[str, int], list[bytes]] = {}
    for raw_key, parsed, _ in indexed(records).find(pb.KIND_SEGMENT, uid):
        found.setdefault((parsed.topic, parsed.partition), []).append(raw_key)
    return found


def begin_anew(record: pb.MirrorRecord, doomed: bytes) -> None:
    """Leave nothing of a mirror but its name, its owner and what was decided about it.

    Args:
        record: The mirror's, to be changed.
        doomed: Id of the target topic that is deleted before it is made anew; empty for none.
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


def group_key(uid: str, group: str) -> bytes:
    """Return the key of what was committed for a consumer group."""
    return key(pb.KIND_GROUP, uid, group)


def group_of(raw: bytes, uid: str) -> str | None:
    """Return the consumer group of this flow that this key is about, None for any other key."""
    parsed = parse_key(raw)
    if parsed is None or parsed.kind != pb.KIND_GROUP or parsed.flow_uid != uid:
        return None
    return parsed.topic


def foreign_owners(records: Mapping[bytes, bytes], uid: str) -> dict[str, str]:
    """Return the uid of another flow that it is recorded for, for each target topic of which that is so."""
    every = indexed(records).find(pb.KIND_MIRROR)
    return {found.topic: found.flow_uid for _, found, _ in every if found.flow_uid != uid}


def copied_from(records: Mapping[bytes, bytes], cluster_id: str, topics: Mapping[str, bytes]) -> dict[str, Copied]:
    """Return which of these topics of another cluster are copied to this one now, each with its mirror here.

    Args:
        records: Of this cluster's state topic.
        cluster_id: The other cluster's.
        topics: Topic ids of the other cluster's topics, by name.
    """
    found: dict[str, Copied] = {}
    check_writers(records)
    names = {one.uid: one.name for one in every_flow(records) if one.source_cluster_id == cluster_id}
    flows = {uid: writers_of(records, uid) for uid in names}
    for raw_key, key, value in indexed(records).find(pb.KIND_MIRROR):
        writers = flows.get(key.flow_uid)
        if writers is None:
            continue
        mirror = read_record(pb.MirrorRecord, raw_key, value)
        topic_id = topics.get(mirror.source_topic)
        meant = mirror.source_topic_id
        if topic_id is None or (any(topic_id) and any(meant) and topic_id != meant):
            continue  # an id that is not known denies nothing: it may be this topic
        if writers.copies(mirror.target_topic):
            found[mirror.source_topic] = Copied(mirror.target_topic, names[key.flow_uid])
    return found


def producer_ids(records: Mapping[bytes, bytes]) -> set[int]:
    """Return under which producer ids flows write to this cluster."""
    found: set[int] = set()
    for raw_key, _, value in indexed(records).find(pb.KIND_WRITER):
        record = read_record(pb.WriterRecord, raw_key, value)
        found |= {record.producer_id} if record.HasField("producer_id") else set()
        found |= {record.filler_producer_id} if record.HasField("filler_producer_id") else set()
    return found


def uuid_text(raw: bytes) -> str | None:
    """Return a topic id as text, None for the zero id of clusters without them."""
    return str(uuid.UUID(bytes=raw)) if any(raw) else None
