"""The gRPC server of a daemon."""

from __future__ import annotations

import asyncio
import contextlib
from collections import OrderedDict
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import Any

import grpc
import grpc.aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from replicator.errors import ConfigError, Conflict, PreflightFailed, ReplicatorError, UsageError
from replicator.model.access import AccessRole, AccessRule
from replicator.model.audit import AuditEntry, Phase
from replicator.model.events import Desired
from replicator.model.spec import TlsSpec
from replicator.model.status import DaemonStatus, FlowStatus
from replicator.model.switch import Verb
from replicator.model.translation import TimeQuestion
from replicator.model.units import TIME_MS_MAX, format_address, is_loopback
from replicator.rpc.access import Access, identities
from replicator.rpc.audited import AuditPort, audited, peer_of, refused
from replicator.rpc.certificates import CertificateSource
from replicator.rpc.convert import (
    audit_to_wire,
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
from replicator.rpc.lease_port import LeasePort
from replicator.rpc.lease_server import LEASE_SERVICE, LeaseServicer
from replicator.rpc.port import QUESTIONS_MAX, ControlPort, find_flow, find_group, find_mirror
from replicator.rpc.v1 import control_pb2 as pb
from replicator.rpc.v1 import control_pb2_grpc, lease_pb2_grpc

SERVICE = "replicator.rpc.v1.Control"

_REQUEST_BYTES_MAX = 1 << 20
_ANSWER_BYTES_MAX = 64 << 20
_STREAMS_PER_CONNECTION_MAX = 32
_CALLS_MAX = 128
_REMEMBERED_REQUESTS_MAX = 1024
_EVENTS_DEFAULT = 50
_EVENTS_MAX = 1000
_WATCH_SECONDS_DEFAULT = 2.0
_WATCH_SECONDS_MIN = 0.5
_WATCH_SECONDS_MAX = 3600.0

_OPTIONS: list[tuple[str, Any]] = [
    ("grpc.max_receive_message_length", _REQUEST_BYTES_MAX),
    ("grpc.max_send_message_length", _ANSWER_BYTES_MAX),
    ("grpc.max_concurrent_streams", _STREAMS_PER_CONNECTION_MAX),
    # Two daemons on one port would otherwise share its connections without a word.
    ("grpc.so_reuseport", 0),
]


class RpcServer:
    """Control and lease services, health and reflection on one port.

    Plain text is served on loopback only. With TLS and a client CA every caller needs a certificate, and is
    the actor named in it. With TLS but no client CA, callers from other machines can read only.
    Changes are written to `audit`; without `control` and `audit` only leases are served. With a client CA `rules` say
    who may do what; nobody may anything else.
    """

    def __init__(
        self,
        control: ControlPort | None,
        audit: AuditPort | None,
        *,
        host: str,
        port: int,
        tls: TlsSpec | None = None,
        leases: LeasePort | None = None,
        rules: Sequence[AccessRule] = (),
    ) -> None:
        mutual_tls = tls is not None and tls.ca_file is not None
        self.access = Access(rules, mutual_tls=mutual_tls, may_change=mutual_tls or is_loopback(host))
        self._control = control
        self._audit = audit
        self._leases = leases
        self._host = host
        self._port = port
        self._tls = tls
        self._server: grpc.aio.Server | None = None
        self._health: Any = None
        self._stopping = asyncio.Event()

    async def start(self) -> int:
        """Start to listen; return the port, which the system chose if 0 was asked for.

        Raises:
            ConfigError: Plain text off loopback, or certificates that cannot be used.
            ReplicatorError: The address cannot be listened on.
        """
        server = grpc.aio.server(options=_OPTIONS, maximum_concurrent_rpcs=_CALLS_MAX)
        services = self._add_services(server)
        self._health = health.aio.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        reflection.enable_server_reflection((*services, health.SERVICE_NAME, reflection.SERVICE_NAME), server)
        port = self._listen(server)
        for service in services:
            await self._health.set(service, health_pb2.HealthCheckResponse.SERVING)
        await server.start()
        self._server = server
        return port

    def _add_services(self, server: grpc.aio.Server) -> list[str]:
        services = []
        if self._control is not None and self._audit is not None:
            servicer = ControlServicer(self._control, self._audit, access=self.access, stopping=self._stopping)
            control_pb2_grpc.add_ControlServicer_to_server(servicer, server)
            services.append(SERVICE)
        if self._leases is not None:
            lease_pb2_grpc.add_LeaseServicer_to_server(LeaseServicer(self._leases, self.access, self._stopping), server)
            services.append(LEASE_SERVICE)
        return services

    async def stop(self, grace_seconds: float = 2.0) -> None:
        """End watches, let other calls finish within the grace, and close."""
        if self._server is None:
            return
        self._stopping.set()
        await self._health.enter_graceful_shutdown()
        await self._server.stop(grace_seconds)
        self._server = None

    def _listen(self, server: grpc.aio.Server) -> int:
        address = format_address((self._host, self._port))
        if self._tls is None and not is_loopback(self._host):
            raise ConfigError(
                f"rpc on {address} without TLS is refused",
                why="anyone on the network could pause or fail over flows",
                next_step="set daemon.tls, or let daemon.rpc listen on 127.0.0.1",
            )
        try:
            if self._tls is None:
                return server.add_insecure_port(address)
            return server.add_secure_port(address, CertificateSource(self._tls).credentials())
        except RuntimeError as error:
            raise ReplicatorError(
                f"cannot listen on {address} for rpc",
                why="the address is in use, or not one of this machine",
                next_step="stop the other process, or change daemon.rpc",
            ) from error


class ControlServicer(control_pb2_grpc.ControlServicer):
    """The methods of the service; each turns messages into model values and calls the port."""

    def __init__(self, control: ControlPort, audit: AuditPort, *, access: Access, stopping: asyncio.Event) -> None:
        self._control = control
        self._audit = audit
        self._access = access
        self._stopping = stopping
        self._changing = asyncio.Lock()
        self._forgetting = asyncio.Lock()
        self._answered: OrderedDict[tuple[str, str, int], bool] = OrderedDict()

    async def ListFlows(  # noqa: N802  # gRPC's name
        self,
        request: pb.ListFlowsRequest,
        context: grpc.aio.ServicerContext[pb.ListFlowsRequest, pb.ListFlowsResponse],
    ) -> pb.ListFlowsResponse:
        """Answer with the flows, without mirrors."""
        del request
        async with errors_cross(context):
            status = self._access.visible(context, await self._whole(""))
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
            self._may_observe(context, request.flow)
            status = self._access.visible(context, await find(request.flow, request.flow_uid))
            return pb.GetStatusResponse(status=status_to_wire(status))

    async def WatchStatus(  # noqa: N802
        self,
        request: pb.WatchStatusRequest,
        context: grpc.aio.ServicerContext[pb.WatchStatusRequest, pb.WatchStatusResponse],
    ) -> AsyncIterator[pb.WatchStatusResponse]:
        """Send a snapshot per interval until the caller or this server goes away."""
        wanted = request.interval_seconds or _WATCH_SECONDS_DEFAULT
        interval_seconds = min(max(wanted, _WATCH_SECONDS_MIN), _WATCH_SECONDS_MAX)
        async with errors_cross(context):
            self._may_observe(context, request.flow)
            while not self._stopping.is_set():
                status = self._access.visible(context, await self._whole(request.flow))
                yield pb.WatchStatusResponse(status=status_to_wire(status))
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
            entry = await self._identified(context, request.actor, entry, AccessRole.OPERATE)
            return pb.SetDesiredResponse(changed=await self._set_desired(request, desired, entry))

    async def ResolveMirror(  # noqa: N802
        self,
        request: pb.ResolveMirrorRequest,
        context: grpc.aio.ServicerContext[pb.ResolveMirrorRequest, pb.ResolveMirrorResponse],
    ) -> pb.ResolveMirrorResponse:
        """Resolve a fault; one that was resolved before is answered with nothing to do."""
        async with errors_cross(context):
            entry = AuditEntry(0, "", Phase.INTENT, method="ResolveMirror", flow=request.flow, topic=request.topic)
            # A daemon passes an order on to the one that copies what stands still.
            roles = (AccessRole.OPERATE, *((AccessRole.REPLICATE,) if request.alone else ()))
            entry = await self._identified(context, request.actor, replace(entry, reason=request.reason), *roles)
            order = order_from_wire(request, entry.actor)
            async with self._changing:
                flow = find_flow(self._control.snapshot(), request.flow, request.flow_uid)
                mirror = find_mirror(flow, request.topic)
                _check_epoch(flow, request)
                if request.dry_run:
                    return resolution_to_wire(
                        await self._control.resolve(request.flow, order, dry_run=True, alone=request.alone)
                    )
                before = f"{mirror.state}{f' ({mirror.reason})' if mirror.reason else ''}"
                async with audited(self._audit, replace(entry, before=before, after=order.how)) as change:
                    done = await self._control.resolve(request.flow, order, dry_run=False, alone=request.alone)
                    change.after = "; ".join([order.how, *map(str, done.losses)]) if done.reasons else "nothing to do"
                return resolution_to_wire(done)

    async def Forget(  # noqa: N802
        self,
        request: pb.ForgetRequest,
        context: grpc.aio.ServicerContext[pb.ForgetRequest, pb.ForgetResponse],
    ) -> pb.ForgetResponse:
        """Remove the records of a mirror or a flow; what was removed before is answered with nothing to do."""
        async with errors_cross(context):
            entry = AuditEntry(0, "", Phase.INTENT, method="Forget", flow=request.flow, topic=request.topic)
            entry = replace(entry, reason=request.reason)
            entry = await self._identified(context, request.actor, entry, AccessRole.OPERATE)
            topic = request.topic or None
            # It watches for signs of life for a minute and more, which no other order may wait for; and it needs no
            # answer of another: each of its changes is judged by its own compare-and-set.
            async with self._forgetting:
                if request.dry_run:
                    return forgotten_to_wire(await self._control.forget(request.flow, topic, dry_run=True))
                async with audited(self._audit, replace(entry, after="forgotten")) as change:
                    done = await self._control.forget(request.flow, topic, dry_run=False)
                    change.after = f"{done.records} records removed" if done.records else "nothing to do"
                return forgotten_to_wire(done)

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
            async with self._changing:
                flow = find_flow(self._control.snapshot(), request.flow)
                _check_epoch(flow, request)
                if request.dry_run:
                    plan = await self._control.plan_switch(request.flow, order)
                    return pb.StartSwitchResponse(plan=plan_to_wire(plan), already=plan.already)
                async with audited(self._audit, replace(entry, before=flow.state, after=order.verb)) as change:
                    switch, already = await self._control.start_switch(request.flow, order)
                    change.after = "nothing to do" if already or switch is None else f"{order.verb} {switch.id} ordered"
                return pb.StartSwitchResponse(
                    switch=None if switch is None else switch_to_wire(switch), already=already
                )

    async def GetSwitch(  # noqa: N802
        self,
        request: pb.GetSwitchRequest,
        context: grpc.aio.ServicerContext[pb.GetSwitchRequest, pb.GetSwitchResponse],
    ) -> pb.GetSwitchResponse:
        """Answer with the switches of a flow."""
        async with errors_cross(context):
            self._may_observe(context, request.flow)
            find_flow(self._control.snapshot(), request.flow)
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
            async with self._changing:
                flow = find_flow(self._control.snapshot(), request.flow)
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
            entry = await self._identified(context, request.actor, entry, AccessRole.OPERATE)
            async with self._changing:
                flow = find_flow(self._control.snapshot(), request.flow)
                async with audited(self._audit, replace(entry, before=flow.state, after=request.confirm)) as change:
                    switch = await self._control.confirm_switch(request.flow, request.confirm)
                    change.after = "; ".join(f"{one.topic}: {one.how}" for one in switch.restorations)
                return switch_to_wire(switch)

    async def Audit(  # noqa: N802
        self, request: pb.AuditRequest, context: grpc.aio.ServicerContext[pb.AuditRequest, pb.AuditResponse]
    ) -> pb.AuditResponse:
        """Answer with the last entries of the audit log."""
        async with errors_cross(context):
            self._may_observe(context, request.flow)
            limit = min(max(request.limit, 0) or _EVENTS_DEFAULT, _EVENTS_MAX)
            entries = await asyncio.to_thread(self._audit.recent, request.flow or None, limit)
            return pb.AuditResponse(entries=[audit_to_wire(entry) for entry in entries])

    async def Rehearse(  # noqa: N802
        self, request: pb.RehearseRequest, context: grpc.aio.ServicerContext[pb.RehearseRequest, pb.RehearseResponse]
    ) -> pb.RehearseResponse:
        """Answer with the findings."""
        async with errors_cross(context):
            self._may_observe(context, request.flow)
            find_flow(self._control.snapshot(), request.flow)
            return report_to_wire(await self._control.rehearse(request.flow))

    async def Events(  # noqa: N802
        self, request: pb.EventsRequest, context: grpc.aio.ServicerContext[pb.EventsRequest, pb.EventsResponse]
    ) -> pb.EventsResponse:
        """Answer with recent events, newest last."""
        async with errors_cross(context):
            self._may_observe(context, request.flow)
            find_flow(self._control.snapshot(), request.flow)
            limit = min(max(request.limit, 0) or _EVENTS_DEFAULT, _EVENTS_MAX)
            topic = request.topic if request.HasField("topic") else None
            events = self._control.events(request.flow, topic, limit)
            return pb.EventsResponse(events=[event_to_wire(event) for event in events])

    async def TranslateOffsets(  # noqa: N802
        self,
        request: pb.TranslateOffsetsRequest,
        context: grpc.aio.ServicerContext[pb.TranslateOffsetsRequest, pb.TranslateOffsetsResponse],
    ) -> pb.TranslateOffsetsResponse:
        """Answer each question in order, or all that a group has committed."""
        async with errors_cross(context):
            self._may_observe(context, request.flow)
            find_flow(self._control.snapshot(), request.flow, request.flow_uid)
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
            self._may_observe(context, request.flow)
            find_flow(self._control.snapshot(), request.flow)
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
            self._may_observe(context, request.flow)
            find_flow(self._control.snapshot(), request.flow)
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
            self._may_observe(context, request.flow)
            find_flow(self._control.snapshot(), request.flow)
            groups, _ = self._control.groups(request.flow)
            return pb.DescribeGroupResponse(group=group_to_wire(find_group(request.flow, groups, request.group)))

    def _may_observe(self, context: grpc.aio.ServicerContext[Any, Any], flow: str) -> None:
        """Return if the caller may look at a flow; of a call about all of them what it may not see is left out.

        Raises:
            PreflightFailed: It may not.
        """
        if flow:
            self._access.check(context, flow, AccessRole.OBSERVE)

    async def _whole(self, flow: str, uid: str = "") -> DaemonStatus:
        if flow:
            find_flow(self._control.snapshot(), flow, uid)
        return await self._control.whole_snapshot(flow or None)

    async def _selected(self, flow: str, uid: str = "") -> DaemonStatus:
        status = self._control.snapshot()
        return replace(status, flows=(find_flow(status, flow, uid),)) if flow else status

    async def _identified(
        self, context: grpc.aio.ServicerContext[Any, Any], claimed: str, entry: AuditEntry, *roles: AccessRole
    ) -> AuditEntry:
        """Return the entry with who asks: the certificate's word where there is one, else the caller's own (loopback).

        Raises:
            PreflightFailed: The caller cannot be identified, or may not do this; that is written down.
        """
        entry = replace(entry, peer=peer_of(context))
        try:
            actor = self._access.check(context, entry.flow, *roles, claimed=claimed)
        except PreflightFailed as error:
            names = identities(context) if self._access.mutual_tls else ()
            await refused(self._audit, replace(entry, actor=names[0] if names else claimed), error)
            raise
        return replace(entry, actor=actor, actor_known_by="certificate" if self._access.mutual_tls else "caller")

    async def _set_desired(self, request: pb.SetDesiredRequest, desired: Desired, entry: AuditEntry) -> bool:
        # One change at a time: a repeat that overtakes its first answer must find that answer.
        async with self._changing:
            key = (request.request_id, request.flow, request.desired)
            if request.request_id and key in self._answered:
                return self._answered[key]
            flow = find_flow(self._control.snapshot(), request.flow)
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


def _check_epoch(
    flow: FlowStatus, request: pb.SetDesiredRequest | pb.ResolveMirrorRequest | pb.StartSwitchRequest
) -> None:
    if request.HasField("expected_epoch") and request.expected_epoch != flow.epoch:
        raise Conflict(
            f"flow {flow.flow!r} is at epoch {flow.epoch}, not {request.expected_epoch}",
            why="someone changed who may write meanwhile",
            next_step=f"look at `replicator flow status {flow.flow}` and decide again",
        )
