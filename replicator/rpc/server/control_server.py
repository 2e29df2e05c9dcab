"""The control service over gRPC: translates messages to values and back; `control` decides and does the rest."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar, overload

import grpc.aio

from replicator.model.operations.translation import TimeQuestion
from replicator.rpc.convert.lineage import repoint_to_wire
from replicator.rpc.convert.orders import (
    clearing_from_wire,
    damage_to_wire,
    damaged_to_wire,
    forgotten_to_wire,
    resolution_to_wire,
    resolve_request_from_wire,
)
from replicator.rpc.convert.switch import plan_to_wire, sides_to_wire, switch_request_from_wire, switch_to_wire
from replicator.rpc.convert.values import (
    audit_to_wire,
    desired_request_from_wire,
    event_to_wire,
    group_to_wire,
    question_from_wire,
    report_to_wire,
    status_to_wire,
    translation_to_wire,
)
from replicator.rpc.server.crossing import errors_cross
from replicator.rpc.v1 import control_pb2 as pb
from replicator.rpc.v1 import control_pb2_grpc

if TYPE_CHECKING:
    from replicator.control.audited_control import AuditedControl
    from replicator.rpc.server.callers import Callers

_Value = TypeVar("_Value")
_WATCH_SECONDS_DEFAULT = 2.0
_WATCH_SECONDS_MIN = 0.5
_WATCH_SECONDS_MAX = 3600.0


class ControlServicer(control_pb2_grpc.ControlServicer):
    """The methods of the service.

    Args:
        control: Decides about each order and question, and carries it out.
        callers: Who calls.
        stopping: Ends watches.
    """

    def __init__(self, control: AuditedControl, callers: Callers, stopping: asyncio.Event) -> None:
        self._control = control
        self._callers = callers
        self._stopping = stopping

    async def ListFlows(  # noqa: N802  # gRPC's name
        self,
        request: pb.ListFlowsRequest,
        context: grpc.aio.ServicerContext[pb.ListFlowsRequest, pb.ListFlowsResponse],
    ) -> pb.ListFlowsResponse:
        """Answer with the flows, without mirrors."""
        del request
        async with errors_cross(context):
            status = await self._control.status(self._callers.of(context))
            bare = tuple(replace(flow, mirrors=()) for flow in status.flows)
            return pb.ListFlowsResponse(status=status_to_wire(replace(status, flows=bare)))

    async def GetStatus(  # noqa: N802
        self,
        request: pb.GetStatusRequest,
        context: grpc.aio.ServicerContext[pb.GetStatusRequest, pb.GetStatusResponse],
    ) -> pb.GetStatusResponse:
        """Answer with one snapshot."""
        async with errors_cross(context):
            find = self._control.own_status if request.alone else self._control.status
            status = await find(self._callers.of(context), request.flow, request.flow_uid)
            return pb.GetStatusResponse(status=await asyncio.to_thread(status_to_wire, status))

    async def WatchStatus(  # noqa: N802
        self,
        request: pb.WatchStatusRequest,
        context: grpc.aio.ServicerContext[pb.WatchStatusRequest, pb.WatchStatusResponse],
    ) -> AsyncIterator[pb.WatchStatusResponse]:
        """Send a snapshot per interval until the caller or this server goes away."""
        interval_seconds = interval_of(request.interval_seconds)
        async with errors_cross(context):
            caller = self._callers.of(context)
            while not self._stopping.is_set():
                status = await self._control.status(caller, request.flow)
                yield pb.WatchStatusResponse(status=await asyncio.to_thread(status_to_wire, status))
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._stopping.wait(), interval_seconds)

    async def SetDesired(  # noqa: N802
        self,
        request: pb.SetDesiredRequest,
        context: grpc.aio.ServicerContext[pb.SetDesiredRequest, pb.SetDesiredResponse],
    ) -> pb.SetDesiredResponse:
        """Pause or resume; a repeated request id is answered from memory."""
        async with errors_cross(context):
            wanted = desired_request_from_wire(request)
            changed = await self._control.set_desired(self._callers.of(context, request.actor), wanted)
            return pb.SetDesiredResponse(changed=changed)

    async def ResolveMirror(  # noqa: N802
        self,
        request: pb.ResolveMirrorRequest,
        context: grpc.aio.ServicerContext[pb.ResolveMirrorRequest, pb.ResolveMirrorResponse],
    ) -> pb.ResolveMirrorResponse:
        """Resolve a fault; if it is already resolved, the answer says that there is nothing to do."""
        async with errors_cross(context):
            wanted, caller = resolve_request_from_wire(request), self._callers.of(context, request.actor)
            return resolution_to_wire(await self._control.resolve(caller, wanted, dry_run=request.dry_run))

    async def Forget(  # noqa: N802
        self,
        request: pb.ForgetRequest,
        context: grpc.aio.ServicerContext[pb.ForgetRequest, pb.ForgetResponse],
    ) -> pb.ForgetResponse:
        """Remove the records of a mirror or a flow; if there are none left, the answer says so."""
        async with errors_cross(context):
            caller = self._callers.of(context, request.actor)
            done = await self._control.forget(
                caller, request.flow, request.topic, reason=request.reason, dry_run=request.dry_run
            )
            return forgotten_to_wire(done)

    async def Repoint(  # noqa: N802
        self,
        request: pb.RepointRequest,
        context: grpc.aio.ServicerContext[pb.RepointRequest, pb.RepointResponse],
    ) -> pb.RepointResponse:
        """Move a flow to another source; if it copies from there, the answer says so."""
        async with errors_cross(context):
            caller = self._callers.of(context, request.actor)
            done = await self._control.repoint(
                caller, request.flow, request.to, reason=request.reason, dry_run=request.dry_run
            )
            return repoint_to_wire(done)

    async def Damaged(  # noqa: N802
        self,
        request: pb.DamagedRequest,
        context: grpc.aio.ServicerContext[pb.DamagedRequest, pb.DamagedResponse],
    ) -> pb.DamagedResponse:
        """Answer with the records of a flow that cannot be read; its topics are read for one caller at a time."""
        async with errors_cross(context):
            return damage_to_wire(await self._control.damaged(self._callers.of(context), request.flow))

    async def ClearDamaged(  # noqa: N802
        self,
        request: pb.ClearDamagedRequest,
        context: grpc.aio.ServicerContext[pb.ClearDamagedRequest, pb.ClearDamagedResponse],
    ) -> pb.ClearDamagedResponse:
        """Clear one of them."""
        async with errors_cross(context):
            order, caller = clearing_from_wire(request), self._callers.of(context, request.actor)
            done = await self._control.clear_damaged(caller, request.flow, order, reason=request.reason)
            return pb.ClearDamagedResponse(record=damaged_to_wire(done))

    async def StartSwitch(  # noqa: N802
        self,
        request: pb.StartSwitchRequest,
        context: grpc.aio.ServicerContext[pb.StartSwitchRequest, pb.StartSwitchResponse],
    ) -> pb.StartSwitchResponse:
        """Order a switch, or report what it would do; the same request id twice is one order."""
        async with errors_cross(context):
            wanted, caller = switch_request_from_wire(request), self._callers.of(context, request.actor)
            if request.dry_run:
                plan = await self._control.plan_switch(caller, wanted)
                return pb.StartSwitchResponse(plan=plan_to_wire(plan), already=plan.already)
            switch, already = await self._control.start_switch(caller, wanted)
            return pb.StartSwitchResponse(switch=None if switch is None else switch_to_wire(switch), already=already)

    async def GetSwitch(  # noqa: N802
        self,
        request: pb.GetSwitchRequest,
        context: grpc.aio.ServicerContext[pb.GetSwitchRequest, pb.GetSwitchResponse],
    ) -> pb.GetSwitchResponse:
        """Answer with the switches of a flow."""
        async with errors_cross(context):
            switches, sides = await self._control.switches(self._callers.of(context), request.flow, request.sides_of)
            return pb.GetSwitchResponse(
                switches=[switch_to_wire(one) for one in switches],
                sides=None if sides is None else sides_to_wire(sides),
            )

    async def AbortSwitch(  # noqa: N802
        self, request: pb.AbortSwitchRequest, context: grpc.aio.ServicerContext[pb.AbortSwitchRequest, pb.Switch]
    ) -> pb.Switch:
        """Undo the running switch."""
        async with errors_cross(context):
            caller, lost = self._callers.of(context, request.actor), request.target_lost
            return switch_to_wire(
                await self._control.abort_switch(caller, request.flow, reason=request.reason, target_lost=lost)
            )

    async def ConfirmSwitch(  # noqa: N802
        self, request: pb.ConfirmSwitchRequest, context: grpc.aio.ServicerContext[pb.ConfirmSwitchRequest, pb.Switch]
    ) -> pb.Switch:
        """Agree to what a failback found."""
        async with errors_cross(context):
            caller = self._callers.of(context, request.actor)
            return switch_to_wire(await self._control.confirm_switch(caller, request.flow, request.confirm))

    async def Audit(  # noqa: N802
        self, request: pb.AuditRequest, context: grpc.aio.ServicerContext[pb.AuditRequest, pb.AuditResponse]
    ) -> pb.AuditResponse:
        """Answer with the last entries of the audit log."""
        async with errors_cross(context):
            entries = await self._control.entries(self._callers.of(context), request.flow, request.limit)
            return pb.AuditResponse(entries=[audit_to_wire(entry) for entry in entries])

    async def Rehearse(  # noqa: N802
        self, request: pb.RehearseRequest, context: grpc.aio.ServicerContext[pb.RehearseRequest, pb.RehearseResponse]
    ) -> pb.RehearseResponse:
        """Answer with the findings."""
        async with errors_cross(context):
            return report_to_wire(await self._control.rehearse(self._callers.of(context), request.flow))

    async def Events(  # noqa: N802
        self, request: pb.EventsRequest, context: grpc.aio.ServicerContext[pb.EventsRequest, pb.EventsResponse]
    ) -> pb.EventsResponse:
        """Answer with recent events, newest last."""
        async with errors_cross(context):
            topic = request.topic if request.HasField("topic") else None
            events = await self._control.events(self._callers.of(context), request.flow, topic, request.limit)
            return pb.EventsResponse(events=[event_to_wire(event) for event in events])

    async def TranslateOffsets(  # noqa: N802
        self,
        request: pb.TranslateOffsetsRequest,
        context: grpc.aio.ServicerContext[pb.TranslateOffsetsRequest, pb.TranslateOffsetsResponse],
    ) -> pb.TranslateOffsetsResponse:
        """Answer each question in order, or all that a group has committed."""
        async with errors_cross(context):
            found = await self._control.translate(
                self._callers.of(context),
                request.flow,
                _Read(request.questions, question_from_wire),
                group=request.group,
                reverse=request.reverse,
                alone=request.alone,
                uid=request.flow_uid,
            )
            return pb.TranslateOffsetsResponse(translations=[translation_to_wire(each) for each in found])

    async def TranslateTime(  # noqa: N802
        self,
        request: pb.TranslateTimeRequest,
        context: grpc.aio.ServicerContext[pb.TranslateTimeRequest, pb.TranslateOffsetsResponse],
    ) -> pb.TranslateOffsetsResponse:
        """Answer for each requested partition."""
        async with errors_cross(context):
            partition = request.partition if request.HasField("partition") else None
            question = TimeQuestion(request.topic, request.time_ms, partition)
            found = await self._control.translate_time(self._callers.of(context), request.flow, question)
            return pb.TranslateOffsetsResponse(translations=[translation_to_wire(each) for each in found])

    async def ListGroups(  # noqa: N802
        self,
        request: pb.ListGroupsRequest,
        context: grpc.aio.ServicerContext[pb.ListGroupsRequest, pb.ListGroupsResponse],
    ) -> pb.ListGroupsResponse:
        """Answer with the groups of a flow, without partitions."""
        async with errors_cross(context):
            groups, detail = await self._control.groups(self._callers.of(context), request.flow)
            bare = [group_to_wire(replace(group, partitions=())) for group in groups]
            return pb.ListGroupsResponse(groups=bare, detail=detail)

    async def DescribeGroup(  # noqa: N802
        self,
        request: pb.DescribeGroupRequest,
        context: grpc.aio.ServicerContext[pb.DescribeGroupRequest, pb.DescribeGroupResponse],
    ) -> pb.DescribeGroupResponse:
        """Answer with one group and its partitions."""
        async with errors_cross(context):
            group = await self._control.group(self._callers.of(context), request.flow, request.group)
            return pb.DescribeGroupResponse(group=group_to_wire(group))


class _Read(Sequence[_Value]):
    """Values of a message, built when they are read: for a caller who may not ask, none is."""

    def __init__(self, messages: Sequence[Any], value_of: Callable[[Any], _Value]) -> None:
        self._messages = messages
        self._value_of = value_of

    def __len__(self) -> int:
        return len(self._messages)

    @overload
    def __getitem__(self, at: int) -> _Value: ...

    @overload
    def __getitem__(self, at: slice) -> list[_Value]: ...

    def __getitem__(self, at: int | slice) -> _Value | list[_Value]:
        if isinstance(at, slice):
            return [self._value_of(message) for message in self._messages[at]]
        return self._value_of(self._messages[at])


def interval_of(wanted_seconds: float) -> float:
    """Return how long a watch rests between two answers."""
    if math.isnan(wanted_seconds):  # neither above nor below any bound; as a timer it breaks the order of the others
        return _WATCH_SECONDS_DEFAULT
    return min(max(wanted_seconds or _WATCH_SECONDS_DEFAULT, _WATCH_SECONDS_MIN), _WATCH_SECONDS_MAX)
