"""Protobuf to model and back: the only place that knows both, with `orders` and `switch`.

The messages mirror model/status/snapshots.py, events.py, translation.py and groups.py field by field (a test compares
the names), so most of the copying is by name. Absent is None in both directions.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from enum import StrEnum
from typing import TYPE_CHECKING, Any, TypeVar

from google.protobuf.message import Message

from replicator.control.requests import DesiredRequest
from replicator.errors import NotAvailable, UsageError
from replicator.model.lease import Lease, LeaseAnswer, LeaseCaller, LeaseTable, Member
from replicator.model.operations.audit import AuditEntry, Phase
from replicator.model.operations.report import Check, Level, Report, Section
from replicator.model.operations.translation import OffsetQuestion, Translation, TranslationState
from replicator.model.status.events import Desired, Event
from replicator.model.status.groups import GroupKind, GroupPartition, GroupState, GroupStatus
from replicator.model.status.snapshots import (
    BrokerStatus,
    ClusterStatus,
    DaemonStatus,
    FlowStatus,
    FlowTotals,
    LeftOut,
    MirrorStatus,
    PartitionStatus,
    ShardStatus,
)
from replicator.model.status.states import FlowState, MirrorState, PartitionPhase, Reason
from replicator.model.words import read_word
from replicator.rpc.v1 import control_pb2 as pb
from replicator.rpc.v1 import lease_pb2

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

_Value = TypeVar("_Value", bound="DataclassInstance")
_Name = TypeVar("_Name", bound=StrEnum)

_DESIRED_TO_WIRE = {Desired.ACTIVE: pb.DESIRED_ACTIVE, Desired.PAUSED: pb.DESIRED_PAUSED}
_DESIRED_FROM_WIRE = {wire: desired for desired, wire in _DESIRED_TO_WIRE.items()}


def status_to_wire(status: DaemonStatus) -> pb.DaemonStatus:
    """Return the message of a whole snapshot."""
    return pb.DaemonStatus(
        **shallow(status, "flows"),
        flows=[
            pb.FlowStatus(
                **shallow(flow, "totals", "mirrors", "shards", "clusters", "left_out"),
                clusters=[_cluster_to_wire(cluster) for cluster in flow.clusters],
                left_out=[pb.LeftOut(**shallow(one)) for one in flow.left_out],
                shards=[pb.ShardStatus(**shallow(shard)) for shard in flow.shards],
                totals=pb.FlowTotals(**shallow(flow.totals)) if flow.totals is not None else None,
                mirrors=[_mirror_to_wire(mirror) for mirror in flow.mirrors],
            )
            for flow in status.flows
        ],
    )


def status_from_wire(message: pb.DaemonStatus) -> DaemonStatus:
    """Return the snapshot of a message; a state of a newer version is shown as it was sent."""
    return read(DaemonStatus, message, flows=tuple(_flow_from_wire(flow) for flow in message.flows))


def event_to_wire(event: Event) -> pb.Event:
    """Return the message of one event."""
    return pb.Event(**shallow(event))


def event_from_wire(message: pb.Event) -> Event:
    """Return the event of a message."""
    return read(Event, message)


def question_to_wire(question: OffsetQuestion) -> pb.OffsetQuestion:
    """Return the message of one question about an offset."""
    return pb.OffsetQuestion(topic=question.topic, partition=question.partition, offset=question.offset)


def question_from_wire(message: pb.OffsetQuestion) -> OffsetQuestion:
    """Return the question of a message."""
    return OffsetQuestion(message.topic, message.partition, message.offset)


def translation_to_wire(translation: Translation) -> pb.Translation:
    """Return the message of one answer."""
    return pb.Translation(**shallow(translation))


def translation_from_wire(message: pb.Translation) -> Translation:
    """Return the answer of a message.

    Raises:
        NotAvailable: It holds a state this version does not know.
    """
    return read(Translation, message, state=name_of(TranslationState, message.state))


def group_to_wire(group: GroupStatus) -> pb.GroupStatus:
    """Return the message of one group."""
    return pb.GroupStatus(
        **shallow(group, "partitions"),
        partitions=[pb.GroupPartition(**shallow(partition)) for partition in group.partitions],
    )


def group_from_wire(message: pb.GroupStatus) -> GroupStatus:
    """Return the group of a message; a state or kind of a newer version is shown as it was sent."""
    return read(
        GroupStatus,
        message,
        kind=read_word(GroupKind, message.kind),
        state=read_word(GroupState, message.state),
        partitions=tuple(
            read(GroupPartition, partition, state=read_word(GroupState, partition.state))
            for partition in message.partitions
        ),
    )


def desired_to_wire(desired: Desired) -> pb.Desired:
    """Return the wire's number for what an operator wants."""
    return _DESIRED_TO_WIRE[desired]


def desired_from_wire(number: pb.Desired) -> Desired:
    """Return what an operator wants.

    Raises:
        NotAvailable: This version does not know that number.
    """
    desired = _DESIRED_FROM_WIRE.get(number)
    if desired is None:
        raise NotAvailable(f"this daemon does not know desired state {number}", next_step="upgrade the daemon")
    return desired


def desired_request_from_wire(request: pb.SetDesiredRequest) -> DesiredRequest:
    """Return what an operator orders.

    Raises:
        NotAvailable: This version does not know the wanted state.
    """
    desired = desired_from_wire(request.desired)
    epoch = request.expected_epoch if request.HasField("expected_epoch") else None
    return DesiredRequest(request.flow, desired, request.reason, epoch, request.request_id)


def _cluster_to_wire(cluster: ClusterStatus) -> pb.ClusterStatus:
    return pb.ClusterStatus(
        **shallow(cluster, "brokers"), brokers=[pb.BrokerStatus(**shallow(broker)) for broker in cluster.brokers]
    )


def _mirror_to_wire(mirror: MirrorStatus) -> pb.MirrorStatus:
    return pb.MirrorStatus(
        **shallow(mirror, "partitions"),
        partitions=[pb.PartitionStatus(**shallow(partition)) for partition in mirror.partitions],
    )


def _flow_from_wire(message: pb.FlowStatus) -> FlowStatus:
    return read(
        FlowStatus,
        message,
        state=read_word(FlowState, message.state),
        totals=read(FlowTotals, message.totals) if message.HasField("totals") else None,
        shards=tuple(read(ShardStatus, shard) for shard in message.shards),
        clusters=tuple(
            read(ClusterStatus, cluster, brokers=tuple(read(BrokerStatus, broker) for broker in cluster.brokers))
            for cluster in message.clusters
        ),
        left_out=tuple(read(LeftOut, one) for one in message.left_out),
        mirrors=tuple(
            read(
                MirrorStatus,
                mirror,
                state=read_word(MirrorState, mirror.state),
                reason=_reason(mirror),
                partitions=tuple(_partition_from_wire(partition) for partition in mirror.partitions),
            )
            for mirror in message.mirrors
        ),
    )


def _partition_from_wire(message: pb.PartitionStatus) -> PartitionStatus:
    return read(
        PartitionStatus,
        message,
        state=read_word(MirrorState, message.state),
        reason=_reason(message),
        phase=read_word(PartitionPhase, message.phase) if message.HasField("phase") else None,
    )


def _reason(message: pb.MirrorStatus | pb.PartitionStatus) -> Reason | None:
    return read_word(Reason, message.reason) if message.HasField("reason") else None


def name_of(kind: type[_Name], text: str) -> _Name:
    """Return the member of an enum that a message names.

    Raises:
        NotAvailable: This version does not know it.
    """
    try:
        return kind(text)
    except ValueError:
        raise NotAvailable(
            f"the daemon sent {text!r}, which this command does not know",
            why="the daemon is newer than this command",
            next_step="use a `replicator` command at least as new as the daemon",
        ) from None


def audit_to_wire(entry: AuditEntry) -> pb.AuditEntry:
    """Return the message of an entry of the audit log."""
    return pb.AuditEntry(**shallow(entry))


def audit_from_wire(message: pb.AuditEntry) -> AuditEntry:
    """Return an entry of the audit log.

    Raises:
        NotAvailable: It is about something this version does not know.
    """
    return read(AuditEntry, message, phase=name_of(Phase, message.phase))


def report_to_wire(report: Report) -> pb.RehearseResponse:
    """Return the message of a report."""
    return pb.RehearseResponse(
        sections=[
            pb.ReportSection(title=section.title, checks=[pb.Check(**shallow(check)) for check in section.checks])
            for section in report.sections
        ]
    )


def report_from_wire(message: pb.RehearseResponse) -> Report:
    """Return a report.

    Raises:
        NotAvailable: It holds a level this version does not know.
    """
    return Report(
        tuple(
            Section(
                section.title,
                tuple(read(Check, check, level=name_of(Level, check.level)) for check in section.checks),
            )
            for section in message.sections
        )
    )


def caller_to_wire(caller: LeaseCaller) -> lease_pb2.LeaseRequest:
    """Return the message that a daemon sends with a call about leases."""
    return lease_pb2.LeaseRequest(**shallow(caller))


def caller_from_wire(message: lease_pb2.LeaseRequest) -> LeaseCaller:
    """Return who calls about leases.

    Raises:
        UsageError: It does not say who calls, or about which flow.
    """
    if not message.flow_uid or not message.instance:
        raise UsageError("a call about leases must name a flow and a daemon")
    return LeaseCaller(
        message.flow_uid,
        message.flow,
        message.instance,
        message.address,
        message.shards,
        dict(message.floors),
        dict(message.held),
        tuple(message.busy),
        message.source_cluster_id,
        message.target_cluster_id,
        message.lineage_epoch,
    )


def table_to_wire(table: LeaseTable) -> lease_pb2.LeaseTable:
    """Return the message of the leases of a flow."""
    return lease_pb2.LeaseTable(
        flow_uid=table.flow_uid,
        flow=table.flow,
        members=[lease_pb2.LeaseMember(**shallow(member)) for member in table.members],
        leases=[lease_pb2.ShardLease(**shallow(lease)) for lease in table.leases],
    )


def table_from_wire(message: lease_pb2.LeaseTable) -> LeaseTable:
    """Return the leases of a flow."""
    return LeaseTable(
        message.flow_uid,
        message.flow,
        tuple(read(Member, member) for member in message.members),
        tuple(read(Lease, lease) for lease in message.leases),
    )


def lease_answer_to_wire(answer: LeaseAnswer) -> lease_pb2.LeaseAnswer:
    """Return the message of an answer about leases."""
    return lease_pb2.LeaseAnswer(
        table=table_to_wire(answer.table), ttl_seconds=answer.ttl_seconds, offered=answer.offered
    )


def lease_answer_from_wire(message: lease_pb2.LeaseAnswer) -> LeaseAnswer:
    """Return an answer about leases."""
    return LeaseAnswer(table_from_wire(message.table), message.ttl_seconds, tuple(message.offered))


def shallow(value: DataclassInstance, *without: str) -> dict[str, Any]:
    """Return the fields as keyword arguments; protobuf reads None as absent."""
    return {field.name: getattr(value, field.name) for field in fields(value) if field.name not in without}


def read(kind: Callable[..., _Value], message: Message, /, **given: Any) -> _Value:
    """Build a model value from a message's fields of the same names, except for those given."""
    described = message.DESCRIPTOR.fields_by_name
    values: dict[str, Any] = {
        name: None if field.has_presence and not message.HasField(name) else getattr(message, name)
        for name, field in described.items()
        if name not in given
    }
    return kind(**values, **given)
