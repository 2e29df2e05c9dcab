"""Who may do what through the real server, with certificates; and that nobody takes the room of others."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import grpc
import pytest
import pytest_asyncio
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from replicator.control.access import Rank
from replicator.control.refusals import Why
from replicator.engine.work.coordinator import Coordinator
from replicator.errors import AccessDenied, Busy, Conflict, HeldElsewhere
from replicator.model.access_rules import AccessRole, AccessRule
from replicator.model.audit import AuditEntry, Phase
from replicator.model.events import Desired
from replicator.model.lease import Caller
from replicator.model.resolution import How, Order, Resolution
from replicator.model.spec import TlsSpec
from replicator.model.switch.terms import Options, Verb
from replicator.model.switch.terms import Order as SwitchOrder
from replicator.rpc.client import ControlClient
from replicator.rpc.endpoint import Endpoint
from replicator.rpc.lease_client import RemoteLeases
from replicator.rpc.server import RpcServer
from replicator.rpc.shares import Kind, Shares
from replicator.rpc.v1 import control_pb2 as pb
from replicator.rpc.v1 import control_pb2_grpc
from replicator.store.memory_leases import MemoryLeases
from tests.unit.rpc.fake_daemon import FakeDaemon
from tests.unit.rpc.samples import SKIPPED

_T = TypeVar("_T")
FLOW = "east-to-west"


class Files:
    """Certificates of one authority, with any names."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        authority = trustme.CA()
        self.ca_file = directory / "ca.pem"
        authority.cert_pem.write_to_path(self.ca_file)
        self._authority = authority
        leaf = authority.issue_cert("127.0.0.1")
        self.server = TlsSpec(*self._write("server", leaf.cert_chain_pems[0].bytes(), leaf.private_key_pem.bytes()))
        self.server = replace(self.server, ca_file=self.ca_file)

    def _write(self, name: str, certificate: bytes, key: bytes) -> tuple[Path, Path]:
        paths = self._directory / f"{name}.pem", self._directory / f"{name}.key"
        for path, data in zip(paths, (certificate, key), strict=True):
            path.touch(mode=0o600)
            path.write_bytes(data)
        return paths

    def issue(self, file: str, *names: x509.GeneralName, common: str = "x") -> tuple[Path, Path]:
        """Write certificate and key of somebody with these names."""
        key, now = ec.generate_private_key(ec.SECP256R1()), dt.datetime.now(dt.UTC)
        ca = x509.load_pem_x509_certificate(self._authority.cert_pem.bytes())
        ca_key = serialization.load_pem_private_key(self._authority.private_key_pem.bytes(), None)
        assert isinstance(ca_key, ec.EllipticCurvePrivateKey)
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])
        builder = x509.CertificateBuilder(ca.subject, subject, key.public_key(), x509.random_serial_number())
        builder = builder.not_valid_before(now - dt.timedelta(days=1)).not_valid_after(now + dt.timedelta(days=1))
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return self._write(
            file, builder.sign(ca_key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM), private
        )


ANN = x509.RFC822Name("ann@ops.example")
DAEMON_1 = x509.DNSName("d1.daemons.example")
SPIFFE = x509.UniformResourceIdentifier("spiffe://other/x@ops.example")


@dataclass
class World:
    """A server and the certificates of its callers."""

    daemon: FakeDaemon
    files: Files
    server: RpcServer
    port: int

    def of(self, *names: x509.GeneralName, common: str = "x") -> Endpoint:
        """Return how somebody with these names reaches the server."""
        certificate, key = self.files.issue(f"c{len(list(self.files._directory.iterdir()))}", *names, common=common)
        return Endpoint(f"127.0.0.1:{self.port}", self.files.ca_file, certificate, key)

    def may(self, identity: str, *roles: AccessRole, flows: tuple[str, ...] = ("*",)) -> None:
        """Add a rule."""
        self.server.access.rules = (*self.server.access.rules, AccessRule(identity, roles, flows))


@pytest_asyncio.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """A server that knows its callers by certificates, and no rules."""
    daemon, files = FakeDaemon(), Files(tmp_path)
    leases = Coordinator(MemoryLeases(), 10.0, lambda: 0.0)
    server = RpcServer(
        daemon, daemon.audit, host="127.0.0.1", port=0, state_dir=tmp_path, tls=files.server, leases=leases
    )
    yield World(daemon, files, server, await server.start())
    await server.stop(0.1)


async def call(endpoint: Endpoint, use: Callable[[ControlClient], _T]) -> _T:
    """Use the synchronous client in a thread, since the server runs on this loop."""

    def run() -> _T:
        with ControlClient(endpoint) as client:
            return use(client)

    return await asyncio.to_thread(run)


def pause(client: ControlClient) -> bool:
    """Give an order."""
    return client.set_desired(FLOW, Desired.PAUSED, actor="", reason="")


async def test_a_uri_is_no_address(world: World) -> None:
    """It matched `*@ops.example`; and the audit log names what gave the right, not the first name there is."""
    world.may("*@ops.example", AccessRole.OPERATE)
    for stranger in (world.of(SPIFFE), world.of(common="x@ops.example"), world.of(DAEMON_1, common="x@ops.example")):
        with pytest.raises(AccessDenied):
            await call(stranger, pause)
    assert not world.daemon.asked
    assert await call(world.of(SPIFFE, DAEMON_1, ANN), pause)
    assert world.daemon.audit.entries[-1].actor == "email:ann@ops.example"
    world.may("cn:x@ops.example", AccessRole.OPERATE)
    assert not await call(world.of(common="x@ops.example"), pause)


async def test_a_name_goes_on_behind_a_nul_byte(world: World) -> None:
    """The library ends it there: a certificate for evil.example was an operator. And a host name is no address."""
    world.may("*@ops.example", AccessRole.OPERATE)
    for name in (x509.RFC822Name("boss@ops.example\0.evil.example"), x509.DNSName("boss@ops.example")):
        with pytest.raises(AccessDenied, match="names nobody"):
            await call(world.of(name, common="boss\0"), pause)
    assert not world.daemon.asked


ORDERS: dict[str, Callable[[ControlClient], object]] = {
    "resolve": lambda client: client._resolve(
        FLOW, Order("audit-2026", How.RECREATE), dry_run=False, expected_epoch=None, alone=True
    ),
    "pause": pause,
    "forget": lambda client: client.forget(FLOW, "orders.eu", actor="", reason="", dry_run=False),
    "failover": lambda client: client.start_switch(SwitchOrder("1", Verb.FAILOVER, flow=FLOW), None),
    "abort": lambda client: client.abort_switch(FLOW, actor="", reason=""),
    "confirm": lambda client: client.confirm_switch(FLOW, "x", actor=""),
}


@pytest.mark.parametrize("what", ORDERS)
async def test_a_daemon_orders_nothing(world: World, what: str) -> None:
    """Not even what an operator has asked it to pass on, as it says."""
    world.may("dns:*.daemons.example", AccessRole.REPLICATE)
    with pytest.raises(AccessDenied, match="may not do this"):
        await call(world.of(DAEMON_1), ORDERS[what])
    assert not world.daemon.resolved


async def test_an_order_is_given_to_the_daemon_that_takes_it(world: World) -> None:
    """By the operator himself, and never passed on a second time."""

    class Elsewhere(FakeDaemon):
        async def resolve(self, flow: str, order: Order, *, dry_run: bool, alone: bool) -> Resolution:
            if not alone:
                raise HeldElsewhere("d2 copies it", address=f"127.0.0.1:{world.port}", next_step="ask d2")
            return await super().resolve(flow, order, dry_run=dry_run, alone=False)

    class Here(FakeDaemon):
        async def resolve(self, flow: str, order: Order, *, dry_run: bool, alone: bool) -> Resolution:
            assert alone
            return await super().resolve(flow, order, dry_run=dry_run, alone=False)

    here, rules = Here(), [AccessRule("email:ann@ops.example", (AccessRole.OPERATE,))]
    second = RpcServer(
        here, here.audit, host="127.0.0.1", port=0, state_dir=here.state_dir, tls=world.files.server, rules=rules
    )
    first = RpcServer(
        Elsewhere(), here.audit, host="127.0.0.1", port=0, state_dir=here.state_dir, tls=world.files.server, rules=rules
    )
    world.port = await second.start()
    endpoint = world.of(ANN)
    asked = replace(endpoint, address=f"127.0.0.1:{await first.start()}")
    order = Order("audit-2026", How.SKIP)
    try:
        assert await call(asked, lambda client: client.resolve(FLOW, order, dry_run=False)) == SKIPPED
        assert [one.actor for _, one in here.resolved] == ["email:ann@ops.example"]
        await second.stop(0.1)
        with pytest.raises(HeldElsewhere, match="does not answer us at"):
            await call(asked, lambda client: client.resolve(FLOW, order, dry_run=False))
    finally:
        await first.stop(0.1)


async def test_leases_of_another_flow_cannot_be_taken(world: World) -> None:
    """The role is that for the flow that the uid belongs to."""
    world.may("dns:east.daemons.example", AccessRole.REPLICATE, flows=("east",))
    world.may("dns:west.daemons.example", AccessRole.REPLICATE, flows=("west",))
    east = RemoteLeases([world.of(x509.DNSName("east.daemons.example"))])
    west = RemoteLeases([world.of(x509.DNSName("west.daemons.example"))])
    caller = Caller("0e1f", "east", "e-1", "", 1)
    try:
        await east.acquire(caller)
        with pytest.raises(AccessDenied):
            await west.release(caller, leaves=True)
        with pytest.raises(Conflict, match="not the uid of flow 'west'"):
            await west.acquire(replace(caller, flow="west", instance="thief", held={0: 99}))
        assert await west.tables() == []
        [table] = await east.tables()
        assert table.leases[0].holder == "e-1"
        assert (await anext(east.watch("0e1f"))).flow == "east"
        with pytest.raises(AccessDenied):
            await anext(west.watch("0e1f"))
    finally:
        await east.close()
        await west.close()


async def test_nothing_is_told_of_flows_without_a_role(world: World) -> None:
    """Not in the audit log, not in why the daemon is not ready, and not as a name that is offered."""
    world.may("email:ann@ops.example", AccessRole.OBSERVE, flows=("north-*",))
    ann, eve = world.of(ANN), world.of(x509.DNSName("eve.example"))
    for flow in (FLOW, "north-to-west", ""):
        world.daemon.audit.append(AuditEntry(0, "", Phase.INTENT, flow=flow))
    world.daemon.status = replace(world.daemon.status, ready=False, not_ready_because="east-to-west is STARTING")
    assert [entry.flow for entry in await call(ann, lambda client: client.audit(None, 10))] == ["north-to-west"]
    status = await call(ann, lambda client: client.status())
    assert ([flow.flow for flow in status.flows], status.not_ready_because) == (
        ["north-to-west"],
        "another flow is not ready",
    )
    world.may("email:ann@ops.example", AccessRole.OBSERVE, flows=("east-to-wets",))
    with pytest.raises(Exception, match="there is no flow") as unknown:
        await call(ann, lambda client: client.status("east-to-wets"))
    assert FLOW not in str(getattr(unknown.value, "next_step", ""))
    asks: list[Callable[[ControlClient], object]] = [
        lambda client: client.audit(None, 10),
        lambda client: client.status(),
        lambda client: client.flows(),
        lambda client: client.leases(),
        lambda client: next(iter(client.watch(1.0))),
    ]
    for ask in asks:
        with pytest.raises(AccessDenied):
            await call(eve, ask)


async def test_a_switch_that_turns_both_flows_needs_the_right_for_both(world: World) -> None:
    """The other flow begins to copy, or is switched over."""
    world.may("email:ann@ops.example", AccessRole.OPERATE, flows=(FLOW,))
    ann = world.of(ANN)
    alone = SwitchOrder("1", Verb.SWITCHOVER, flow=FLOW)
    both = replace(alone, options=Options(reverse_flow="?"))
    await call(ann, lambda client: client.start_switch(alone, None))
    for order in (both, SwitchOrder("2", Verb.FAILBACK, flow=FLOW)):
        with pytest.raises(AccessDenied, match="'west-to-east'"):
            await call(ann, lambda client, order=order: client.start_switch(order, None))  # type: ignore[misc]
    world.may("email:ann@ops.example", AccessRole.OPERATE, flows=("west-to-east",))
    await call(ann, lambda client: client.start_switch(both, None))


async def test_a_flow_is_forgotten_by_its_name_whatever_it_is_called_by(world: World) -> None:
    """A uid that a rule's glob fits is not the name of a flow."""
    world.may("email:ann@ops.example", AccessRole.OPERATE, flows=("0e*",))
    world.daemon.named["0e1f"] = "west"
    with pytest.raises(AccessDenied, match="'west'"):
        await call(world.of(ANN), lambda client: client.forget("0e1f", None, actor="", reason="", dry_run=False))
    assert not world.daemon.forgotten


async def test_reflection_needs_a_role_and_health_none(world: World) -> None:
    """Whoever is nobody here learns only that the daemon lives."""
    endpoint = world.of(ANN)
    target, credentials = endpoint.dialled()
    assert credentials is not None

    def look() -> tuple[int, list[str] | None]:
        with grpc.secure_channel(target, credentials) as channel:
            alive = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=10)
            try:
                return alive.status, list(ProtoReflectionDescriptorDatabase(channel).get_services())
            except grpc.RpcError:
                return alive.status, None

    assert await asyncio.to_thread(look) == (health_pb2.HealthCheckResponse.SERVING, None)
    world.may("email:*", AccessRole.OBSERVE, flows=("north-*",))
    assert "replicator.rpc.v1.Lease" in ((await asyncio.to_thread(look))[1] or ())


# ---- room


async def test_idle_watches_never_keep_out_an_order(world: World) -> None:
    """Nor those of many: an observer has its share, all of them together have theirs, and orders have their own."""
    world.may("dns:*.example", AccessRole.OBSERVE)
    world.may("email:ann@ops.example", AccessRole.OPERATE)
    held: list[Any] = []
    channels = []
    refused = 0
    try:
        for number in range(12):
            endpoint = world.of(x509.DNSName(f"o{number}.example"))
            channel = endpoint.channel()
            channels.append(channel)
            stub = control_pb2_grpc.ControlStub(channel)
            for _ in range(Kind.WATCH.caller_calls_max + 4):
                watch: Any = stub.WatchStatus(pb.WatchStatusRequest(interval_seconds=3600))
                try:
                    await watch.read()
                    held.append(watch)
                except grpc.aio.AioRpcError as error:
                    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED  # noqa: PT017
                    refused += 1
            assert len(held) <= Kind.WATCH.caller_calls_max * (number + 1)
        assert len(held) == Kind.WATCH.calls_max
        assert world.server.access.refusals.counts[Why.SHARE] == refused > 0
        ann = world.of(ANN)
        assert await call(ann, pause)
        assert (await call(ann, lambda client: client.status())).flows
        await call(ann, lambda client: next(iter(client.watch(1.0))))
        late = world.of(x509.DNSName("late.example"))
        with pytest.raises(Busy):
            await call(late, lambda client: next(iter(client.watch(1.0))))
        held.pop().cancel()
        async with asyncio.timeout(10):
            while True:
                try:
                    await call(late, lambda client: next(iter(client.watch(1.0))))
                    break
                except Busy:
                    await asyncio.sleep(0.05)
    finally:
        for one in channels:
            await one.close()


async def test_questions_of_others_never_keep_out_those_of_an_operator(tmp_path: Path) -> None:
    """A failover asks for the status first: with all places taken by slow questions of observers it was not given.

    Nor do orders of others take places of orders, whoever may not give them.
    """

    class Slow(FakeDaemon):
        began, full, over = 0, asyncio.Event(), asyncio.Event()

        async def rehearse(self, flow: str) -> Any:
            self.began += 1
            if self.began == Kind.QUESTION.calls_max:
                self.full.set()
            await self.over.wait()
            return await super().rehearse(flow)

    daemon, files = Slow(), Files(tmp_path)
    server = RpcServer(daemon, daemon.audit, host="127.0.0.1", port=0, state_dir=tmp_path, tls=files.server)
    world = World(daemon, files, server, await server.start())
    world.may("dns:*.example", AccessRole.OBSERVE)
    world.may("email:ann@ops.example", AccessRole.OPERATE)
    channels, asked = [], []
    try:
        for number in range(Kind.QUESTION.calls_max // Kind.QUESTION.caller_calls_max):
            channels.append(world.of(x509.DNSName(f"o{number}.example")).channel())
            stub: Any = control_pb2_grpc.ControlStub(channels[-1])
            asked += [stub.Rehearse(pb.RehearseRequest(flow=FLOW)) for _ in range(Kind.QUESTION.caller_calls_max)]
        async with asyncio.timeout(20):
            await daemon.full.wait()
        with pytest.raises(Busy, match="questions of others"):
            await call(world.of(x509.DNSName("late.example")), lambda client: client.status())
        ann = world.of(ANN)
        assert (await call(ann, lambda client: client.status())).flows
        assert await call(ann, pause)
    finally:
        daemon.over.set()
        for one in channels:
            await one.close()
        await server.stop(0.1)


@pytest.mark.parametrize("kind", Kind)
def test_each_rank_has_room_of_its_own(kind: Kind) -> None:
    """However many names those of another rank have."""
    shares = Shares()
    for number in range(kind.calls_max):
        shares.enter(kind, Rank.OTHERS, f"o{number}")
    with pytest.raises(Busy, match="of others"):
        shares.enter(kind, Rank.OTHERS, "late")
    for rank in (Rank.ORDERS, Rank.DAEMONS):
        for _ in range(kind.caller_calls_max):
            shares.enter(kind, rank, "one")
        with pytest.raises(Busy, match="one caller's share"):
            shares.enter(kind, rank, "one")
        shares.leave(kind, rank, "one")
        shares.enter(kind, rank, "one")


async def test_a_failover_waits_for_no_other_order() -> None:
    """Not behind an `accept` that compares records, nor behind a switchover whose source has just died."""

    class Slow(FakeDaemon):
        began, over = asyncio.Event(), asyncio.Event()

        async def resolve(self, flow: str, order: Order, *, dry_run: bool, alone: bool) -> Resolution:
            self.began.set()
            await self.over.wait()
            return await super().resolve(flow, order, dry_run=dry_run, alone=alone)

        async def start_switch(self, flow: str, order: SwitchOrder) -> Any:
            if order.verb is Verb.SWITCHOVER:
                await self.over.wait()
            return await super().start_switch(flow, order)

    daemon = Slow()
    server = RpcServer(daemon, daemon.audit, host="127.0.0.1", port=0, state_dir=daemon.state_dir)
    endpoint = Endpoint(f"127.0.0.1:{await server.start()}")
    slow = [
        asyncio.create_task(
            call(endpoint, lambda client: client.resolve(FLOW, Order("audit-2026", How.SKIP), dry_run=False))
        ),
        asyncio.create_task(
            call(endpoint, lambda client: client.start_switch(SwitchOrder("1", Verb.SWITCHOVER, flow=FLOW), None))
        ),
    ]
    try:
        await daemon.began.wait()
        async with asyncio.timeout(10):
            await call(endpoint, lambda client: client.start_switch(SwitchOrder("2", Verb.FAILOVER, flow=FLOW), None))
            await call(endpoint, pause)
        assert not any(task.done() for task in slow)
    finally:
        daemon.over.set()
        await asyncio.gather(*slow)
        await server.stop(0.1)


async def test_a_full_disk_hides_no_refusal_and_no_outcome(world: World) -> None:
    """Who is refused hears why; what was done is told as done."""
    world.may("email:ann@ops.example", AccessRole.OPERATE)
    world.daemon.audit.full = True
    with pytest.raises(AccessDenied, match="may not do this"):
        await call(world.of(DAEMON_1), pause)
    world.daemon.audit.full = False

    class FillsUp(FakeDaemon):
        async def set_desired(self, *args: Any, **how: Any) -> bool:
            self.audit.full = True
            return await super().set_desired(*args, **how)

    daemon = FillsUp()
    server = RpcServer(daemon, daemon.audit, host="127.0.0.1", port=0, state_dir=daemon.state_dir)
    try:
        with pytest.raises(Exception, match="SetDesired of 'east-to-west' was done"):
            await call(Endpoint(f"127.0.0.1:{await server.start()}"), pause)
        assert len(daemon.asked) == 1
    finally:
        await server.stop(0.1)
