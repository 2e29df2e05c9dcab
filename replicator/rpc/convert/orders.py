"""Orders about mirrors and records, and their results: protobuf to model and back (see `values`)."""

from __future__ import annotations

from replicator.control.requests import ResolveRequest
from replicator.model.operations.damage import Clearing, Damage, Damaged
from replicator.model.operations.forget import Forgotten
from replicator.model.operations.resolution import Loss, Resolution, ResolutionOrder
from replicator.rpc.v1 import control_pb2 as pb


def order_to_wire(
    flow: str, order: ResolutionOrder, *, dry_run: bool, expected_epoch: int | None = None, alone: bool = False
) -> pb.ResolveMirrorRequest:
    """Return the message of an order about a mirror."""
    return pb.ResolveMirrorRequest(
        flow=flow,
        topic=order.topic,
        how=order.how,
        partitions=order.partitions,
        dry_run=dry_run,
        digest=order.digest,
        actor=order.actor,
        reason=order.why,
        expected_epoch=expected_epoch,
        alone=alone,
    )


def resolve_request_from_wire(request: pb.ResolveMirrorRequest) -> ResolveRequest:
    """Return an operator's order, unchecked."""
    return ResolveRequest(
        request.flow,
        request.topic,
        request.how,
        request.partitions,
        request.reason,
        request.digest if request.HasField("digest") else None,
        request.expected_epoch if request.HasField("expected_epoch") else None,
        request.flow_uid,
        request.alone,
    )


def resolution_to_wire(resolution: Resolution) -> pb.ResolveMirrorResponse:
    """Return the message of a resolution."""
    return pb.ResolveMirrorResponse(
        how=resolution.how,
        reasons=resolution.reasons,
        steps=resolution.steps,
        losses=[
            pb.Loss(partition=loss.partition, first=loss.first, end=loss.end, text=loss.text)
            for loss in resolution.losses
        ],
        digest=resolution.digest,
    )


def resolution_from_wire(message: pb.ResolveMirrorResponse) -> Resolution:
    """Return the resolution of a message."""
    return Resolution(
        message.how,
        tuple(message.reasons),
        tuple(message.steps),
        tuple(Loss(loss.partition, loss.first, loss.end, loss.text) for loss in message.losses),
        message.digest,
    )


def forgotten_to_wire(forgotten: Forgotten) -> pb.ForgetResponse:
    """Return the message of what was removed from the state topic."""
    return pb.ForgetResponse(records=forgotten.records, removed=forgotten.removed, left_behind=forgotten.left_behind)


def forgotten_from_wire(message: pb.ForgetResponse) -> Forgotten:
    """Return what was removed from the state topic."""
    return Forgotten(message.records, tuple(message.removed), tuple(message.left_behind))


def damaged_to_wire(one: Damaged) -> pb.DamagedRecord:
    """Return the message of a record that cannot be read."""
    return pb.DamagedRecord(
        cluster=one.cluster,
        key=bytes.fromhex(one.key),
        offset=one.offset,
        size_bytes=one.size_bytes,
        what=one.what,
        why=one.why,
        clearing=one.clearing,
        guarded=one.guarded,
    )


def damaged_from_wire(message: pb.DamagedRecord) -> Damaged:
    """Return a record that cannot be read."""
    return Damaged(
        message.cluster,
        message.key.hex(),
        message.offset,
        message.size_bytes,
        message.what,
        message.why,
        message.clearing,
        message.guarded,
    )


def damage_to_wire(damage: Damage) -> pb.DamagedResponse:
    """Return the message of a flow's records that cannot be read."""
    records = [damaged_to_wire(one) for one in damage.records]
    return pb.DamagedResponse(records=records, left_out=damage.left_out, unasked=damage.unasked)


def damage_from_wire(message: pb.DamagedResponse) -> Damage:
    """Return a flow's records that cannot be read."""
    return Damage(tuple(map(damaged_from_wire, message.records)), message.left_out, tuple(message.unasked))


def clearing_to_wire(flow: str, order: Clearing, *, actor: str, reason: str) -> pb.ClearDamagedRequest:
    """Return the message of an order to clear a record."""
    return pb.ClearDamagedRequest(
        flow=flow,
        cluster=order.cluster,
        key=bytes.fromhex(order.key),
        offset=order.offset,
        confirm=bytes.fromhex(order.confirm),
        actor=actor,
        reason=reason,
    )


def clearing_from_wire(message: pb.ClearDamagedRequest) -> Clearing:
    """Return an order to clear a record."""
    return Clearing(message.cluster, message.key.hex(), message.offset, message.confirm.hex())
