"""Nobody takes the room of others, through the real server."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography import x509

from replicator.control.access import Rank
from replicator.control.refusals import Why
from replicator.errors import AccessDenied, Busy
from replicator.model.access_rules import AccessRole
from replicator.model.operations.resolution import How, Resolution, ResolutionOrder
from replicator.model.switch.terms import SwitchOrder, Verb
from replicator.rpc.client.endpoint import Endpoint
from replicator.rpc.server.server import RpcServer
from replicator.rpc.server.shares import Kind, Shares
from replicator.rpc.v1 import control_pb2 as pb
from replicator.rpc.v1 import control_pb2_grpc
from tests.unit.rpc.access_world import ANN, DAEMON_1, FLOW, Files, World, pause
from tests.unit.rpc.fake_daemon import FakeDaemon
from tests.unit.rpc.serving import call


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

        async def resolve(self, flow: str, order: ResolutionOrder, *, dry_run: bool, alone: bool) -> Resolution:
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
            call(endpoint, lambda client: client.resolve(FLOW, ResolutionOrder("audit-2026", How.SKIP), dry_run=False))
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
