"""What is refused is not kept, and a request is as large as its method needs."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
import pytest_asyncio
from cryptography import x509
from grpc_health.v1 import health_pb2, health_pb2_grpc

from replicator.control.refusals import Why
from replicator.errors import ReplicatorError, UsageError
from replicator.model.access_rules import AccessRole, AccessRule
from replicator.rpc.server import admission
from replicator.rpc.server.request_sizes import REQUEST_BYTES_MAX, SMALL_REQUEST_BYTES_MAX, NotRead, bytes_max, reader
from replicator.rpc.server.server import CONNECTIONS_MAX, RpcServer
from replicator.rpc.server.shares import Kind
from replicator.rpc.v1 import control_pb2 as pb
from replicator.rpc.v1 import control_pb2_grpc, lease_pb2
from tests.unit.rpc.access_world import Files, World
from tests.unit.rpc.fake_daemon import FakeDaemon

_CONTROL = "/replicator.rpc.v1.Control/"
_LEASE = "/replicator.rpc.v1.Lease/"
_CALLS = 12


@pytest_asyncio.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """A server that knows its callers by certificates; operators may give orders."""
    daemon, files = FakeDaemon(), Files(tmp_path)
    rules = [AccessRule("dns:ops.example", (AccessRole.OPERATE,))]
    server = RpcServer(
        daemon, daemon.audit, host="127.0.0.1", port=0, state_dir=tmp_path, tls=files.server, rules=rules
    )
    yield World(daemon, files, server, await server.start())
    await server.stop(0.1)


def errors_alive() -> int:
    """Return how many errors of refused calls are kept."""
    return sum(isinstance(one, grpc.aio.AbortError | ReplicatorError) for one in gc.get_objects())


async def refused(ask: Callable[[], Awaitable[object]]) -> grpc.StatusCode:
    """Make a call that is refused; return how."""
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await ask()
    return error.value.code()


@pytest.mark.parametrize("who", ["eve.example", "ops.example"])
async def test_a_refused_call_leaves_nothing_behind(world: World, who: str) -> None:
    """Each left a ring of errors, frames and its request: 90 MB until the collector came by."""
    name = "f" * 4_000
    async with world.of(x509.DNSName(who)).channel() as channel:
        control: Any = control_pb2_grpc.ControlStub(channel)
        health: Any = health_pb2_grpc.HealthStub(channel)
        status: Any = channel.unary_unary(_CONTROL + "GetStatus")

        async def watched() -> object:
            return await control.WatchStatus(pb.WatchStatusRequest(flow=name)).read()

        asks: dict[str, Callable[[], Awaitable[object]]] = {
            "an order": lambda: control.SetDesired(pb.SetDesiredRequest(flow=name, desired=pb.DESIRED_PAUSED)),
            "a question": lambda: control.GetStatus(pb.GetStatusRequest(flow=name)),
            "a watch": watched,
            "a service that is none of ours": lambda: health.Check(health_pb2.HealthCheckRequest(service="no such")),
            "too large": lambda: control.GetStatus(pb.GetStatusRequest(flow="f" * SMALL_REQUEST_BYTES_MAX)),
            "unreadable": lambda: status(b"\xff\xff"),
        }
        for what, ask in asks.items():
            gc.collect()
            gc.disable()
            try:
                before = errors_alive()
                for _ in range(_CALLS):
                    await refused(ask)
                # The last one may still be on its way out.
                assert errors_alive() <= before + 1, what
            finally:
                gc.enable()


async def test_a_request_that_is_not_read_is_told_and_counted(world: World) -> None:
    """Whoever may do nothing had a megabyte of his read first; and what could not be read wrote a stack to the log."""
    async with world.of(x509.DNSName("ops.example")).channel() as channel:
        control: Any = control_pb2_grpc.ControlStub(channel)
        reason = "r" * SMALL_REQUEST_BYTES_MAX
        large = pb.SetDesiredRequest(flow="f", desired=pb.DESIRED_PAUSED, reason=reason)
        assert await refused(lambda: control.SetDesired(large)) is grpc.StatusCode.INVALID_ARGUMENT
        unreadable: Any = channel.unary_unary(_CONTROL + "SetDesired")
        assert await refused(lambda: unreadable(b"\xff\xff")) is grpc.StatusCode.INVALID_ARGUMENT
        watch: Any = channel.unary_stream(_CONTROL + "WatchStatus")
        assert await refused(lambda: watch(b"\xff\xff").read()) is grpc.StatusCode.INVALID_ARGUMENT
        assert world.server.access.refusals.counts == {Why.REQUEST: 3}
        flow = world.daemon.status.flows[0].flow
        longest = pb.SetDesiredRequest(flow=flow, desired=pb.DESIRED_PAUSED, reason=reason[: -100 - len(flow)])
        assert (await control.SetDesired(longest)).changed


@pytest.mark.parametrize("method", sorted(pb.DESCRIPTOR.services_by_name["Control"].methods_by_name))
def test_a_method_without_lists_takes_small_requests(method: str) -> None:
    """Whoever adds one says which it is; a group's name may be as long as a request."""
    fields = pb.DESCRIPTOR.services_by_name["Control"].methods_by_name[method].input_type.fields_by_name
    long = "group" in fields or any(field.is_repeated for field in fields.values())
    assert bytes_max(_CONTROL + method) == (REQUEST_BYTES_MAX if long else SMALL_REQUEST_BYTES_MAX)


def test_leases_of_many_shards_fit() -> None:
    """A call about leases has three entries for each shard."""
    numbers = dict.fromkeys(range(10_000), 1 << 40)
    request = lease_pb2.LeaseRequest(flow="f" * 249, floors=numbers, held=numbers, busy=list(numbers))
    assert request.ByteSize() <= bytes_max(_LEASE + "Renew") == bytes_max(_LEASE + "Release")
    assert bytes_max(_LEASE + "List") == SMALL_REQUEST_BYTES_MAX


def test_a_reader_reads_up_to_the_limit() -> None:
    """And not a byte more."""
    read = reader(_CONTROL + "Audit", None)
    assert read(bytes(SMALL_REQUEST_BYTES_MAX)) == bytes(SMALL_REQUEST_BYTES_MAX)
    not_read = read(bytes(SMALL_REQUEST_BYTES_MAX + 1))
    assert isinstance(not_read, NotRead)
    assert isinstance(not_read.error(), UsageError)


async def test_nothing_is_read_of_a_call_that_has_no_place(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """256 calls at once, of a megabyte each and by somebody without any right, took 900 MB before they were refused."""
    read = list[str]()

    def counted(method: str, into: Callable[[bytes], object] | None) -> Callable[[bytes], object]:
        def noted(raw: bytes) -> object:
            read.append(method)
            return reader(method, into)(raw)

        return noted

    monkeypatch.setattr(admission, "reader", counted)
    async with world.of(x509.DNSName("eve.example")).channel() as channel:
        control: Any = control_pb2_grpc.ControlStub(channel)
        order: Any = channel.stream_unary(_CONTROL + "SetDesired")
        # Calls that are begun, and whose requests are not sent: each has a place.
        begun = [order() for _ in range(Kind.ORDER.caller_calls_max)]
        for one in begun:
            await one.wait_for_connection()
        large = pb.SetDesiredRequest(flow="f", reason="r" * (REQUEST_BYTES_MAX - 100))
        while (code := await refused(lambda: control.SetDesired(large))) is grpc.StatusCode.INVALID_ARGUMENT:
            read.clear()  # not all of them have arrived
        assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert not read
        for one in begun:
            one.cancel()
        while await refused(lambda: control.SetDesired(large)) is not grpc.StatusCode.INVALID_ARGUMENT:
            pass  # not all of them have gone
        assert read == [_CONTROL + "SetDesired"]


async def test_a_request_that_never_comes_is_waited_for_a_while(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """It holds a place; and a call that ends without one is told so."""
    monkeypatch.setattr(admission, "_READ_SECONDS_MAX", 0.05)

    async def none() -> AsyncIterator[bytes]:
        for one in list[bytes]():
            yield one

    async with world.of(x509.DNSName("ops.example")).channel() as channel:
        order: Any = channel.stream_unary(_CONTROL + "SetDesired")
        watch: Any = channel.stream_stream(_CONTROL + "WatchStatus")
        assert await refused(order) is grpc.StatusCode.DEADLINE_EXCEEDED
        assert await refused(lambda: watch().read()) is grpc.StatusCode.DEADLINE_EXCEEDED
        assert await refused(lambda: order(none())) is grpc.StatusCode.INVALID_ARGUMENT
        describe: Any = channel.unary_unary("/replicator.rpc.v1.Access/Describe")
        assert await describe(bytes(REQUEST_BYTES_MAX - 100)), "nobody looks at that request"


async def test_connections_are_bounded_before_anybody_says_who_he_is(world: World) -> None:
    """Each took a descriptor; without descriptors nothing is copied. A caller comes in once others have gone."""
    silent = [await asyncio.open_connection("127.0.0.1", world.port) for _ in range(CONNECTIONS_MAX + 40)]
    try:
        async with asyncio.timeout(10):
            await asyncio.gather(*(reader.read() for reader, _ in silent[CONNECTIONS_MAX:]))
        assert not any(reader.at_eof() for reader, _ in silent[:CONNECTIONS_MAX])
    finally:
        for _, writer in silent:
            writer.close()
    async with world.of(x509.DNSName("ops.example")).channel() as channel:
        stub: Any = control_pb2_grpc.ControlStub(channel)
        await stub.GetStatus(pb.GetStatusRequest(), wait_for_ready=True, timeout=10)
