"""Server and client over real sockets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import astuple, replace
from typing import Any

import grpc
import pytest
import pytest_asyncio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from replicator import api
from replicator.control.port import QUESTIONS_MAX
from replicator.errors import (
    BugError,
    ConfigError,
    Conflict,
    DaemonUnreachable,
    ReplicatorError,
    TimedOut,
    UsageError,
)
from replicator.model.operations.audit import Phase
from replicator.model.operations.forget import Forgotten
from replicator.model.operations.resolution import How, ResolutionOrder
from replicator.model.operations.translation import OffsetQuestion, TimeQuestion
from replicator.model.status.events import Desired
from replicator.model.switch.terms import SwitchOrder, Verb
from replicator.rpc.client.control_client import QUESTIONS_PER_CALL, ControlClient
from replicator.rpc.client.endpoint import Endpoint
from replicator.rpc.client.peers import FlowReference, Peers
from replicator.rpc.server.server import SERVICE, RpcServer
from replicator.rpc.v1 import control_pb2 as pb
from tests.unit.rpc.fake_daemon import FakeDaemon
from tests.unit.rpc.samples import DAEMON, EAST, EVENTS, TRANSLATIONS
from tests.unit.rpc.serving import call, serving


@pytest_asyncio.fixture
async def address(daemon: FakeDaemon) -> AsyncIterator[str]:
    """Its plain-text server on loopback."""
    server = serving(daemon)
    port = await server.start()
    yield f"127.0.0.1:{port}"
    await server.stop(0.1)


async def test_status_arrives_whole_or_for_one_flow(address: str) -> None:
    """The client returns the very values of the daemon."""
    assert await call(address, lambda client: client.status()) == DAEMON
    assert (await call(address, lambda client: client.status("east-to-west"))).flows == (EAST,)
    assert (await call(address, lambda client: client.flows())).flows[0] == replace(EAST, mirrors=())


async def test_a_daemon_answers_others_about_their_very_flow(address: str, daemon: FakeDaemon) -> None:
    """Another flow of that name behind the same address says so: it is neither looked at nor changed."""
    peers = Peers(Endpoint(""))
    mine, other = FlowReference(EAST.flow, EAST.flow_uid or ""), FlowReference(EAST.flow, "another")
    questions = [OffsetQuestion("orders.eu", 0, 1)]
    try:
        assert (await peers.status(address, mine)).flow_uid == EAST.flow_uid
        for ask in (
            peers.status(address, other),
            peers.translate(address, other, questions, reverse=False),
        ):
            with pytest.raises(Conflict, match="not the one in the request"):
                await ask
        assert not daemon.questions
    finally:
        await peers.close()


async def test_an_unknown_flow_names_the_nearest(address: str) -> None:
    """The daemon's usage error arrives as one."""
    with pytest.raises(UsageError) as caught:
        await call(address, lambda client: client.status("east-to-wets"))

    assert "'east-to-west'" in caught.value.next_step


async def test_pause_is_done_once(address: str, daemon: FakeDaemon) -> None:
    """The second pause changes nothing; a repeated request id does not even ask."""

    def pause(client: ControlClient, request_id: str) -> bool:
        return client.set_desired(
            "east-to-west", Desired.PAUSED, actor="ann@ops", reason="patch", request_id=request_id
        )

    assert await call(address, lambda client: pause(client, "one"))
    assert not await call(address, lambda client: pause(client, "two"))
    assert await call(address, lambda client: pause(client, "one"))
    assert daemon.asked == [("east-to-west", Desired.PAUSED, "ann@ops", "patch")] * 2


async def test_no_order_waits_while_something_is_forgotten() -> None:
    """A flow is watched for signs of life before: a failover of another one must not time out over that."""

    class Watching(FakeDaemon):
        began, over = asyncio.Event(), asyncio.Event()

        async def forget(self, flow: str, topic: str | None, *, may: Callable[[str], None], dry_run: bool) -> Forgotten:
            self.began.set()
            await self.over.wait()
            return await super().forget(flow, topic, may=may, dry_run=dry_run)

    daemon = Watching()
    server = serving(daemon)
    address = f"127.0.0.1:{await server.start()}"
    forgets = asyncio.create_task(
        call(address, lambda client: client.forget("old", None, actor="ann", reason="", dry_run=True))
    )
    try:
        await daemon.began.wait()
        order = SwitchOrder("one", Verb.FAILOVER, "east-to-west", actor="ann")
        async with asyncio.timeout(10.0):
            await call(address, lambda client: client.plan_switch(order))
        assert not forgets.done()
    finally:
        daemon.over.set()
        await forgets
        await server.stop(0.1)


async def test_a_daemon_that_waits_for_a_cluster_says_so_in_time() -> None:
    """The caller would only be told that nobody answered, and to look at a log that says nothing of it."""

    class Waiting(FakeDaemon):
        async def set_desired(self, *_: Any, **__: Any) -> bool:
            await asyncio.Event().wait()
            return True

    daemon = Waiting()
    server = serving(daemon)
    endpoint = Endpoint(f"127.0.0.1:{await server.start()}", timeout_seconds=3.0)

    def pause() -> None:
        with ControlClient(endpoint) as client:
            client.set_desired("east-to-west", Desired.PAUSED, actor="a", reason="")

    try:
        with pytest.raises(TimedOut, match="the daemon has no answer after 3 s") as told:
            await asyncio.to_thread(pause)
        assert "replicator flow status" in told.value.next_step
        assert "whether an order took effect is not known" in told.value.why
    finally:
        await server.stop(0.1)


async def test_a_late_command_is_refused_by_its_epoch(address: str, daemon: FakeDaemon) -> None:
    """Compare-and-set: the flow is at another epoch by now."""
    with pytest.raises(Conflict, match="epoch 7, not 6"):
        await call(
            address,
            lambda client: client.set_desired("east-to-west", Desired.PAUSED, actor="a", reason="", expected_epoch=6),
        )
    assert daemon.asked == []


async def test_events_arrive(address: str) -> None:
    """Newest last, of one topic if asked."""
    assert await call(address, lambda client: client.events("east-to-west", "audit-2026")) == EVENTS
    assert await call(address, lambda client: client.events("east-to-west", "audit-2026", 1)) == EVENTS[1:]
    assert await call(address, lambda client: client.events("east-to-west", "orders.eu")) == ()


async def test_watch_sends_until_the_server_stops(daemon: FakeDaemon) -> None:
    """A watch ends without an error when the daemon ends in good order."""
    server = serving(daemon)
    endpoint = Endpoint(f"127.0.0.1:{await server.start()}")
    seen: list[bool] = []
    loop, twice = asyncio.get_running_loop(), asyncio.Event()

    def watch(client: ControlClient) -> None:
        for status in client.watch(0.5):
            seen.append(status.ready)
            daemon.status = replace(DAEMON, ready=False)
            if len(seen) == 2:
                loop.call_soon_threadsafe(twice.set)

    watching = asyncio.create_task(call(endpoint, watch))
    await twice.wait()
    await server.stop()
    await watching

    assert seen[:2] == [True, False]


async def test_any_number_of_questions_is_answered_in_order(address: str, daemon: FakeDaemon) -> None:
    """In calls of a bounded size."""
    questions = [OffsetQuestion("orders.eu", at % 2, at) for at in range(QUESTIONS_PER_CALL + 500)]

    found = await call(address, lambda client: client.translate("east-to-west", questions))

    assert [(each.topic, each.partition, each.source_offset) for each in found] == [*map(astuple, questions)]
    assert all(each.target_offset == (each.source_offset or 0) + 3 for each in found)
    assert [len(asked) for _, asked, _ in daemon.questions] == [QUESTIONS_PER_CALL, 500]


async def test_a_group_is_asked_about_in_either_direction(address: str, daemon: FakeDaemon) -> None:
    """And its answers arrive as the daemon gave them; the functions of `api` do the same."""
    assert await call(address, lambda client: client.translate_group("east-to-west", "billing")) == TRANSLATIONS
    found = await asyncio.to_thread(api.translate_group, address, "east-to-west", "billing", reverse=True)
    one = await asyncio.to_thread(api.translate, address, "east-to-west", "orders.eu", 1, 10, reverse=True)

    assert found == TRANSLATIONS[:1]
    assert (one.source_offset, one.target_offset, one.state) == (7, 10, api.TranslationState.EXACT)
    assert daemon.questions[:2] == [("east-to-west", "billing", False), ("east-to-west", "billing", True)]


async def test_a_moment_is_asked_about(address: str, daemon: FakeDaemon) -> None:
    """Of one partition or all; and a moment that is none is refused."""
    found = await asyncio.to_thread(api.translate_time, address, "east-to-west", "orders.eu", 1_790_000_000_500)
    one = await asyncio.to_thread(api.translate_time, address, "east-to-west", "orders.eu", 0, 0)

    assert (found, one) == (TRANSLATIONS, TRANSLATIONS[:1])
    assert daemon.moments == [
        ("east-to-west", TimeQuestion("orders.eu", 1_790_000_000_500)),
        ("east-to-west", TimeQuestion("orders.eu", 0, 0)),
    ]
    with pytest.raises(UsageError, match="is not a time"):
        await asyncio.to_thread(api.translate_time, address, "east-to-west", "orders.eu", -1)


@pytest.mark.parametrize(("group", "count"), [("", 0), ("billing", 1), ("", QUESTIONS_MAX + 1)])
async def test_a_call_takes_a_group_or_some_questions(address: str, group: str, count: int) -> None:
    """Neither, both, or too many are refused with what is allowed."""
    request = pb.TranslateOffsetsRequest(
        flow="east-to-west", group=group, questions=[pb.OffsetQuestion(topic="t", offset=at) for at in range(count)]
    )

    with pytest.raises(UsageError, match="one group, or 1 to 10,000 questions"):
        await call(address, lambda client: client._translate(request))


async def test_an_unexpected_exception_is_a_bug_and_shows_no_inside(
    address: str, daemon: FakeDaemon, caplog: pytest.LogCaptureFixture
) -> None:
    """Its text stays in the daemon's log."""
    daemon.refuse = RuntimeError("inside")

    with pytest.raises(BugError) as caught:
        await call(address, lambda client: client.status())
    assert "inside" not in repr(vars(caught.value))
    assert "inside" in caplog.text


async def test_nobody_there_is_said_with_the_next_step() -> None:
    """Connection refused is one sentence and two commands."""
    with pytest.raises(DaemonUnreachable) as caught:
        await call("127.0.0.1:1", lambda client: client.status())
    assert "replicator run" in caught.value.next_step


async def test_health_and_reflection_stand_beside_the_service(address: str) -> None:
    """Probes and grpcurl find what they look for."""

    def look() -> tuple[int, list[str]]:
        with grpc.insecure_channel(address) as channel:
            answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(service=SERVICE))
            return answer.status, list(ProtoReflectionDescriptorDatabase(channel).get_services())

    status, services = await asyncio.to_thread(look)

    assert status == health_pb2.HealthCheckResponse.SERVING
    assert SERVICE in services


async def test_a_taken_port_is_an_error(address: str, daemon: FakeDaemon) -> None:
    """Two daemons never share a port."""
    with pytest.raises(ReplicatorError, match="cannot listen"):
        await RpcServer(
            daemon, daemon.audit, host="127.0.0.1", state_dir=daemon.state_dir, port=int(address.rsplit(":", 1)[1])
        ).start()


async def test_plain_text_off_loopback_is_refused(daemon: FakeDaemon) -> None:
    """TLS, or this machine only."""
    with pytest.raises(ConfigError, match="without TLS"):
        await RpcServer(daemon, daemon.audit, host="0.0.0.0", state_dir=daemon.state_dir, port=0).start()  # noqa: S104


async def test_a_change_is_written_down_before_and_after(address: str, daemon: FakeDaemon) -> None:
    """Who, what, why, and what was so before."""
    await call(address, lambda client: client.set_desired("east-to-west", Desired.PAUSED, actor="ann", reason="work"))
    before, after = daemon.audit.entries
    assert (before.phase, before.actor, before.actor_known_by, before.method) == (
        Phase.INTENT, "ann", "token", "SetDesired",
    )  # fmt: skip
    assert (before.before, before.after, before.reason) == ("ACTIVE", "PAUSED", "work")
    assert before.peer.startswith("ipv4:127.0.0.1:")
    assert (after.phase, after.call, after.outcome) == (Phase.OUTCOME, before.seq, "ok")
    assert [entry.seq for entry in await call(address, lambda client: client.audit("east-to-west", 10))] == [1, 2]


async def test_a_change_that_fails_is_written_down(address: str, daemon: FakeDaemon) -> None:
    """With what went wrong."""
    daemon.refuse = Conflict("someone was faster")
    with pytest.raises(Conflict):
        await call(address, lambda client: client.set_desired("east-to-west", Desired.PAUSED, actor="ann", reason=""))
    assert [(entry.outcome, entry.error) for entry in daemon.audit.entries] == [
        ("", ""),
        ("failed", "someone was faster"),
    ]


async def test_without_the_log_nothing_is_changed(address: str, daemon: FakeDaemon) -> None:
    """A full disk refuses the change before it is made."""
    daemon.audit.full = True
    with pytest.raises(ReplicatorError, match="audit log"):
        await call(address, lambda client: client.set_desired("east-to-west", Desired.PAUSED, actor="ann", reason=""))
    assert daemon.asked == []


async def test_a_dry_run_is_no_change(address: str, daemon: FakeDaemon) -> None:
    """It leaves no trace."""
    order = ResolutionOrder("audit-2026", How.SKIP, actor="ann", why="")
    await call(address, lambda client: client.resolve("east-to-west", order, dry_run=True))
    assert daemon.audit.entries == []
    await call(address, lambda client: client.resolve("east-to-west", order, dry_run=False))
    assert [entry.topic for entry in daemon.audit.entries] == ["audit-2026", "audit-2026"]
    assert daemon.audit.entries[1].after.startswith("skip; ")
