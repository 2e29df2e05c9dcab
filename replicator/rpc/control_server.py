"""The control service: what daemons tell, and the orders they take."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections import OrderedDict
from collections.abc import AsyncIterator
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import grpc.aio

from replicator.control.access import Access
from replicator.control.audited import AuditPort, audited, refused
from replicator.control.port import QUESTIONS_MAX, ControlPort, find_flow, find_group, find_mirror
from replicator.control.turns import Turns
from replicator.errors import AccessDenied, Conflict, UsageError
from replicator.model.access import AccessRole
from replicator.model.audit import AuditEntry, Phase
from replicator.model.events import Desired
from replicator.model.status import DaemonStatus, FlowStatus
from replicator.model.switch import Verb
from replicator.model.text import said
from replicator.model.translation import TimeQuestion
from replicator.model.units import TIME_MS_MAX
from replicator.rpc.convert import (
    audit_to_wire,
    clearing_from_wire,
    damage_to_wire,
    damaged_to_wire,
    desired_from_wire,
    event_to_wire,
    forgotten_to_wire,
    group_to_wire,
    order_from_wire,
    question_from_wire,
    report_to_wire,
    resolution_to_wire,
    status_to_wire,
    translation_to_wire,
)
from replicator.rpc.convert_switch import plan_to_wire, sides_to_wire, switch_order_from_wire, switch_to_wire
from replicator.rpc.crossing import errors_cross
from replicator.rpc.v1 import control_pb2 as pb
from replicator.rpc.v1 import control_pb2_grpc

if TYPE_CHECKING:
    from replicator.rpc.callers import Callers, Context

_REMEMBERED_REQUESTS_MAX = 1024
_EVENTS_DEFAULT = 50
_EVENTS_MAX = 1000
_KEY_CHARS_MAX = 1200
"""Of a record's key in hex, in the audit log; those of groups may be longer."""
_WATCH_SECONDS_DEFAULT = 2.0
_WATCH_SECONDS_MIN = 0.5
_WATCH_SECONDS_MAX = 3600.0


class ControlServicer(control_pb2_grpc.ControlServicer):
    """The methods of the service; each turns messages into model values and calls the port."""

    def __init__(
        self, control: ControlPort, audit: AuditPort, *, access: Access, callers: Callers, stopping: asyncio.Event
    ) -> None:
        self._callers = callers
        self._control = control
        self._audit = audit
        self._access = access
        self._stopping = stopping
        self._turns = Turns()
        self._answered: OrderedDict[tuple[str, str, int], bool] = OrderedDict()

    async def ListFlows(  # noqa: N802  # gRPC's name
        self,
        request: pb.ListFlowsRequest,
        context: grpc.aio.ServicerContext[pb.ListFlowsRequest, pb.ListFlowsResponse],
    ) -> pb.ListFlowsResponse:
        """Answer with the flows, without mirrors."""
        del request
        async with errors_cross(context):
            status = await self._whole(context, "")
            bare = tuple(replace(flow, mirrors=()) for flow in status.flows)
            return pb.ListFlowsResponse(status=status_to_wire(replace(status, flows=bare)))

    async def GetStatus(  # noqa: N802
        self,
        request: pb.GetStatusRequest,
        context: grpc.aio.ServicerContext[pb.GetStatusRequest, pb.GetStatusResponse],
    ) -> pb.GetStatusResponse:
        """Answer with one snapshot."""
        async with errors_cross(context):
            find = self._selected if request.alone else self._whole
            status = await find(context, request.flow, request.flow_uid)
            return pb.GetStatusResponse(status=await asyncio.to_thread(status_to_wire, status))

    async def WatchStatus(  # noqa: N802
        self,
        request: pb.WatchStatusRequest,
        context: grpc.aio.ServicerContext[pb.WatchStatusRequest, pb.WatchStatusResponse],
    ) -> AsyncIterator[pb.WatchStatusResponse]:
        """Send a snapshot per interval until the caller or this server goes away."""
        interval_seconds = interval_of(request.interval_seconds)
        async with errors_cross(context):
            while not self._stopping.is_set():
                status = await self._whole(context, request.flow)
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
            desired = desired_from_wire(request.desired)
            entry = AuditEntry(0, "", Phase.INTENT, method="SetDesired", flow=request.flow, reason=request.reason)
            entry = replace(entry, after=desired.value)
            entry = await self._identified(context, request.actor, entry)
            return pb.SetDesiredResponse(changed=await self._set_desired(context, request, desired, entry))

    async def ResolveMirror(  # noqa: N802
        self,
        request: pb.ResolveMirrorRequest,
        context: grpc.aio.ServicerContext[pb.ResolveMirrorRequest, pb.ResolveMirrorResponse],
    ) -> pb.ResolveMirrorResponse:
        """Resolve a fault; one that was resolved before is answered with nothing to do."""
        async with errors_cross(context):
            entry = AuditEntry(0, "", Phase.INTENT, method="ResolveMirror", flow=request.flow, topic=request.topic)
            entry = await self._identified(context, request.actor, replace(entry, reason=request.reason))
            order = order_from_wire(request, entry.actor)
            if request.dry_run:
                await self._mirror(request)
                told = await self._control.resolve(request.flow, order, dry_run=True, alone=request.alone)
                return resolution_to_wire(told)
            async with self._turn(context, entry, "mirror", request.flow, request.topic):
                before = await self._mirror(request)
                async with audited(self._audit, replace(entry, before=before, after=order.how)) as change:
                    done = await self._control.resolve(request.flow, order, dry_run=False, alone=request.alone)
                    change.after = "; ".join([order.how, *map(str, done.losses)]) if done.reasons else "nothing to do"
            return resolution_to_wire(done)

    async def _mirror(self, request: pb.ResolveMirrorRequest) -> str:
        """Return the state of the mirror that is meant, in words."""
        flow = find_flow(await self._control.snapshot(), request.flow, request.flow_uid)
        _check_epoch(flow, request)
        mirror = find_mirror(flow, request.topic)
        return f"{mirror.state}{f' ({mirror.reason})' if mirror.reason else ''}"

    async def Forget(  # noqa: N802
        self,
        request: pb.ForgetRequest,
        context: grpc.aio.ServicerContext[pb.ForgetRequest, pb.ForgetResponse],
    ) -> pb.ForgetResponse:
        """Remove the records of a mirror or a flow; what was removed before is answered with nothing to do."""
        async with errors_cross(context):
            entry = AuditEntry(0, "", Phase.INTENT, method="Forget", flow=request.flow, topic=request.topic)
            entry = replace(entry, reason=request.reason)
            entry = await self._identified(context, request.actor, entry)
            forget = partial(
                self._control.forget,
                request.flow,
                request.topic or None,
                may=lambda name: self._may(context, name, AccessRole.OPERATE),
            )
            if request.dry_run:
                return forgotten_to_wire(await forget(dry_run=True))
            async with (
                self._turn(context, entry, "forget", request.flow, request.topic),
                audited(self._audit, replace(entry, after="forgotten")) as change,
            ):
                done = await forget(dry_run=False)
                change.after = f"{done.records} records removed" if done.records else "nothing to do"
            return forgotten_to_wire(done)

    async def Damaged(  # noqa: N802
        self,
        request: pb.DamagedRequest,
        context: grpc.aio.ServicerContext[pb.DamagedRequest, pb.DamagedResponse],
    ) -> pb.DamagedResponse:
        """Answer with the records of a flow that cannot be read; its topics are read for one caller at a time."""
        async with errors_cross(context):
            self._access.check_known(self._callers.of(context))
            async with self._turns.of("damaged", who="a look at what is damaged", seconds=context.time_remaining()):
                found = await self._control.damaged(
                    request.flow, may=lambda name: self._may(context, name, AccessRole.OBSERVE)
                )
            return damage_to_wire(found)

    async def ClearDamaged(  # noqa: N802
        self,
        request: pb.ClearDamagedRequest,
        context: grpc.aio.ServicerContext[pb.ClearDamagedRequest, pb.ClearDamagedResponse],
    ) -> pb.ClearDamagedResponse:
        """Clear one of them."""
        async with errors_cross(context):
            order = clearing_from_wire(request)
            entry = AuditEntry(0, "", Phase.INTENT, method="ClearDamaged", flow=request.flow, reason=request.reason)
            entry = await self._identified(context, request.actor, entry)
            entry = replace(
                entry,
                before=f"record {said(order.key, _KEY_CHARS_MAX)} at offset {order.offset} on {said(order.cluster)}",
            )
            async with (
                self._turn(context, entry, "clear", request.flow),
                audited(self._audit, replace(entry, after="cleared")) as change,
            ):
                done = await self._control.clear_damaged(
                    request.flow, order, may=lambda name: self._may(context, name, AccessRole.OPERATE)
                )
                change.after = f"{done.what} cleared"
            return pb.ClearDamagedResponse(record=damaged_to_wire(done))

    def _may(self, context: Context, flow: str | None, role: AccessRole) -> None:
        """Return if the caller has a role for the flow of that name, or for all of them.

        Raises:
            AccessDenied: It has not.
        """
        self._access.check(self._callers.of(context), flow, role)

    async def StartSwitch(  # noqa: N802
        self,
        request: pb.StartSwitchRequest,
        context: grpc.aio.ServicerContext[pb.StartSwitchRequest, pb.StartSwitchResponse],
    ) -> pb.StartSwitchResponse:
        """Order a switch, or tell what it would do; the same request id twice is one order."""
        async with errors_cross(context):
            entry = AuditEntry(0, "", Phase.INTENT, method="StartSwitch", flow=request.flow, reason=request.reason)
            role = AccessRole.FAILOVER if request.verb == Verb.FAILOVER else AccessRole.OPERATE
            entry = await self._identified(context, request.actor, entry, role)
            order = switch_order_from_wire(request, entry.actor)
            other = self._control.reverse_of(request.flow) if _turns_both(request) else ""
            if other:  # it is changed as well: it begins to copy, or is switched over
                await self._identified(context, request.actor, replace(entry, flow=other))
            if request.dry_run:
                await self._at_epoch(request)
                plan = await self._control.plan_switch(request.flow, order)
                return pb.StartSwitchResponse(plan=plan_to_wire(plan), already=plan.already)
            # By verb: a switchover that waits for a source which has just died must not hold up the failover.
            async with self._turn(context, entry, "switch", request.flow, request.verb):
                before = (await self._at_epoch(request)).state
                async with audited(self._audit, replace(entry, before=before, after=order.verb)) as change:
                    switch, already = await self._control.start_switch(request.flow, order)
                    change.after = "nothing to do" if already or switch is None else f"{order.verb} {switch.id} ordered"
            return pb.StartSwitchResponse(switch=None if switch is None else switch_to_wire(switch), already=already)

    async def _at_epoch(self, request: pb.StartSwitchRequest) -> FlowStatus:
        flow = find_flow(await self._control.snapshot(), request.flow)
        _check_epoch(flow, request)
        return flow

    async def GetSwitch(  # noqa: N802
        self,
        request: pb.GetSwitchRequest,
        context: grpc.aio.ServicerContext[pb.GetSwitchRequest, pb.GetSwitchResponse],
    ) -> pb.GetSwitchResponse:
        """Answer with the switches of a flow."""
        async with errors_cross(context):
            await self._flow(context, request.flow)
            sides = await self._control.both_sides(request.flow, request.sides_of) if request.sides_of else None
            return pb.GetSwitchResponse(
                switches=[switch_to_wire(one) for one in self._control.switches(request.flow)],
                sides=None if sides is None else sides_to_wire(sides),
            )

    async def AbortSwitch(  # noqa: N802
        self, request: pb.AbortSwitchRequest, context: grpc.aio.ServicerContext[pb.AbortSwitchRequest, pb.Switch]
    ) -> pb.Switch:
        """Undo the running switch."""
        async with errors_cross(context):
            entry = AuditEntry(0, "", Phase.INTENT, method="AbortSwitch", flow=request.flow, reason=request.reason)
            role = AccessRole.FAILOVER if request.target_lost else AccessRole.OPERATE
            entry = await self._identified(context, request.actor, entry, role)
            async with self._turn(context, entry, "switch", request.flow, entry.method):
                flow = find_flow(await self._control.snapshot(), request.flow)
                wanted = "open the source again" if request.target_lost else "abort"
                async with audited(self._audit, replace(entry, before=flow.state, after=wanted)) as change:
                    why = f"{entry.actor}: {request.reason}" if request.reason else f"ordered by {entry.actor}"
                    switch = await self._control.abort_switch(request.flow, why, target_lost=request.target_lost)
                    change.after = f"{switch.verb} {switch.id}: {switch.direction}, {switch.outcome}"
                return switch_to_wire(switch)

    async def ConfirmSwitch(  # noqa: N802
        self, request: pb.ConfirmSwitchRequest, context: grpc.aio.ServicerContext[pb.ConfirmSwitchRequest, pb.Switch]
    ) -> pb.Switch:
        """Agree to what a failback found."""
        async with errors_cross(context):
            entry = AuditEntry(0, "", Phase.INTENT, method="ConfirmSwitch", flow=request.flow)
            entry = await self._identified(context, request.actor, entry)
            async with self._turn(context, entry, "switch", request.flow, entry.method):
                flow = find_flow(await self._control.snapshot(), request.flow)
                async with audited(self._audit, replace(entry, before=flow.state, after=request.confirm)) as change:
                    switch = await self._control.confirm_switch(request.flow, request.confirm)
                    change.after = "; ".join(f"{one.topic}: {one.how}" for one in switch.restorations)
                return switch_to_wire(switch)

    async def Audit(  # noqa: N802
        self, request: pb.AuditRequest, context: grpc.aio.ServicerContext[pb.AuditRequest, pb.AuditResponse]
    ) -> pb.AuditResponse:
        """Answer with the last entries of the audit log."""
        async with errors_cross(context):
            if request.flow:
                self._access.check(self._callers.of(context), request.flow, AccessRole.OBSERVE)
            else:
                self._access.check_known(self._callers.of(context))
            sees = self._access.sees(self._callers.of(context))
            limit = min(max(request.limit, 0) or _EVENTS_DEFAULT, _EVENTS_MAX)
            entries = await asyncio.to_thread(
                self._audit.recent, lambda flow: request.flow in {"", flow} and sees(flow), limit
            )
            return pb.AuditResponse(entries=[audit_to_wire(entry) for entry in entries])

    async def Rehearse(  # noqa: N802
        self, request: pb.RehearseRequest, context: grpc.aio.ServicerContext[pb.RehearseRequest, pb.RehearseResponse]
    ) -> pb.RehearseResponse:
        """Answer with the findings."""
        async with errors_cross(context):
            await self._flow(context, request.flow)
            return report_to_wire(await self._control.rehearse(request.flow))

    async def Events(  # noqa: N802
        self, request: pb.EventsRequest, context: grpc.aio.ServicerContext[pb.EventsRequest, pb.EventsResponse]
    ) -> pb.EventsResponse:
        """Answer with recent events, newest last."""
        async with errors_cross(context):
            await self._flow(context, request.flow)
            limit = min(max(request.limit, 0) or _EVENTS_DEFAULT, _EVENTS_MAX)
            topic = request.topic if request.HasField("topic") else None
            events = await asyncio.to_thread(self._control.events, request.flow, topic, limit)
            return pb.EventsResponse(events=[event_to_wire(event) for event in events])

    async def TranslateOffsets(  # noqa: N802
        self,
        request: pb.TranslateOffsetsRequest,
        context: grpc.aio.ServicerContext[pb.TranslateOffsetsRequest, pb.TranslateOffsetsResponse],
    ) -> pb.TranslateOffsetsResponse:
        """Answer each question in order, or all that a group has committed."""
        async with errors_cross(context):
            await self._flow(context, request.flow, request.flow_uid)
            if bool(request.group) == bool(request.questions) or len(request.questions) > QUESTIONS_MAX:
                raise UsageError(
                    f"a call takes one group, or 1 to {QUESTIONS_MAX:,} questions",
                    why=f"it has {len(request.questions):,} questions" + (" and a group" if request.group else ""),
                )
            if request.group:
                found = await self._control.translate_group(request.flow, request.group, reverse=request.reverse)
            else:
                questions = [question_from_wire(question) for question in request.questions]
                found = await self._control.translate(
                    request.flow, questions, reverse=request.reverse, alone=request.alone
                )
            return pb.TranslateOffsetsResponse(translations=[translation_to_wire(each) for each in found])

    async def TranslateTime(  # noqa: N802
        self,
        request: pb.TranslateTimeRequest,
        context: grpc.aio.ServicerContext[pb.TranslateTimeRequest, pb.TranslateOffsetsResponse],
    ) -> pb.TranslateOffsetsResponse:
        """Answer for each partition that is asked about."""
        async with errors_cross(context):
            await self._flow(context, request.flow)
            if not 0 <= request.time_ms <= TIME_MS_MAX:
                raise UsageError(
                    f"{request.time_ms} is not a time", why="it is counted in ms from 1970, up to year 9999"
                )
            partition = request.partition if request.HasField("partition") else None
            question = TimeQuestion(request.topic, request.time_ms, partition)
            found = await self._control.translate_time(request.flow, question)
            return pb.TranslateOffsetsResponse(translations=[translation_to_wire(each) for each in found])

    async def ListGroups(  # noqa: N802
        self,
        request: pb.ListGroupsRequest,
        context: grpc.aio.ServicerContext[pb.ListGroupsRequest, pb.ListGroupsResponse],
    ) -> pb.ListGroupsResponse:
        """Answer with the groups of a flow, without partitions."""
        async with errors_cross(context):
            await self._flow(context, request.flow)
            groups, detail = self._control.groups(request.flow)
            bare = [group_to_wire(replace(group, partitions=())) for group in groups]
            return pb.ListGroupsResponse(groups=bare, detail=detail)

    async def DescribeGroup(  # noqa: N802
        self,
        request: pb.DescribeGroupRequest,
        context: grpc.aio.ServicerContext[pb.DescribeGroupRequest, pb.DescribeGroupResponse],
    ) -> pb.DescribeGroupResponse:
        """Answer with one group and its partitions."""
        async with errors_cross(context):
            await self._flow(context, request.flow)
            groups, _ = self._control.groups(request.flow)
            return pb.DescribeGroupResponse(group=group_to_wire(find_group(request.flow, groups, request.group)))

    async def _flow(self, context: Context, name: str, uid: str = "") -> FlowStatus:
        """Return a flow that the caller may look at; those that it may not are not even offered by name.

        Raises:
            AccessDenied: It may not look at this one.
            UsageError: There is none of that name.
            Conflict: The flow of that name is another one.
        """
        self._access.check(self._callers.of(context), name, AccessRole.OBSERVE)
        return find_flow(self._access.visible(self._callers.of(context), await self._control.snapshot()), name, uid)

    async def _whole(self, context: Context, flow: str, uid: str = "") -> DaemonStatus:
        """Return what the caller may see of one flow or all (empty), with what other daemons tell."""
        if flow:
            self._access.check(self._callers.of(context), flow, AccessRole.OBSERVE)
        status = self._access.visible(self._callers.of(context), await self._control.whole_snapshot(flow or None))
        if flow:
            find_flow(
                status
                if status.flows
                else self._access.visible(self._callers.of(context), await self._control.snapshot()),
                flow,
                uid,
            )
        return status

    async def _selected(self, context: Context, flow: str, uid: str = "") -> DaemonStatus:
        """Return what this daemon alone knows of the same."""
        if flow:
            self._access.check(self._callers.of(context), flow, AccessRole.OBSERVE)
        status = self._access.visible(self._callers.of(context), await self._control.snapshot())
        return replace(status, flows=(find_flow(status, flow, uid),)) if flow else status

    def _turn(self, context: Context, entry: AuditEntry, *what: str) -> contextlib.AbstractAsyncContextManager[None]:
        return self._turns.of(*what, who=f"{entry.method} by {entry.actor}", seconds=context.time_remaining())

    async def _identified(
        self, context: Context, claimed: str, entry: AuditEntry, role: AccessRole = AccessRole.OPERATE
    ) -> AuditEntry:
        """Return the entry with who asks, if he may.

        Raises:
            AccessDenied: The caller cannot be identified, or may not do this; that is written down, at most so often.
        """
        caller = self._callers.of(context, claimed)
        entry = replace(entry, peer=caller.peer)
        try:
            actor = self._access.check(caller, entry.flow, role)
        except AccessDenied as error:
            party = self._access.party(caller)
            left_out = self._access.refusals.told(party, entry.method)
            if left_out is not None:
                await refused(self._audit, replace(entry, actor=party, actor_known_by=""), error, left_out)
            raise
        return replace(entry, actor=actor.name, actor_known_by=actor.known_by)

    async def _set_desired(
        self, context: Context, request: pb.SetDesiredRequest, desired: Desired, entry: AuditEntry
    ) -> bool:
        # One change at a time: a repeat that overtakes its first answer must find that answer.
        async with self._turn(context, entry, "desired", request.flow):
            key = (request.request_id, request.flow, request.desired)
            if request.request_id and key in self._answered:
                return self._answered[key]
            flow = find_flow(await self._control.snapshot(), request.flow)
            _check_epoch(flow, request)
            async with audited(self._audit, replace(entry, before=flow.state)):
                changed = await self._control.set_desired(
                    request.flow, desired, actor=entry.actor, reason=request.reason
                )
            if request.request_id:
                self._answered[key] = changed
                while len(self._answered) > _REMEMBERED_REQUESTS_MAX:
                    self._answered.popitem(last=False)
            return changed


def interval_of(wanted_seconds: float) -> float:
    """Return how long a watch rests between two answers."""
    if math.isnan(wanted_seconds):  # neither above nor below any bound, and a timer that spoils the order of the others
        return _WATCH_SECONDS_DEFAULT
    return min(max(wanted_seconds or _WATCH_SECONDS_DEFAULT, _WATCH_SECONDS_MIN), _WATCH_SECONDS_MAX)


def _turns_both(request: pb.StartSwitchRequest) -> bool:
    """Return whether a switch changes the reverse flow as well."""
    return request.reverse or request.verb == Verb.FAILBACK


def _check_epoch(
    flow: FlowStatus, request: pb.SetDesiredRequest | pb.ResolveMirrorRequest | pb.StartSwitchRequest
) -> None:
    if request.HasField("expected_epoch") and request.expected_epoch != flow.epoch:
        raise Conflict(
            f"flow {flow.flow!r} is at epoch {flow.epoch}, not {request.expected_epoch}",
            why="someone changed who may write meanwhile",
            next_step=f"look at `replicator flow status {flow.flow}` and decide again",
        )
