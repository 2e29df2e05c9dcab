"""Every call takes a place before it is answered (`shares`); reflection also needs a role.

gRPC's own limit counts all calls alike: 128 idle watches kept out a failover. So it is not set, and we count places
ourselves. A request is not read before its call has a place: 256 concurrent calls of a megabyte each, from someone
without any rights, took 900 MB.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio

from replicator.control.refusals import Why
from replicator.errors import TimedOut, UsageError
from replicator.rpc.server.crossing import errors_cross
from replicator.rpc.server.request_sizes import NotRead, reader
from replicator.rpc.server.shares import Kind, Shares, kind_of

if TYPE_CHECKING:
    from replicator.control.access import Access, Rank
    from replicator.rpc.server.callers import Callers, Context

    _Read = Callable[[Any, Context], Awaitable[Any]]

_REFLECTION = "/grpc.reflection."
_READ_SECONDS_MAX = 10.0
"""For a request; a half-sent call keeps its place that long."""


class Admission(grpc.aio.ServerInterceptor):
    """Wraps every method of a server.

    Args:
        access: What callers may do.
        callers: Who calls.
        shares: The places.
    """

    def __init__(self, access: Access, callers: Callers, shares: Shares) -> None:
        self._access = access
        self._callers = callers
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
        into, out_of = handler.request_deserializer, handler.response_serializer
        if handler.stream_stream is not None:  # reflection, which reads its requests itself
            answer = self._streamed(handler.stream_stream, method, _as_they_come)
            return grpc.stream_stream_rpc_method_handler(answer, into, out_of)
        # As client-streaming methods, whose requests are read on demand: once there is a place, and not before.
        read = self._read if kind_of(method) is not None else _unread(into)
        into = reader(method, into)
        if handler.unary_unary is not None:
            return grpc.stream_unary_rpc_method_handler(self._once(handler.unary_unary, method, read), into, out_of)
        if handler.unary_stream is not None:
            answer = self._streamed(handler.unary_stream, method, read)
            return grpc.stream_stream_rpc_method_handler(answer, into, out_of)
        return handler

    def _once(self, inner: Any, method: str, read: _Read) -> Any:
        async def answer(requests: Any, context: Context) -> Any:
            try:
                async with self._admitted(context, method):
                    return await inner(await read(requests, context), context)
            except grpc.aio.AbortError as error:
                del requests, context
                _let_go(error)
                raise

        return answer

    def _streamed(self, inner: Any, method: str, read: _Read) -> Any:
        if not inspect.isasyncgenfunction(inner):
            return self._once(inner, method, read)  # it writes its answers itself

        async def answer(requests: Any, context: Context) -> AsyncIterator[Any]:
            try:
                async with (
                    self._admitted(context, method),
                    contextlib.aclosing(inner(await read(requests, context), context)) as parts,
                ):
                    async for part in parts:
                        yield part
            except grpc.aio.AbortError as error:
                del requests, context
                _let_go(error)
                raise

        return answer

    @contextlib.asynccontextmanager
    async def _admitted(self, context: Context, method: str) -> AsyncIterator[None]:
        """Hold a place among the calls that are being answered, if calls of that method need one."""
        kind = kind_of(method)
        if kind is None:
            yield
            return
        caller = self._callers.of(context)
        rank, party = self._access.rank(caller), self._access.party(caller)
        async with errors_cross(context):
            if method.startswith(_REFLECTION):
                self._access.check_known(caller)
            self._enter(kind, rank, party)
        try:
            yield
        finally:
            self._shares.leave(kind, rank, party)

    async def _read(self, _: Any, context: Context) -> Any:
        """Return the request of a call that has a place."""
        async with errors_cross(context):
            try:
                async with asyncio.timeout(_READ_SECONDS_MAX):
                    request = await context.read()
            except TimeoutError as error:
                raise TimedOut(
                    f"the request was not sent within {_READ_SECONDS_MAX:g} s", next_step="repeat the call"
                ) from error
            if request is grpc.aio.EOF:
                raise UsageError("the call has no request", next_step="call with the messages of this version")
            if isinstance(request, NotRead):
                self._access.refusals.count(Why.REQUEST)
                raise request.error()
            return request

    def _enter(self, kind: Kind, rank: Rank, party: str) -> None:
        try:
            self._shares.enter(kind, rank, party)
        except Exception:
            self._access.refusals.count(Why.SHARE)
            raise


async def _as_they_come(requests: Any, _: Context) -> Any:
    return requests


def _unread(into: Callable[[bytes], Any] | None) -> _Read:
    """Return a reader that reads no request: a method without a place answers everyone the same, and ignores it."""

    async def empty(_requests: Any, _context: Context) -> Any:
        return b"" if into is None else into(b"")

    return empty


def _let_go(error: grpc.aio.AbortError) -> None:
    """Detach the error of a refused call from the call.

    gRPC keeps the error in the state of the call, and the error keeps the frames it passed through, which keep the call
    and its request: a reference cycle that only the garbage collector breaks, and it runs too rarely.
    """
    error.__traceback__ = error.__context__ = None
