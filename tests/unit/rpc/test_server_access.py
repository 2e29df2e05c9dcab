"""Who may do what through the real server, with certificates."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace

import grpc
import pytest
from cryptography import x509
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from replicator.errors import AccessDenied, Conflict, HeldElsewhere
from replicator.model.access_rules import AccessRole, AccessRule
from replicator.model.lease import LeaseCaller
from replicator.model.operations.audit import AuditEntry, Phase
from replicator.model.operations.resolution import How, Resolution, ResolutionOrder
from replicator.model.switch.terms import Options, SwitchOrder, Verb
from replicator.rpc.client.control_client import ControlClient
from replicator.rpc.client.lease_client import RemoteLeases
from replicator.rpc.server.server import RpcServer
from tests.unit.rpc.access_world import ANN, DAEMON_1, FLOW, SPIFFE, World, pause
from tests.unit.rpc.fake_daemon import FakeDaemon
from tests.unit.rpc.samples import SKIPPED
from tests.unit.rpc.serving import call


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
        FLOW, ResolutionOrder("audit-2026", How.RECREATE), dry_run=False, expected_epoch=None, alone=True
    ),
    "pause": pause,
    "forget": lambda client: client.forget(FLOW, "orders.eu", actor="", reason="", dry_run=False),
    "repoint": lambda client: client.repoint(FLOW, "north", actor="", reason="", dry_run=False),
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
        async def resolve(self, flow: str, order: ResolutionOrder, *, dry_run: bool, alone: bool) -> Resolution:
            if not alone:
                raise HeldElsewhere("d2 copies it", address=f"127.0.0.1:{world.port}", next_step="ask d2")
            return await super().resolve(flow, order, dry_run=dry_run, alone=False)

    class Here(FakeDaemon):
        async def resolve(self, flow: str, order: ResolutionOrder, *, dry_run: bool, alone: bool) -> Resolution:
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
    order = ResolutionOrder("audit-2026", How.SKIP)
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
    caller = LeaseCaller("0e1f", "east", "e-1", "", 1)
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
