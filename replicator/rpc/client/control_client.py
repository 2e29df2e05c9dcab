"""A synchronous client of a daemon's control service, for the command line."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from types import TracebackType
from typing import NoReturn, Self, cast

import grpc

from replicator.errors import DaemonUnreachable, HeldElsewhere, NotAvailable
from replicator.model.lease import LeaseTable
from replicator.model.operations.audit import AuditEntry
from replicator.model.operations.damage import Clearing, Damage, Damaged
from replicator.model.operations.forget import Forgotten
from replicator.model.operations.lineage import RepointReport
from replicator.model.operations.report import Report
from replicator.model.operations.resolution import Resolution, ResolutionOrder
from replicator.model.operations.translation import OffsetQuestion, TimeQuestion, Translation
from replicator.model.status.events import Desired, Event
from replicator.model.status.groups import GroupStatus
from replicator.model.status.snapshots import DaemonStatus
from replicator.model.switch.status import BothSides, SwitchPlan, SwitchStatus
from replicator.model.switch.terms import SwitchOrder
from replicator.rpc.client.endpoint import Endpoint
from replicator.rpc.client.find_token import NO_TOKEN, Metadata, metadata_for, order_metadata
from replicator.rpc.convert import faults, orders
from replicator.rpc.convert.lineage import repoint_from_wire
from replicator.rpc.convert.switch import plan_from_wire, sides_from_wire, switch_from_wire, switch_order_to_wire
from replicator.rpc.convert.values import (
    audit_from_wire,
    desired_to_wire,
    event_from_wire,
    group_from_wire,
    question_to_wire,
    report_from_wire,
    status_from_wire,
    table_from_wire,
    translation_from_wire,
)
from replicator.rpc.v1 import access_pb2, access_pb2_grpc, control_pb2_grpc, lease_pb2, lease_pb2_grpc
from replicator.rpc.v1 import control_pb2 as pb

_RESOLVE_SECONDS_MAX = 300.0
"""`accept` compares records and `skip` sets them aside, which takes longer than a look into a daemon's memory."""
_REHEARSE_SECONDS_MAX = 60.0
_SWITCH_SECONDS_MAX = 60.0
"""A plan looks at both clusters, one of which may be gone."""
_WAY_BACK_SECONDS_MAX = 90.0
_FORGET_SECONDS_MAX = 180.0
"""Daemons that may still work on a flow are watched for as long as their last sign of life may have an effect."""
QUESTIONS_PER_CALL = 2000
"""Questions about offsets: with topic names of 249 characters this is half a request."""


class ControlClient:
    """The control service as plain method calls. Close it, or use it in a `with` block.

    Every call may raise:
        DaemonUnreachable: Nothing answers, or the TLS handshake failed.
        TimedOut: No answer within the endpoint's timeout.
        ReplicatorError: Whatever the daemon raised, as the same class.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._channel = endpoint.blocking_channel()
        self._stub = control_pb2_grpc.ControlStub(self._channel)
        self._leases = lease_pb2_grpc.LeaseStub(self._channel)
        self._access = access_pb2_grpc.AccessStub(self._channel)
        self._metadata: Metadata | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._channel.close()

    def flows(self) -> DaemonStatus:
        """Return a snapshot whose flows have no mirrors."""
        try:
            answer = self._stub.ListFlows(
                pb.ListFlowsRequest(), timeout=self._endpoint.timeout_seconds, metadata=self._metadata
            )
        except grpc.RpcError as error:
            self._raise(error)
        return status_from_wire(answer.status)

    def status(self, flow: str | None = None) -> DaemonStatus:
        """Return a snapshot of all flows, or of one."""
        try:
            answer = self._stub.GetStatus(
                pb.GetStatusRequest(flow=flow or ""), timeout=self._endpoint.timeout_seconds, metadata=self._metadata
            )
        except grpc.RpcError as error:
            self._raise(error)
        return status_from_wire(answer.status)

    def watch(self, interval_seconds: float, flow: str | None = None) -> Iterator[DaemonStatus]:
        """Yield a snapshot per interval until the daemon ends or the caller stops reading."""
        request = pb.WatchStatusRequest(flow=flow or "", interval_seconds=interval_seconds)
        try:
            for answer in self._stub.WatchStatus(request, metadata=self._metadata):
                yield status_from_wire(answer.status)
        except grpc.RpcError as error:
            self._raise(error)

    def set_desired(
        self,
        flow: str,
        desired: Desired,
        *,
        actor: str,
        reason: str,
        expected_epoch: int | None = None,
        request_id: str | None = None,
    ) -> bool:
        """Pause or resume a flow; return whether that changed anything.

        The change is refused if the flow is no longer at `expected_epoch`. The same `request_id` does nothing the
        second time; by default each call has its own.
        """
        request = pb.SetDesiredRequest(
            flow=flow,
            desired=desired_to_wire(desired),
            actor=actor,
            reason=reason,
            expected_epoch=expected_epoch,
            request_id=request_id or uuid.uuid4().hex,
        )
        try:
            return self._stub.SetDesired(
                request, timeout=self._endpoint.timeout_seconds, metadata=self._order()
            ).changed
        except grpc.RpcError as error:
            self._raise(error)

    def resolve(
        self, flow: str, order: ResolutionOrder, *, dry_run: bool, expected_epoch: int | None = None
    ) -> Resolution:
        """Resolve the fault of a mirror, or only report what that would do; without reasons nothing has stopped.

        If another daemon copies what has stopped, that daemon is asked, with the same TLS files; never a third one.
        """
        try:
            return self._resolve(flow, order, dry_run=dry_run, expected_epoch=expected_epoch, alone=False)
        except HeldElsewhere as there:
            if not there.address:
                raise
            try:
                with ControlClient(replace(self._endpoint, address=there.address, token_file=None)) as other:
                    return other._resolve(flow, order, dry_run=dry_run, expected_epoch=expected_epoch, alone=True)
            except DaemonUnreachable as unreachable:
                there.why = f"it does not answer us at {there.address}: {unreachable.why or unreachable.what}"
                raise there from unreachable

    def _resolve(
        self, flow: str, order: ResolutionOrder, *, dry_run: bool, expected_epoch: int | None, alone: bool
    ) -> Resolution:
        request = orders.order_to_wire(flow, order, dry_run=dry_run, expected_epoch=expected_epoch, alone=alone)
        try:
            answer = self._stub.ResolveMirror(request, timeout=_RESOLVE_SECONDS_MAX, metadata=self._order())
        except grpc.RpcError as error:
            self._raise(error)
        return orders.resolution_from_wire(answer)

    def forget(self, flow: str, topic: str | None, *, actor: str, reason: str, dry_run: bool) -> Forgotten:
        """Remove the records of a mirror that is no longer copied, or of a flow that nobody runs."""
        request = pb.ForgetRequest(flow=flow, topic=topic or "", actor=actor, reason=reason, dry_run=dry_run)
        try:
            done = self._stub.Forget(request, timeout=_FORGET_SECONDS_MAX, metadata=self._order())
            return orders.forgotten_from_wire(done)
        except grpc.RpcError as error:
            self._raise(error)

    def repoint(self, flow: str, to: str, *, actor: str, reason: str, dry_run: bool) -> RepointReport:
        """Move a flow to another source, or only return what that would mean."""
        request = pb.RepointRequest(flow=flow, to=to, actor=actor, reason=reason, dry_run=dry_run)
        try:
            return repoint_from_wire(self._stub.Repoint(request, timeout=_FORGET_SECONDS_MAX, metadata=self._order()))
        except grpc.RpcError as error:
            self._raise(error)

    def damaged(self, flow: str) -> Damage:
        """Return the records of a flow that cannot be read."""
        try:
            answer = self._stub.Damaged(pb.DamagedRequest(flow=flow), timeout=_FORGET_SECONDS_MAX)
        except grpc.RpcError as error:
            self._raise(error)
        return orders.damage_from_wire(answer)

    def clear_damaged(self, flow: str, order: Clearing, *, actor: str, reason: str) -> Damaged:
        """Clear one of them, unless it has changed since it was shown; return what it was."""
        request = orders.clearing_to_wire(flow, order, actor=actor, reason=reason)
        try:
            answer = self._stub.ClearDamaged(request, timeout=_FORGET_SECONDS_MAX, metadata=self._order())
        except grpc.RpcError as error:
            self._raise(error)
        return orders.damaged_from_wire(answer.record)

    def plan_switch(self, order: SwitchOrder) -> SwitchPlan:
        """Return what an order to switch a flow would do; nothing is changed."""
        return plan_from_wire(self._switch(switch_order_to_wire(order, dry_run=True)).plan)

    def start_switch(self, order: SwitchOrder, expected_epoch: int | None) -> tuple[SwitchStatus | None, bool]:
        """Order a switch; return it, and whether it was already under way or done.

        It is refused if the flow is no longer at the expected epoch.
        """
        answer = self._switch(switch_order_to_wire(order, dry_run=False, expected_epoch=expected_epoch))
        return switch_from_wire(answer.switch) if answer.HasField("switch") else None, answer.already

    def _switch(self, request: pb.StartSwitchRequest) -> pb.StartSwitchResponse:
        try:
            return self._stub.StartSwitch(request, timeout=_SWITCH_SECONDS_MAX, metadata=self._order())
        except grpc.RpcError as error:
            self._raise(error)

    def switches(self, flow: str) -> tuple[SwitchStatus, ...]:
        """Return the switches of a flow, newest last."""
        request = pb.GetSwitchRequest(flow=flow)
        try:
            answer = self._stub.GetSwitch(request, timeout=self._endpoint.timeout_seconds, metadata=self._metadata)
        except grpc.RpcError as error:
            self._raise(error)
        return tuple(switch_from_wire(one) for one in answer.switches)

    def both_sides(self, flow: str, switch_id: str) -> BothSides | None:
        """Return how a switch left both sides, or None if the daemon is too old to report it."""
        try:
            request = pb.GetSwitchRequest(flow=flow, sides_of=switch_id)
            answer = self._stub.GetSwitch(request, timeout=_SWITCH_SECONDS_MAX, metadata=self._metadata)
        except grpc.RpcError as error:
            self._raise(error)
        return sides_from_wire(answer.sides) if answer.HasField("sides") else None

    def abort_switch(self, flow: str, *, actor: str, reason: str, target_lost: bool = False) -> SwitchStatus:
        """Undo the running switch; with `target_lost` reopen its source."""
        request = pb.AbortSwitchRequest(flow=flow, actor=actor, reason=reason, target_lost=target_lost)
        try:
            done = self._stub.AbortSwitch(request, timeout=_WAY_BACK_SECONDS_MAX, metadata=self._order())
            return switch_from_wire(done)
        except grpc.RpcError as error:
            self._raise(error)

    def confirm_switch(self, flow: str, confirm: str, *, actor: str) -> SwitchStatus:
        """Agree to what a failback found."""
        request = pb.ConfirmSwitchRequest(flow=flow, confirm=confirm, actor=actor)
        try:
            return switch_from_wire(
                self._stub.ConfirmSwitch(request, timeout=_SWITCH_SECONDS_MAX, metadata=self._order())
            )
        except grpc.RpcError as error:
            self._raise(error)

    def events(self, flow: str, topic: str | None = None, limit: int = 50) -> tuple[Event, ...]:
        """Return recent events of a flow, or of one of its source topics, newest last."""
        request = pb.EventsRequest(flow=flow, topic=topic, limit=limit)
        try:
            answer = self._stub.Events(request, timeout=self._endpoint.timeout_seconds, metadata=self._metadata)
        except grpc.RpcError as error:
            self._raise(error)
        return tuple(event_from_wire(event) for event in answer.events)

    def groups(self, flow: str) -> tuple[tuple[GroupStatus, ...], str | None]:
        """Return how far the groups of a flow have followed, without partitions; and what holds all of them back."""
        try:
            answer = self._stub.ListGroups(
                pb.ListGroupsRequest(flow=flow), timeout=self._endpoint.timeout_seconds, metadata=self._metadata
            )
        except grpc.RpcError as error:
            self._raise(error)
        detail = answer.detail if answer.HasField("detail") else None
        return tuple(group_from_wire(group) for group in answer.groups), detail

    def group(self, flow: str, group: str) -> GroupStatus:
        """Return how far one consumer group has followed, with its partitions."""
        request = pb.DescribeGroupRequest(flow=flow, group=group)
        try:
            answer = self._stub.DescribeGroup(request, timeout=self._endpoint.timeout_seconds, metadata=self._metadata)
        except grpc.RpcError as error:
            self._raise(error)
        return group_from_wire(answer.group)

    def translate(
        self, flow: str, questions: Iterable[OffsetQuestion], *, reverse: bool = False
    ) -> tuple[Translation, ...]:
        """Translate source offsets to the target, or with `reverse` target offsets to the source.

        One answer per question, in order; any number of them. With `reverse` the topics are the target's.
        """
        found: list[Translation] = []
        left = iter(questions)
        while some := list(islice(left, QUESTIONS_PER_CALL)):
            request = pb.TranslateOffsetsRequest(
                flow=flow, reverse=reverse, questions=[question_to_wire(question) for question in some]
            )
            found += self._translate(request)
        return tuple(found)

    def translate_group(self, flow: str, group: str, *, reverse: bool = False) -> tuple[Translation, ...]:
        """Translate all offsets that a consumer group has committed in the flow's topics.

        They are read on the source, or with `reverse` on the target.
        """
        return self._translate(pb.TranslateOffsetsRequest(flow=flow, reverse=reverse, group=group))

    def translate_time(self, flow: str, question: TimeQuestion) -> tuple[Translation, ...]:
        """Translate a point in time on the source to target offsets, one answer per requested partition."""
        request = pb.TranslateTimeRequest(
            flow=flow, topic=question.topic, time_ms=question.time_ms, partition=question.partition
        )
        try:
            answer = self._stub.TranslateTime(request, timeout=self._endpoint.timeout_seconds, metadata=self._metadata)
        except grpc.RpcError as error:
            self._raise(error)
        return tuple(translation_from_wire(each) for each in answer.translations)

    def _translate(self, request: pb.TranslateOffsetsRequest) -> tuple[Translation, ...]:
        try:
            answer = self._stub.TranslateOffsets(
                request, timeout=self._endpoint.timeout_seconds, metadata=self._metadata
            )
        except grpc.RpcError as error:
            self._raise(error)
        return tuple(translation_from_wire(each) for each in answer.translations)

    def rehearse(self, flow: str) -> Report:
        """Return whether a flow could be switched now, with everything that was checked."""
        try:
            answer = self._stub.Rehearse(
                pb.RehearseRequest(flow=flow), timeout=_REHEARSE_SECONDS_MAX, metadata=self._metadata
            )
        except grpc.RpcError as error:
            self._raise(error)
        return report_from_wire(answer)

    def audit(self, flow: str | None, limit: int) -> Sequence[AuditEntry]:
        """Return the last entries of the daemon's audit log, newest last."""
        try:
            request = pb.AuditRequest(flow=flow or "", limit=limit)
            answer = self._stub.Audit(request, timeout=self._endpoint.timeout_seconds, metadata=self._metadata)
        except grpc.RpcError as error:
            self._raise(error)
        return [audit_from_wire(entry) for entry in answer.entries]

    def leases(self) -> Sequence[LeaseTable]:
        """Return the leases that the coordinator at this address has granted."""
        try:
            answer = self._leases.List(
                lease_pb2.ListLeasesRequest(), timeout=self._endpoint.timeout_seconds, metadata=self._metadata
            )
        except grpc.RpcError as error:
            self._raise(error)
        return [table_from_wire(table) for table in answer.tables]

    def about_to_order(self) -> None:
        """Let the questions before an order carry its token: they do not use the places of those who only read.

        Raises:
            AccessDenied: As for the order.
        """
        self._order()

    def _order(self) -> Metadata:
        """Return what orders carry.

        Raises:
            AccessDenied: They need a token, which cannot be used or is not given to what listens there.
        """
        if self._metadata is None:
            self._metadata = self._found() if self._endpoint.asks_for_token() else NO_TOKEN
        return self._metadata

    def _found(self) -> Metadata:
        endpoint = self._endpoint
        if endpoint.token_file is not None:
            return order_metadata(endpoint.token_file, endpoint.address, named_by_daemon=False)
        try:
            answer = self._access.Describe(access_pb2.DescribeAccessRequest(), timeout=endpoint.timeout_seconds)
        except grpc.RpcError as error:
            failure = faults.meaning(cast("grpc.Call", error), endpoint.address, endpoint.timeout_seconds)
            if isinstance(failure, NotAvailable):  # an older daemon asks for none
                return NO_TOKEN
            raise failure from error
        return metadata_for(endpoint, answer.known_by, answer.token_file)

    def _raise(self, error: grpc.RpcError) -> NoReturn:
        # Every error a stub raises is a call too; the types do not say so.
        endpoint = self._endpoint
        raise faults.meaning(cast("grpc.Call", error), endpoint.address, endpoint.timeout_seconds) from error
