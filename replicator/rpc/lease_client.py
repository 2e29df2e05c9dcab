"""A coordinator behind gRPC, as a daemon asks it: the first of several addresses that answers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import TypeVar, cast

import grpc
import grpc.aio

from replicator.errors import DaemonUnreachable, ReplicatorError, TimedOut
from replicator.model.lease import Caller, LeaseAnswer, LeaseTable
from replicator.rpc import faults
from replicator.rpc.convert import caller_to_wire, lease_answer_from_wire, table_from_wire
from replicator.rpc.endpoint import Endpoint
from replicator.rpc.v1 import lease_pb2 as pb
from replicator.rpc.v1 import lease_pb2_grpc

_R = TypeVar("_R")
_PASSING = (DaemonUnreachable, TimedOut)


class RemoteLeases:
    """Several coordinators over one store; see `LeasePort` for the methods.

    The one that answered last is asked first. One call takes no longer than the time-out of each address together.
    """

    def __init__(self, endpoints: Sequence[Endpoint]) -> None:
        self._endpoints = list(endpoints)
        self._channels: dict[Endpoint, grpc.aio.Channel] = {}

    async def renew(self, caller: Caller) -> LeaseAnswer:
        """See `LeasePort.renew`."""
        request = caller_to_wire(caller)
        return lease_answer_from_wire(await self._asked(lambda stub, seconds: stub.Renew(request, timeout=seconds)))

    async def acquire(self, caller: Caller) -> LeaseAnswer:
        """See `LeasePort.acquire`."""
        request = caller_to_wire(caller)
        return lease_answer_from_wire(await self._asked(lambda stub, seconds: stub.Acquire(request, timeout=seconds)))

    async def hand_off(self, caller: Caller) -> LeaseAnswer:
        """See `LeasePort.hand_off`."""
        request = caller_to_wire(caller)
        return lease_answer_from_wire(await self._asked(lambda stub, seconds: stub.HandOff(request, timeout=seconds)))

    async def release(self, caller: Caller, *, leaves: bool) -> LeaseAnswer:
        """See `LeasePort.release`."""
        request = pb.ReleaseRequest(caller=caller_to_wire(caller), leaves=leaves)
        return lease_answer_from_wire(await self._asked(lambda stub, seconds: stub.Release(request, timeout=seconds)))

    async def tables(self) -> Sequence[LeaseTable]:
        """See `LeasePort.tables`."""
        answer = await self._asked(lambda stub, seconds: stub.List(pb.ListLeasesRequest(), timeout=seconds))
        return [table_from_wire(table) for table in answer.tables]

    async def watch(self, flow_uid: str) -> AsyncIterator[LeaseTable]:
        """See `LeasePort.watch`; it ends with the coordinator that answers first."""
        endpoint = self._endpoints[0]
        try:
            async for table in self._stub(endpoint).Watch(pb.WatchLeasesRequest(flow_uid=flow_uid)):
                yield table_from_wire(table)
        except grpc.aio.AioRpcError as error:
            raise faults.meaning(error, endpoint.address, endpoint.timeout_seconds) from error

    async def close(self) -> None:
        """Close every connection."""
        for channel in self._channels.values():
            await channel.close()

    async def _asked(self, call: Callable[[lease_pb2_grpc.LeaseAsyncStub, float], Awaitable[_R]]) -> _R:
        failures: list[ReplicatorError] = []
        for endpoint in list(self._endpoints):
            try:
                answer = await call(self._stub(endpoint), endpoint.timeout_seconds)
            except grpc.aio.AioRpcError as error:
                failure = faults.meaning(error, endpoint.address, endpoint.timeout_seconds)
                if not isinstance(failure, _PASSING):
                    raise failure from error
                failures.append(failure)
                continue
            self._endpoints.remove(endpoint)
            self._endpoints.insert(0, endpoint)
            return answer
        raise DaemonUnreachable(
            f"no coordinator answers at {', '.join(endpoint.address for endpoint in self._endpoints)}",
            why=str(failures[-1].why or failures[-1]) if failures else "",
            next_step="start one with `replicator coordinator FILE`, or correct coordinator.endpoints",
        )

    def _stub(self, endpoint: Endpoint) -> lease_pb2_grpc.LeaseAsyncStub:
        channel = self._channels.get(endpoint)
        if channel is None:
            channel = self._channels[endpoint] = endpoint.channel()
        return cast("lease_pb2_grpc.LeaseAsyncStub", lease_pb2_grpc.LeaseStub(channel))
