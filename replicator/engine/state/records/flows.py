"""Records of flows: which exist, between which clusters, and what each noted before its first mirror."""

from __future__ import annotations

from typing import TYPE_CHECKING

from replicator.engine.state.records.keys import get, key
from replicator.engine.state.topic.damage import read_record, readable_records
from replicator.engine.state.topic.index import indexed
from replicator.errors import Conflict
from replicator.model.names import STATE_TOPIC
from replicator.state_pb import state_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


def find_flow(
    records: Mapping[bytes, bytes], name: str, source_cluster_id: str | None, target_cluster_id: str | None
) -> pb.FlowRecord | None:
    """Return the flow with that name between these clusters; all three identify it, and an unknown id matches none."""
    for flow in flows_named(records, name):
        if (flow.source_cluster_id, flow.target_cluster_id) == (source_cluster_id, target_cluster_id):
            return flow
    for raw_key, _, raw in indexed(records).find(pb.KIND_FLOW):
        # An unreadable record may be this flow's: under another identity it would be copied a second time.
        read_record(pb.FlowRecord, raw_key, raw)
    return None


def flows_named(records: Mapping[bytes, bytes], name: str) -> list[pb.FlowRecord]:
    """Return the flows with that name, between any clusters: to report them, never to pick one."""
    found = readable_records(pb.FlowRecord, indexed(records).find(pb.KIND_FLOW))
    return [flow for _, flow in found if flow.name == name]


def every_flow(records: Mapping[bytes, bytes]) -> Iterator[pb.FlowRecord]:
    """Yield all recorded flows.

    Raises:
        DamagedRecord: A record cannot be read: nothing may be concluded from the others.
    """
    for raw_key, _, value in indexed(records).find(pb.KIND_FLOW):
        yield read_record(pb.FlowRecord, raw_key, value)


def flows_of(records: Mapping[bytes, bytes]) -> list[pb.FlowRecord]:
    """Return all recorded flows; raises as `every_flow`."""
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
        raise removed("record", uid)
    return flow


def removed(what: str, uid: str) -> Conflict:
    """Return the error for a record of a flow that existed, and does not any more."""
    return Conflict(
        f"the {what} of flow {uid} was removed from {STATE_TOPIC}",
        why="by `replicator flow damaged --clear`, `replicator flow forget`, or by hand",
        next_step="a flow of that name starts as a new one: replicator flow status",
    )


def stored_flow(records: Mapping[bytes, bytes], uid: str) -> pb.FlowRecord | None:
    """Return a flow's record; None if it was removed."""
    return get(records, flow_key(uid), pb.FlowRecord())


def lineage_epoch_of(records: Mapping[bytes, bytes], uid: str) -> int:
    """Return a flow's lineage epoch, 0 for a flow that was never moved to another source, or is not recorded."""
    flow = stored_flow(records, uid)
    return flow.lineage_epoch if flow is not None else 0


def shards_of(flow: pb.FlowRecord) -> int:
    """Return how many shards the daemons of a flow have agreed on."""
    return flow.shards or 1


def making_key(uid: str) -> bytes:
    """Return the key of the target topics that a flow is about to create."""
    return key(pb.KIND_MAKING, uid)


def get_making(records: Mapping[bytes, bytes], uid: str) -> bytes:
    """Return the target topics that a flow is about to create, as concatenated digests (`ownership.provenance`)."""
    record = get(records, making_key(uid), pb.MakingRecord())
    return record.topics if record is not None else b""


def start_key(uid: str) -> bytes:
    """Return the key of the topics that existed at a flow's first start."""
    return key(pb.KIND_START, uid)


def get_start(records: Mapping[bytes, bytes], uid: str) -> bytes | None:
    """Return the source topics that existed at a flow's first start, as concatenated digests; None before it."""
    record = get(records, start_key(uid), pb.StartRecord())
    return record.topics if record is not None else None
