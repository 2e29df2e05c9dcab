"""The lease service of a coordinator."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import grpc.aio

from replicator.control.access import Access
from replicator.errors import Busy
from replicator.model.access_rules import AccessRole
from replicator.model.lease import LeaseCaller
from replicator.rpc.client.lease_client import HOP, RemoteLeases
from replicator.rpc.client.lease_port import LeasePort
from replicator.rpc.convert.values import caller_from_wire, lease_answer_to_wire, table_to_wire
from replicator.rpc.server.callers import Callers
from replicator.rpc.server.crossing import errors_cross
from replicator.rpc.v1 import lease_pb2 as pb
from replicator.rpc.v1 import lease_pb2_grpc

LEASE_SERVICE = "replicator.rpc.v1.Lease"


class LeaseServicer(lease_pb2_grpc.LeaseServicer):
    """The methods of the service; each turns messages into model values and calls the port."""

    def __init__(self, leases: LeasePort, access: Access, callers: Callers, stopping: asyncio.Event) -> None:
        self._leases = leases
        self._access = access
        self._callers = callers
        self._stopping = stopping

    def _caller(self, request: pb.LeaseRequest, context: grpc.aio.ServicerContext[Any, Any]) -> LeaseCaller:
        """Return who asks for leases of a flow.

        Raises:
            PreflightFailed: It may not replicate that flow.
        """
        self._check_hop(context)
        caller = caller_from_wire(request)
        self._access.check(self._callers.of(context), caller.flow, AccessRole.REPLICATE)
        return caller

    def _check_hop(self, context: grpc.aio.ServicerContext[Any, Any]) -> None:
        """Return if this call may be answered here or forwarded.

        Raises:
            Busy: Another daemon asks one that only forwards, perhaps to itself: the caller tries the next address.
        """
        if isinstance(self._leases, RemoteLeases) and HOP in tuple(map(tuple, context.invocation_metadata() or ())):
            raise Busy(
                "this daemon is not a coordinator: it asks others itself",
                why="its coordinator.endpoints names others, or its own address",
                next_step="name a daemon that runs without endpoints, or a `replicator coordinator FILE`",
            )

    async def Renew(  # noqa: N802  # gRPC's name
        self, request: pb.LeaseRequest, context: grpc.aio.ServicerContext[pb.LeaseRequest, pb.LeaseAnswer]
    ) -> pb.LeaseAnswer:
        """See `LeasePort.renew`."""
        async with errors_cross(context):
            caller = self._caller(request, context)
            return lease_answer_to_wire(await self._leases.renew(caller))

    async def Acquire(  # noqa: N802
        self, request: pb.LeaseRequest, context: grpc.aio.ServicerContext[pb.LeaseRequest, pb.LeaseAnswer]
    ) -> pb.LeaseAnswer:
        """See `LeasePort.acquire`."""
        async with errors_cross(context):
            caller = self._caller(request, context)
            return lease_answer_to_wire(await self._leases.acquire(caller))

    async def HandOff(  # noqa: N802
        self, request: pb.LeaseRequest, context: grpc.aio.ServicerContext[pb.LeaseRequest, pb.LeaseAnswer]
    ) -> pb.LeaseAnswer:
        """See `LeasePort.hand_off`."""
        async with errors_cross(context):
            caller = self._caller(request, context)
            return lease_answer_to_wire(await self._leases.hand_off(caller))

    async def Release(  # noqa: N802
        self, request: pb.ReleaseRequest, context: grpc.aio.ServicerContext[pb.ReleaseRequest, pb.LeaseAnswer]
    ) -> pb.LeaseAnswer:
        """See `LeasePort.release`."""
        async with errors_cross(context):
            caller = self._caller(request.caller, context)
            return lease_answer_to_wire(await self._leases.release(caller, leaves=request.leaves))

    async def List(  # noqa: N802
        self,
        request: pb.ListLeasesRequest,
        context: grpc.aio.ServicerContext[pb.ListLeasesRequest, pb.ListLeasesResponse],
    ) -> pb.ListLeasesResponse:
        """See `LeasePort.tables`."""
        del request
        async with errors_cross(context):
            who = self._callers.of(context)
            self._access.check_known(who)
            self._check_hop(context)
            sees = self._access.sees(who)
            tables = []
            for table in await self._leases.tables():
                if sees(table.flow):
                    tables.append(table_to_wire(table))
                    await asyncio.sleep(0)  # there may be many, each with hundreds of shards
            return pb.ListLeasesResponse(tables=tables)

    async def Watch(  # noqa: N802
        self, request: pb.WatchLeasesRequest, context: grpc.aio.ServicerContext[pb.WatchLeasesRequest, pb.LeaseTable]
    ) -> AsyncIterator[pb.LeaseTable]:
        """See `LeasePort.watch`; it ends when this server does."""
        async with errors_cross(context):
            who = self._callers.of(context)
            self._access.check_known(who)
            self._check_hop(context)
            tables = self._leases.watch(request.flow_uid)
            stopping = asyncio.ensure_future(self._stopping.wait())
            try:
                while True:
                    coming = asyncio.ensure_future(anext(tables))
                    await asyncio.wait({coming, stopping}, return_when=asyncio.FIRST_COMPLETED)
                    if not coming.done():
                        coming.cancel()
                        with contextlib.suppress(asyncio.CancelledError):
                            await coming
                        return
                    table = coming.result()
                    self._access.check(who, table.flow, AccessRole.OBSERVE)
                    yield table_to_wire(table)
            finally:
                stopping.cancel()
