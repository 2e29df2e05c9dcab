"""Calls that nobody of ours makes: each field of each message with what its type allows, and bytes that are no message.

Whoever may call at all may send any of them. Each is answered, by an error of ours or as if it were meant, and the next
caller is served as before.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any, NamedTuple

import grpc
import grpc.aio
import pytest
import pytest_asyncio
from google.protobuf.descriptor import FieldDescriptor, MethodDescriptor, ServiceDescriptor
from google.protobuf.message_factory import GetMessageClass

from replicator.control.order_token import FILE_NAME, METADATA_KEY
from replicator.engine.work.coordinator import Coordinator
from replicator.errors import ConfigError, ReplicatorError
from replicator.model.operations.resolution import Resolution, ResolutionOrder
from replicator.rpc.convert import faults
from replicator.rpc.server.control_server import interval_of
from replicator.rpc.server.server import RpcServer
from replicator.rpc.v1 import access_pb2, control_pb2, lease_pb2
from replicator.store.memory_leases import MemoryLeases
from tests.unit.rpc.fake_daemon import FakeDaemon
from tests.unit.rpc.samples import EAST

STRINGS = [
    "",
    "x" * 900_000,
    "\U0001f98a" * 100_000,
    "..",
    "a\x00b",
    "a\x1b[2J\n",
    "\u202egnp",
    "$(id)",
    "{{7*7}}",
    "-1",
]
INTEGERS = {"32": [-1, -(2**31), 2**31 - 1], "64": [-1, -(2**63), 2**63 - 1]}
DOUBLES = [math.nan, math.inf, -math.inf, -1.0, 5e-324, 1.7e308]
MANY = 20_000
REQUEST_BYTES_MAX = 1 << 20
"""A larger one is refused by gRPC itself."""
MEANT: dict[str, Any] = {
    "flow": EAST.flow,
    "topic": "orders.eu",
    "group": "billing",
    "how": "accept",
    "verb": "failover",
    "desired": 2,
    "actor": "ann",
    "request_id": "r1",
    "flow_uid": EAST.flow_uid,
    "instance": "daemon-1",
    "address": "127.0.0.1:1",
    "shards": 2,
}
"""What a call that is meant says, where it has such fields."""
SERVICES: list[ServiceDescriptor] = [
    module.DESCRIPTOR.services_by_name[name]
    for module, name in ((access_pb2, "Access"), (control_pb2, "Control"), (lease_pb2, "Lease"))
]
METHODS = [method for service in SERVICES for method in service.methods]
QUICK = frozenset({"GetStatus", "GetSwitch", "ResolveMirror", "Acquire"})
"""Of each kind one: what is asked, what is ordered, and what a daemon asks a coordinator."""
_CALL_SECONDS = 20.0
_FIRST_SECONDS = 0.3
"""How long the first answer of a stream is waited for; a watch over leases that there are not gives none."""
_TEXT_CHARS_MAX = 5_000


class Told(NamedTuple):
    """How a call ended."""

    code: grpc.StatusCode
    error: ReplicatorError | None
    details: str


def meant(method: MethodDescriptor) -> Any:
    """Return a request that is meant."""
    return _filled(GetMessageClass(method.input_type)())


def _filled(message: Any) -> Any:
    for field in message.DESCRIPTOR.fields:
        if field.message_type is not None and not field.is_repeated:
            _filled(getattr(message, field.name))
        elif field.name in MEANT and not field.is_repeated:
            setattr(message, field.name, MEANT[field.name])
    return message


def strange(method: MethodDescriptor) -> Iterator[tuple[str, Any]]:
    """Yield requests that are meant but for one field, each with its name."""
    for field in method.input_type.fields:
        for number, value in enumerate(_values(field)):
            request = meant(method)
            place: Any = getattr(request, field.name)
            if _is_map(field):
                place.update(value)
            elif field.is_repeated:
                place.extend(value)
            elif field.message_type is not None:
                place.CopyFrom(value)
            else:
                setattr(request, field.name, value)
            yield f"{field.name} {number}", request


def _is_map(field: FieldDescriptor) -> bool:
    return field.message_type is not None and field.message_type.GetOptions().map_entry


def _values(field: FieldDescriptor) -> Iterator[Any]:
    if _is_map(field):
        yield dict.fromkeys(range(-1, MANY), 2**63 - 1)
        yield {2**31 - 1: -1}
    elif field.message_type is not None:
        for _, one in _nested(field):
            yield [one] * 3 if field.is_repeated else one
        if field.is_repeated:
            yield [GetMessageClass(field.message_type)()] * MANY
    elif field.is_repeated:
        for value in _scalars(field):
            yield [value] * (MANY if not isinstance(value, str) or len(value) < 10 else 1)
    else:
        yield from _scalars(field)


def _nested(field: FieldDescriptor) -> Iterator[tuple[str, Any]]:
    described: Any = field.message_type
    kind = GetMessageClass(described)
    for inner in described.fields:
        for value in _scalars(inner) if inner.message_type is None and not inner.is_repeated else ():
            made = _filled(kind())
            setattr(made, inner.name, value)
            yield inner.name, made


def _scalars(field: FieldDescriptor) -> list[Any]:
    if field.type == FieldDescriptor.TYPE_BYTES:
        return [*(one.encode(errors="surrogatepass") for one in STRINGS), b"\xff\xfe"]
    if field.cpp_type == FieldDescriptor.CPPTYPE_STRING:
        return STRINGS
    if field.cpp_type == FieldDescriptor.CPPTYPE_BOOL:
        return [True]
    if field.cpp_type == FieldDescriptor.CPPTYPE_ENUM:
        return [99, -1]
    if field.cpp_type in {FieldDescriptor.CPPTYPE_DOUBLE, FieldDescriptor.CPPTYPE_FLOAT}:
        return DOUBLES
    return INTEGERS["64" if field.cpp_type == FieldDescriptor.CPPTYPE_INT64 else "32"]


NO_MESSAGES: dict[str, bytes] = {
    "nothing": b"",
    "cut off": b"\x0a\x05ab",
    "no UTF-8": b"\x0a\x03\xff\xfe\xfd",
    "another type": b"\x08\x01\x15\x00\x00\x00\x00\x19" + bytes(8),
    "a length without an end": b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
    "a number without an end": b"\x08" + b"\xff" * 11,
    "deep groups": b"\x0b" * 50_000,
    "deep groups that end": b"\x9b\x06" * 20_000 + b"\x9c\x06" * 20_000,
    "fields that are not known": b"".join(bytes([0x80 | (n & 0x78) | 2, 0x7D, 1, n & 0x7F]) for n in range(20_000)),
    "field 0": b"\x00\x01",
    "the same field many times": b"\x0a\x01x" * 100_000,
    "nested in itself": b"\x0a\xff\x7f" * 10_000,
    "noise": bytes(range(256)) * 100,
}


class Caller:
    """Sends bytes to any method of a server, with its token.

    Args:
        address: Of the server.
        token: What its orders carry.
    """

    def __init__(self, address: str, token: str) -> None:
        self._channel = grpc.aio.insecure_channel(address)
        self._metadata = ((METADATA_KEY, token),)

    async def close(self) -> None:
        """Close the connection."""
        await self._channel.close()

    def begin(self, method: MethodDescriptor, raw: bytes) -> Any:
        """Begin a call."""
        path = f"/{method.containing_service.full_name}/{method.name}"
        kinds: Any = (self._channel.unary_unary, self._channel.unary_stream)
        return kinds[method.server_streaming](path)(raw, metadata=self._metadata, timeout=_CALL_SECONDS)

    async def call(self, method: MethodDescriptor, raw: bytes) -> Told:
        """Send a request; of a stream the first answer is waited for."""
        try:
            answers = self.begin(method, raw)
            if method.server_streaming:
                await asyncio.wait_for(answers.read(), _FIRST_SECONDS)
                answers.cancel()
            else:
                await answers
        except TimeoutError:  # a watch over leases that there are not
            return Told(grpc.StatusCode.OK, None, "")
        except grpc.aio.AioRpcError as error:
            metadata = dict(error.trailing_metadata() or ())
            detail = metadata.get(faults.METADATA_KEY)
            told = faults.from_wire(detail) if isinstance(detail, bytes) else None
            return Told(error.code(), told, error.details() or "")
        return Told(grpc.StatusCode.OK, None, "")


def problem_of(told: Told, *, readable: bool) -> str | None:
    """Return what is wrong about how a call ended; a request that is readable is refused by an error of ours alone."""
    if told.code is grpc.StatusCode.OK:
        return None
    if told.error is None:
        return f"{told.code.name}: {told.details[:300]!r}" if readable else None
    text = told.error.with_next_step()
    if told.code is grpc.StatusCode.INTERNAL or told.code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return f"{told.code.name}: {text[:300]!r}"
    if not text.isprintable() or len(text) > _TEXT_CHARS_MAX:
        return f"says {text[:300]!r}"
    return None


class Daemon(FakeDaemon):
    """One that is asked by other daemons, too."""

    async def resolve(self, flow: str, order: ResolutionOrder, *, dry_run: bool, alone: bool) -> Resolution:
        """Obey."""
        del alone
        return await super().resolve(flow, order, dry_run=dry_run, alone=False)


@pytest_asyncio.fixture
async def caller() -> AsyncIterator[Caller]:
    """A caller who may do everything."""
    daemon = Daemon()
    leases = Coordinator(MemoryLeases(), 10.0, time.monotonic)
    server = RpcServer(daemon, daemon.audit, host="127.0.0.1", port=0, state_dir=daemon.state_dir, leases=leases)
    port = await server.start()
    made = Caller(f"127.0.0.1:{port}", (daemon.state_dir / FILE_NAME).read_text().strip())
    yield made
    await made.close()
    await server.stop(0.1)


@pytest.mark.parametrize(
    "method",
    [pytest.param(one, marks=[] if one.name in QUICK else pytest.mark.long, id=one.full_name) for one in METHODS],
)
async def test_each_field_may_be_anything(caller: Caller, method: MethodDescriptor) -> None:
    """The answer is one that a person can act on, and the next call is answered as well."""
    problems = []
    for name, request in strange(method):
        raw = request.SerializeToString()
        told = problem_of(await caller.call(method, raw), readable=len(raw) < REQUEST_BYTES_MAX)
        problems += [f"{name}: {told}"] if told else []
    assert not problems, "\n".join(problems)
    flows = SERVICES[1].methods_by_name["ListFlows"]
    assert (await caller.call(flows, b"")).code is grpc.StatusCode.OK


@pytest.mark.parametrize("name", NO_MESSAGES)
async def test_what_is_no_message_is_refused(caller: Caller, name: str) -> None:
    """By each method, and the next call is answered as before."""
    problems = []
    for method in METHODS:
        told = problem_of(await caller.call(method, NO_MESSAGES[name]), readable=False)
        problems += [f"{method.full_name}: {told}"] if told else []
    assert not problems, "\n".join(problems)
    assert (await caller.call(SERVICES[1].methods_by_name["ListFlows"], b"")).code is grpc.StatusCode.OK


@pytest.mark.parametrize("wanted_seconds", [*DOUBLES, 0.0, -0.0])
def test_nobody_is_told_faster_than_by_the_shortest_interval(wanted_seconds: float) -> None:
    """One that is no number kept a core busy, or hid other timers of the loop."""
    assert 0.5 <= interval_of(wanted_seconds) <= 3600.0


@pytest.mark.parametrize("text", ["x" * 900_000, "\U0001f98a" * 100_000, "a\x1b[2J\x00" * 5_000, "\u202e", "one\ntwo"])
def test_what_is_told_of_an_error_is_short_and_acts_on_nothing(text: str) -> None:
    """Calls carry 8 KiB of that: what is longer ends the stream, and says nothing. Line breaks of ours stay."""
    error = ConfigError(text, why=text, next_step=text, problems=[text] * 100)
    detail, details = faults.to_wire(error), faults.details_of(error)
    assert len(detail) + len(details.encode()) < 8_000
    told = faults.from_wire(detail)
    assert all(part.isprintable() for part in (*told.with_next_step().split("\n"), *details.split("\n")))
    assert str(told).startswith(text[:1] if text.isprintable() else "")
