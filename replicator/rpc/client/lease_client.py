"""A daemon's client of a coordinator over gRPC: the first of several addresses that answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import TypeVar, cast

import grpc
import grpc.aio

from replicator.errors import AccessDenied, Busy, DaemonUnreachable, NotAvailable, ReplicatorError, TimedOut
from replicator.model.lease import LeaseAnswer, LeaseCaller, LeaseTable
from replicator.rpc.client.endpoint import Endpoint
from replicator.rpc.client.find_token import NO_TOKEN, Metadata, metadata_for
from replicator.rpc.convert import faults
from replicator.rpc.convert.values import caller_to_wire, lease_answer_from_wire, table_from_wire
from replicator.rpc.v1 import access_pb2, access_pb2_grpc, lease_pb2_grpc
from replicator.rpc.v1 import lease_pb2 as pb

_R = TypeVar("_R")
_PASSING = (DaemonUnreachable, TimedOut, Busy)

_Call = Callable[["lease_pb2_grpc.LeaseAsyncStub", float, Metadata], Awaitable[_R]]  # the stub is one for type checkers


HOP = ("replicator-lease-hop", "1")
"""Marks a call from one daemon to another: one that only forwards does not forward it, or a ring would never end."""


class RemoteLeases:
    """Several coordinators over one store; see `LeasePort` for the methods.

    The one that answered last is asked first. A call takes no longer than the timeouts of all addresses together.
    """

    def __init__(self, endpoints: Sequence[Endpoint]) -> None:
        self._endpoints = list(endpoints)
        self._channels: dict[tuple[Endpoint, bool], grpc.aio.Channel] = {}
        self._metadata: dict[Endpoint, Metadata] = {}

    async def renew(self, caller: LeaseCaller) -> LeaseAnswer:
        """See `LeasePort.renew`."""
        request = caller_to_wire(caller)
        return lease_answer_from_wire(
            await self._ordered(lambda stub, seconds, carried: stub.Renew(request, timeout=seconds, metadata=carried))
        )

    async def acquire(self, caller: LeaseCaller) -> LeaseAnswer:
        """See `LeasePort.acquire`."""
        request = caller_to_wire(caller)
        return lease_answer_from_wire(
            await self._ordered(lambda stub, seconds, carried: stub.Acquire(request, timeout=seconds, metadata=carried))
        )

    async def hand_off(self, caller: LeaseCaller) -> LeaseAnswer:
        """See `LeasePort.hand_off`."""
        request = caller_to_wire(caller)
        return lease_answer_from_wire(
            await self._ordered(lambda stub, seconds, carried: stub.HandOff(request, timeout=seconds, metadata=carried))
        )

    async def release(self, caller: LeaseCaller, *, leaves: bool) -> LeaseAnswer:
        """See `LeasePort.release`."""
        request = pb.ReleaseRequest(caller=caller_to_wire(caller), leaves=leaves)
        return lease_answer_from_wire(
            await self._ordered(lambda stub, seconds, carried: stub.Release(request, timeout=seconds, metadata=carried))
        )

    async def tables(self) -> Sequence[LeaseTable]:
        """See `LeasePort.tables`."""
        answer = await self._asked(
            lambda stub, seconds, carried: stub.List(pb.ListLeasesRequest(), timeout=seconds, metadata=carried)
        )
        return [table_from_wire(table) for table in answer.tables]

    async def watch(self, flow_uid: str) -> AsyncIterator[LeaseTable]:
        """See `LeasePort.watch`; it ends with the coordinator that answers first."""
        endpoint = self._endpoints[0]
        try:
            request = pb.WatchLeasesRequest(flow_uid=flow_uid)
            async for table in self._stub(endpoint, watches=True).Watch(request, metadata=(HOP,)):
                yield table_from_wire(table)
        except grpc.aio.AioRpcError as error:
            raise faults.meaning(error, endpoint.address, endpoint.timeout_seconds) from error

    async def close(self) -> None:
        """Close every connection."""
        for channel in self._channels.values():
            await channel.close()

    async def _ordered(self, call: _Call[_R]) -> _R:
        return await self._asked(call, orders=True)

    async def _asked(self, call: _Call[_R], *, orders: bool = False) -> _R:
        failures: list[ReplicatorError] = []
        for endpoint in list(self._endpoints):
            try:
                answer = await self._asked_one(endpoint, call, orders=orders)
            except _PASSING as failure:
                failures.append(failure)
                continue
            self._endpoints.remove(endpoint)
            self._endpoints.insert(0, endpoint)
            return answer
        raise DaemonUnreachable(
            f"no coordinator answers at {', '.join(endpoint.address for endpoint in self._endpoints)}",
            why=str(failures[-1].why or failures[-1]) if failures else "",
            next_step="start one with `replicator coordinator FILE`, or fix coordinator.endpoints",
        )

    async def _asked_one(self, endpoint: Endpoint, call: _Call[_R], *, orders: bool) -> _R:
        """Ask one coordinator; if it has a new token since (a new state directory), ask again with that."""
        carried = await self._order(endpoint) if orders else NO_TOKEN
        try:
            return await self._tried(endpoint, call, carried)
        except AccessDenied:
            self._metadata.pop(endpoint, None)
            if not carried or (again := await self._order(endpoint)) == carried:
                raise
        return await self._tried(endpoint, call, again)

    async def _tried(self, endpoint: Endpoint, call: _Call[_R], carried: Metadata) -> _R:
        seconds = endpoint.timeout_seconds
        try:
            return await call(self._stub(endpoint), seconds, (*carried, HOP))
        except grpc.aio.AioRpcError as error:
            raise faults.meaning(error, endpoint.address, seconds) from error

    async def _order(self, endpoint: Endpoint) -> Metadata:
        """Return what calls that change leases carry to a coordinator."""
        if not endpoint.asks_for_token():
            return NO_TOKEN
        if endpoint not in self._metadata:
            access = cast("access_pb2_grpc.AccessAsyncStub", access_pb2_grpc.AccessStub(self._channel(endpoint)))
            try:
                answer = await access.Describe(access_pb2.DescribeAccessRequest(), timeout=endpoint.timeout_seconds)
            except grpc.aio.AioRpcError as error:
                failure = faults.meaning(error, endpoint.address, endpoint.timeout_seconds)
                if isinstance(failure, NotAvailable):  # an older coordinator asks for none
                    return NO_TOKEN
                raise failure from error
            found = await asyncio.to_thread(metadata_for, endpoint, answer.known_by, answer.token_file)
            self._metadata[endpoint] = found
        return self._metadata[endpoint]

    def _channel(self, endpoint: Endpoint, *, watches: bool = False) -> grpc.aio.Channel:
        """Return the connection for calls, or the one for watches, which occupy a connection's calls forever."""
        key = (endpoint, watches)
        if key not in self._channels:
            self._channels[key] = endpoint.channel(apart=watches)
        return self._channels[key]

    def _stub(self, endpoint: Endpoint, *, watches: bool = False) -> lease_pb2_grpc.LeaseAsyncStub:
        channel = self._channel(endpoint, watches=watches)
        return cast("lease_pb2_grpc.LeaseAsyncStub", lease_pb2_grpc.LeaseStub(channel))
