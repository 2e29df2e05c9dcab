"""Leases in etcd: several coordinators share them, and any coordinator or etcd member may die.

etcd's own revisions are the versions: `mod_revision` rises with each change of a key. etcd's leases are not used: who
holds what, and for how long, is decided by `core.work.lease` from one value, whichever store keeps it.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeVar

import grpc
import grpc.aio

from replicator.errors import StoreError
from replicator.model.lease import Versioned
from replicator.rpc.etcd_pb import kv_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from replicator.rpc.client.endpoint import Endpoint

_KV = "/etcdserverpb.KV/"
_WATCH = "/etcdserverpb.Watch/Watch"
_PREFIX = "/replicator/"
_GONE = frozenset({grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED})
A = TypeVar("A")


class EtcdLeases:
    """See `LeaseStore`.

    Args:
        endpoints: etcd's members; the one that answered last is asked first.
    """

    def __init__(self, endpoints: Sequence[Endpoint]) -> None:
        self._endpoints = list(endpoints)
        self._channels = [endpoint.channel() for endpoint in self._endpoints]
        self._first = 0

    async def read(self, key: str) -> Versioned | None:
        """See `LeaseStore.read`."""
        answer = await self._ask("Range", pb.RangeRequest(key=_key(key)), pb.RangeResponse)
        return _versioned(answer.kvs[0]) if answer.kvs else None

    async def read_all(self, prefix: str) -> Mapping[str, Versioned]:
        """See `LeaseStore.read_all`."""
        first = _key(prefix)
        end = first[:-1] + bytes([first[-1] + 1])  # the first key that does not begin with it
        answer = await self._ask("Range", pb.RangeRequest(key=first, range_end=end), pb.RangeResponse)
        return {one.key.decode().removeprefix(_PREFIX): _versioned(one) for one in answer.kvs}

    async def compare_and_set(self, key: str, value: bytes, expected: int) -> Versioned | None:
        """See `LeaseStore.compare_and_set`."""
        compare = pb.Compare(result=pb.Compare.EQUAL, key=_key(key))
        if expected == 0:
            compare.target, compare.create_revision = pb.Compare.CREATE, 0
        else:
            compare.target, compare.mod_revision = pb.Compare.MOD, expected
        put = pb.RequestOp(request_put=pb.PutRequest(key=_key(key), value=value))
        answer = await self._ask("Txn", pb.TxnRequest(compare=[compare], success=[put]), pb.TxnResponse)
        return Versioned(value, answer.header.revision) if answer.succeeded else None

    async def wait_for_change(self, key: str, revision: int, timeout_seconds: float) -> Versioned | None:
        """See `LeaseStore.wait_for_change`."""
        found = await self.read(key)
        if found is not None and found.revision != revision:
            return found
        try:
            async with asyncio.timeout(timeout_seconds):
                return await self._watched(key, revision)
        except TimeoutError:
            return None

    async def _watched(self, key: str, revision: int) -> Versioned:
        create = pb.WatchCreateRequest(key=_key(key), start_revision=revision + 1)
        channel = self._channels[self._first]
        watch = channel.stream_stream(
            _WATCH,
            request_serializer=pb.WatchRequest.SerializeToString,
            response_deserializer=pb.WatchResponse.FromString,
        )
        call: Any = watch()
        try:
            await call.write(pb.WatchRequest(create_request=create))
            while True:
                answer = await call.read()
                if answer is grpc.aio.EOF or answer.canceled:
                    raise StoreError(f"{self._address(self._first)} ended a watch", why="it may be shutting down")
                for event in answer.events:
                    if event.type == pb.Event.PUT:
                        return _versioned(event.kv)
        except grpc.aio.AioRpcError as error:
            raise self._fault(error, self._first) from error
        finally:
            call.cancel()

    async def close(self) -> None:
        """See `LeaseStore.close`."""
        for channel in self._channels:
            await channel.close()

    async def _ask(self, method: str, request: Any, answer: type[A]) -> A:
        """Ask the members in turn, each once; the outcome of a change that got no answer is unknown."""
        last: StoreError | None = None
        for turn in range(len(self._channels)):
            at = (self._first + turn) % len(self._channels)
            try:
                found = await self._ask_one(at, method, request, answer)
            except grpc.aio.AioRpcError as error:
                last = self._fault(error, at)
                if error.code() not in _GONE:
                    raise last from error
            else:
                self._first = at
                return found
        raise last or StoreError("no etcd endpoint is configured", next_step="set coordinator.endpoints")

    async def _ask_one(self, at: int, method: str, request: Any, answer: type[A]) -> A:
        serializer: Callable[[Any], bytes] = type(request).SerializeToString
        call = self._channels[at].unary_unary(
            _KV + method,
            request_serializer=serializer,
            response_deserializer=answer.FromString,  # type: ignore[attr-defined]
        )
        asked: Awaitable[A] = call(request, timeout=self._endpoints[at].timeout_seconds)
        return await asked

    def _fault(self, error: grpc.aio.AioRpcError, at: int) -> StoreError:
        return StoreError(
            f"etcd at {self._address(at)} refused a request",
            why=f"{error.code().name}: {error.details()}",
            next_step="check coordinator.endpoints, and `etcdctl endpoint health`",
        )

    def _address(self, at: int) -> str:
        return self._endpoints[at].address


def _key(key: str) -> bytes:
    return (_PREFIX + key).encode()


def _versioned(found: pb.KeyValue) -> Versioned:
    return Versioned(found.value, found.mod_revision)
