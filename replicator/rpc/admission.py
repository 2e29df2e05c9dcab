"""Every call takes a place before it is answered (`rpc.shares`), and reflection a role.

gRPC's own limit counts all calls alike: 128 idle watches kept out a failover. So none is set, and the places are ours.
What a caller has only half sent has no place yet.
"""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio

from replicator.rpc.crossing import errors_cross
from replicator.rpc.refusals import Why
from replicator.rpc.requests import NotRead, reader
from replicator.rpc.shares import Kind, Rank, Shares, kind_of

if TYPE_CHECKING:
    from replicator.rpc.access import Access, Context

_REFLECTION = "/grpc.reflection."


class Admission(grpc.aio.ServerInterceptor):
    """Puts itself before every method of a server.

    Args:
        access: Who calls.
        shares: The places.
    """

    def __init__(self, access: Access, shares: Shares) -> None:
        self._access = access
        self._shares = shares

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Any, Any] | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        """Return the method with a place around it."""
        handler = await continuation(handler_call_details)
        if handler is None:
            return handler
        method = str(handler_call_details.method)
        into, out_of = reader(method, handler.request_deserializer), handler.response_serializer
        if handler.unary_unary is not None:
            return grpc.unary_unary_rpc_method_handler(self._once(handler.unary_unary, method), into, out_of)
        if handler.unary_stream is not None:
            return grpc.unary_stream_rpc_method_handler(self._streamed(handler.unary_stream, method), into, out_of)
        if handler.stream_stream is not None:  # reflection's, which reads its requests by itself
            answer = self._streamed(handler.stream_stream, method)
            return grpc.stream_stream_rpc_method_handler(answer, handler.request_deserializer, out_of)
        return handler

    def _once(self, inner: Any, method: str) -> Any:
        async def answer(request: Any, context: Context) -> Any:
            try:
                async with self._place(context, method):
                    await self._check_read(request, context)
                    return await inner(request, context)
            except grpc.aio.AbortError as error:
                del request, context
                _let_go(error)
                raise

        return answer

    def _streamed(self, inner: Any, method: str) -> Any:
        if not inspect.isasyncgenfunction(inner):
            return self._once(inner, method)  # it writes by itself

        async def answer(request: Any, context: Context) -> AsyncIterator[Any]:
            try:
                async with self._place(context, method), contextlib.aclosing(inner(request, context)) as parts:
                    await self._check_read(request, context)
                    async for part in parts:
                        yield part
            except grpc.aio.AbortError as error:
                del request, context
                _let_go(error)
                raise

        return answer

    @contextlib.asynccontextmanager
    async def _place(self, context: Context, method: str) -> AsyncIterator[None]:
        kind = kind_of(method)
        if kind is None:
            yield
            return
        rank, caller = self._access.rank(context), self._access.caller(context)
        async with errors_cross(context):
            self._enter(context, method, kind, rank, caller)
        try:
            yield
        finally:
            self._shares.leave(kind, rank, caller)

    async def _check_read(self, request: Any, context: Context) -> None:
        """Return if the request could be read."""
        if isinstance(request, NotRead):
            self._access.refusals.count(Why.REQUEST)
            async with errors_cross(context):
                raise request.error()

    def _enter(self, context: Context, method: str, kind: Kind, rank: Rank, caller: str) -> None:
        if method.startswith(_REFLECTION):
            self._access.check_known(context)
        try:
            self._shares.enter(kind, rank, caller)
        except Exception:
            self._access.refusals.count(Why.SHARE)
            raise


def _let_go(error: grpc.aio.AbortError) -> None:
    """Have the error of a call that was refused hold nothing of it.

    gRPC keeps the error in the state of the call, and the error keeps the frames it went through, which keep the call
    and its request: a ring, which only the garbage collector takes apart, and that comes by too rarely.
    """
    error.__traceback__ = error.__context__ = None
