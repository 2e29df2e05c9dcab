"""A flow's lineage on `replicator.state`: what is recorded, an order to move the flow, and the move itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from replicator.core.lineage.sources import Lineage, Source
from replicator.core.switch.orders import without_details
from replicator.engine.state import records as state
from replicator.engine.state.journal import put_switches, switches_of
from replicator.engine.work.roles import moved_writers
from replicator.errors import Conflict
from replicator.state_pb import state_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from replicator.engine.state.topic.log import Change


class Order(NamedTuple):
    """An order to move a flow: its id, the new source, who gave it, why and when (ms)."""

    id: str
    to: Source
    actor: str
    reason: str
    at_ms: int


def lineage_of(record: pb.FlowRecord) -> Lineage:
    """Return the lineage of a flow's record; one of an older version has epoch 0."""
    return Lineage(
        record.uid,
        record.lineage_epoch,
        Source(record.source_alias, record.source_cluster_id),
        tuple(Source(one.alias, one.cluster_id) for one in record.earlier),
        Source(record.repoint.to.alias, record.repoint.to.cluster_id) if record.HasField("repoint") else None,
    )


def lineages_named(records: Mapping[bytes, bytes], name: str, target_cluster_id: str | None) -> Iterator[Lineage]:
    """Yield the lineages of the flows with that name that copy to a cluster, whatever they copy from."""
    for one in state.flows_named(records, name):
        if one.target_cluster_id == target_cluster_id:
            yield lineage_of(one)


def ordered(records: Mapping[bytes, bytes], uid: str, order: Order, known: Lineage) -> list[Change]:
    """Return the change that orders a flow to move.

    Args:
        records: Records of the state topic.
        uid: The flow.
        order: The order.
        known: The lineage that the order was checked against.

    Raises:
        Conflict: It has changed since.
    """
    record = state.get_flow(records, uid)
    if lineage_of(record) != known:
        raise Conflict(
            f"flow {record.name!r} was moved, or ordered to move, in the meantime",
            next_step=f"replicator flow status {record.name}, then decide again",
        )
    record.repoint.CopyFrom(
        pb.RepointOrder(
            id=order.id,
            to=pb.FlowSource(alias=order.to.alias, cluster_id=order.to.cluster_id),
            actor=order.actor,
            reason=order.reason,
            at_ms=order.at_ms,
        )
    )
    return [state.put(state.flow_key(uid), record)]


def moved(
    records: Mapping[bytes, bytes], uid: str, order_id: str, at_least: int | None, judged: Mapping[bytes, bytes]
) -> list[Change]:
    """Return the one change that moves a flow to the source it was ordered to; none if that is done or withdrawn.

    In one change: the flow has the new source and the next lineage epoch, its writer the next producer epoch, its
    claims are free, and what was observed of the old source is gone.

    Args:
        records: Records of the state topic.
        uid: The flow.
        order_id: The order that is carried out.
        at_least: The least producer epoch, as for a fence (`fence.coordinator_epoch`).
        judged: The signs of life of the flow's daemons that were found to be silent.

    Raises:
        PreflightFailed: No producer epoch is left.
        Conflict: The flow was removed.
    """
    record = state.get_flow(records, uid)
    if record.repoint.id != order_id or state.signs_of(records, uid) != judged:
        return []
    shards = range(state.shards_of(record))
    record.earlier.append(pb.FlowSource(alias=record.source_alias, cluster_id=record.source_cluster_id))
    record.source_alias, record.source_cluster_id = record.repoint.to.alias, record.repoint.to.cluster_id
    record.lineage_epoch += 1
    record.ClearField("repoint")
    ends = [state.source_end_key(uid, shard) for shard in shards]
    return [
        state.put(state.flow_key(uid), record),
        *moved_writers(records, uid, at_least, record.lineage_epoch),
        *state.freed_claims(records, uid, len(shards), len(shards)),
        *((key, None) for key in judged if state.presence_of(key, uid) is not None),
        *((key, None) for key in ends if key in records),
        *_without_locks(records, uid),
    ]


def _without_locks(records: Mapping[bytes, bytes], uid: str) -> list[Change]:
    """Return the change that archives the flow's last switch: its locks are rules of the old source's authorizer.

    A rule of the new source with the same text is somebody else's.
    """
    switches = switches_of(records, uid)
    return [] if switches.current is None else put_switches(uid, without_details(switches))
