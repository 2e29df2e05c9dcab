"""Records of writers: the producer ids and the role under which a flow writes, and mirrors with a role of their own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from google.protobuf.message import DecodeError

from replicator.core.copy.attaching.facts import Role, Writer, Writers
from replicator.engine.state.records.flows import removed
from replicator.engine.state.records.keys import get, key
from replicator.engine.state.topic.damage import read_record
from replicator.engine.state.topic.index import indexed
from replicator.state_pb import state_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Mapping

_ROLES = {
    pb.WRITER_ROLE_COPYING: Role.COPYING,
    pb.WRITER_ROLE_FENCING: Role.FENCING,
    pb.WRITER_ROLE_PROMOTED: Role.PROMOTED,
}
_RECORDED_ROLES = {role: recorded for recorded, role in _ROLES.items()}


def writer_key(uid: str, target_topic: str = "") -> bytes:
    """Return the key of the writer's record; with a topic, the key of a mirror's own role."""
    return key(pb.KIND_WRITER, uid, target_topic)


def own_writers(records: Mapping[bytes, bytes], uid: str) -> dict[str, pb.WriterRecord]:
    """Return the own records of mirrors that were switched singly, by target topic."""
    own: dict[str, pb.WriterRecord] = {}
    for _, found, value in indexed(records).find(pb.KIND_WRITER, uid):
        if found.topic:
            try:
                own[found.topic] = pb.WriterRecord.FromString(value)
            except DecodeError:  # an unreadable role must not copy
                own[found.topic] = pb.WriterRecord(role=pb.WRITER_ROLE_PROMOTED)
    return own


def get_writer_record(records: Mapping[bytes, bytes], uid: str) -> pb.WriterRecord:
    """Return the record of the flow's identity on the target, to be changed.

    Raises:
        Conflict: Somebody has removed it meanwhile: it was created together with the flow.
    """
    record = get(records, writer_key(uid), pb.WriterRecord())
    if record is None:
        raise removed("writer's record", uid)
    return record


def get_writer(records: Mapping[bytes, bytes], uid: str) -> Writer | None:
    """Return the flow's identity on the target."""
    record = get(records, writer_key(uid), pb.WriterRecord())
    if record is None:
        return None
    return Writer(
        producer_id=record.producer_id,
        producer_epoch=record.epoch,
        # We must not copy under a role that only a newer version knows.
        role=_ROLES.get(record.role, Role.PROMOTED),
        filler_id=record.filler_producer_id,
        filler_epoch=record.filler_epoch,
        fill_id=record.fill_producer_id,
        continues_from=_continues_from(record),
    )


def _continues_from(record: pb.WriterRecord) -> int | None:
    return record.continues_from if record.HasField("continues_from") else None


def _own(flow: Writer, own: pb.WriterRecord) -> Writer:
    """Return the identity for a mirror with a record of its own."""
    role = _ROLES.get(own.role, Role.PROMOTED) if own.role else None
    return flow.for_mirror(role, own.epoch, _continues_from(own))


def is_copied_to(records: Mapping[bytes, bytes], uid: str, target_topic: str) -> bool:
    """Return whether the flow copies to this topic now, reading two records only; also true before it is minted."""
    writers = writers_to(records, uid, target_topic)
    return writers is None or writers.copies(target_topic)


def writers_to(records: Mapping[bytes, bytes], uid: str, target_topic: str) -> Writers | None:
    """Return who may write to this topic for a flow, reading two records only; None before the flow is minted."""
    flow = get_writer(records, uid)
    if flow is None:
        return None
    own = get(records, writer_key(uid, target_topic), pb.WriterRecord())
    if own is None:
        return Writers(flow)
    return Writers(flow, {target_topic: _own(flow, own)})


def writers_of(records: Mapping[bytes, bytes], uid: str) -> Writers | None:
    """Return who may write to each mirror of the flow; None before the flow is minted."""
    flow = get_writer(records, uid)
    if flow is None:
        return None
    return Writers(
        flow,
        {topic: _own(flow, own) for topic, own in own_writers(records, uid).items()},
    )


def standing_role(records: Mapping[bytes, bytes], uid: str) -> Role | None:
    """Return the role in which a flow stands by; None if it or one of its mirrors copies, or it is not minted yet.

    The records are searched for mirrors' own roles only if the flow does not copy: this is called for each group.
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


def check_writers(records: Mapping[bytes, bytes]) -> None:
    """Return if every writer's record is readable: an unreadable one would count as one that does not copy.

    Raises:
        DamagedRecord: A record is unreadable.
    """
    for raw_key, _, value in indexed(records).find(pb.KIND_WRITER):
        read_record(pb.WriterRecord, raw_key, value)


def producer_ids(records: Mapping[bytes, bytes]) -> set[int]:
    """Return the producer ids under which flows write to this cluster."""
    found: set[int] = set()
    for raw_key, _, value in indexed(records).find(pb.KIND_WRITER):
        record = read_record(pb.WriterRecord, raw_key, value)
        found |= {record.producer_id} if record.HasField("producer_id") else set()
        found |= {record.filler_producer_id} if record.HasField("filler_producer_id") else set()
    return found
