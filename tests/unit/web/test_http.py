"""The HTTP endpoints, in memory and over a socket."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import AsyncIterator
from dataclasses import replace

import httpx
import pytest
import pytest_asyncio

from replicator.core.status.health import not_ready_because
from replicator.errors import ReplicatorError
from replicator.model.status.snapshots import ClusterStatus, to_json
from replicator.model.status.states import FlowState, PartitionPhase
from replicator.web.http import app, serve
from tests.unit.rpc.fake_daemon import FakeDaemon
from tests.unit.rpc.samples import AUDIT, DAEMON, EAST, ORDERS

ROUTE = "this is about copying only: the daemon still accepts orders, even a failover; route those by /healthz"


@pytest.fixture
def daemon() -> FakeDaemon:
    """A daemon with three flows."""
    return FakeDaemon()


@pytest_asyncio.fixture
async def http(daemon: FakeDaemon) -> AsyncIterator[httpx.AsyncClient]:
    """A client of its application."""
    transport = httpx.ASGITransport(app(daemon))
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost:8480") as client:
        yield client


async def test_healthz_is_about_the_loop_only(http: httpx.AsyncClient, daemon: FakeDaemon) -> None:
    """A remote outage never makes an orchestrator restart us."""
    daemon.status = replace(DAEMON, ready=False, not_ready_because="east is away")

    assert (await http.get("/healthz")).status_code == 200


async def test_readyz_says_what_is_missing(http: httpx.AsyncClient, daemon: FakeDaemon) -> None:
    """503 with the reason until the daemon is ready."""
    assert (await http.get("/readyz")).status_code == 200
    daemon.status = replace(DAEMON, ready=False, not_ready_because="seeding orders.eu")
    answer = await http.get("/readyz")

    told = ["seeding orders.eu", "north-to-west: west does not answer: refused", ROUTE]
    assert (answer.status_code, answer.text.splitlines()) == (503, told)


async def test_readyz_counts_what_stands_still_by_name(http: httpx.AsyncClient, daemon: FakeDaemon) -> None:
    """It keeps nobody else from being ready."""
    audit = replace(AUDIT, partitions=tuple(replace(one, phase=PartitionPhase.STOPPED) for one in AUDIT.partitions))
    daemon.status = replace(DAEMON, flows=(replace(EAST, mirrors=(ORDERS, audit)),))
    answer = await http.get("/readyz")
    assert (answer.status_code, answer.text) == (
        200,
        "ready\neast-to-west: 1 of 3 partitions stopped: overtaken_by_retention 1\n",
    )


async def test_readyz_counts_what_stands_still_also_while_something_is_waited_for(
    http: httpx.AsyncClient, daemon: FakeDaemon
) -> None:
    """And names the broker that does not answer, once."""
    silent = "west broker 2 does not answer, last heard 12.0s ago"
    audit = replace(AUDIT, partitions=tuple(replace(one, phase=PartitionPhase.STOPPED) for one in AUDIT.partitions))
    clusters = (ClusterStatus("west", up=True, trouble=silent),)
    flow = replace(EAST, mirrors=(ORDERS, audit), clusters=clusters)
    why = not_ready_because(flow)
    daemon.status = replace(DAEMON, ready=False, not_ready_because=why, flows=(flow,))
    answer = await http.get("/readyz")
    assert answer.status_code == 503
    assert answer.text.splitlines() == [
        f"1 of 3 partitions of east-to-west are not copied now: waiting_for_doubt 1; {silent}",
        "east-to-west: 1 of 3 partitions stopped: overtaken_by_retention 1",
        ROUTE,
    ]


async def test_a_cluster_that_is_away_makes_a_daemon_no_worse_for_orders(
    http: httpx.AsyncClient, daemon: FakeDaemon
) -> None:
    """Who routed orders by /readyz lost the daemon just when a failover was needed: it says by what to route."""
    away = (ClusterStatus("east", up=False, trouble="east does not answer: refused"),)
    flow = replace(EAST, state=FlowState.UNREACHABLE, reason="east does not answer: refused", clusters=away)
    daemon.status = replace(DAEMON, ready=False, not_ready_because=not_ready_because(flow), flows=(flow,))
    answer = await http.get("/readyz")
    assert (answer.status_code, answer.text.splitlines()) == (
        503,
        ["east-to-west is UNREACHABLE: east does not answer: refused", ROUTE],
    )
    assert (await http.get("/healthz")).status_code == 200


async def test_status_is_the_json_of_the_contract(http: httpx.AsyncClient) -> None:
    """The same document as `flow status -o json`."""
    assert (await http.get("/status")).json() == json.loads(json.dumps(to_json(DAEMON)))


async def test_metrics_are_prometheus_text(http: httpx.AsyncClient) -> None:
    """With the type that Prometheus asks for."""
    answer = await http.get("/metrics")

    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert 'replicator_flow_paused{flow="north-to-west"} 1.0' in answer.text


async def test_healthy_is_for_load_balancers(http: httpx.AsyncClient, daemon: FakeDaemon) -> None:
    """200 or 503 with the reason."""

    async def ask(path: str) -> tuple[int, str | None]:
        answer = await http.get(path)
        return answer.status_code, answer.json().get("because")

    path = "/flows/east-to-west/healthy"
    assert await ask(path) == (503, "audit-2026 is FAULTED")
    assert await ask("/flows/north-to-west/healthy") == (503, "the flow is PAUSED")
    assert await ask("/flows/west-to-east/healthy") == (503, "another daemon runs this flow")
    daemon.status = replace(DAEMON, flows=(replace(EAST, mirrors=(ORDERS,)),))
    assert await ask(path) == (200, None)
    assert await ask(path + "?rpo=30s") == (200, None)
    assert await ask(path + "?rpo=3s") == (503, "the RPO is 3.2s, more than 3s")
    daemon.status = replace(DAEMON, flows=(replace(EAST, mirrors=(ORDERS,), rpo_seconds=None),))
    assert await ask(path + "?rpo=30s") == (503, "the RPO is not known yet")


async def test_healthy_refuses_what_it_cannot_mean(http: httpx.AsyncClient) -> None:
    """404 for an unknown flow, with the nearest name; 400 for a duration without a unit."""
    unknown = await http.get("/flows/east-to-wets/healthy")

    assert unknown.status_code == 404
    assert "'east-to-west'" in unknown.json()["next"]
    for wrong in ("30", "1.5s", "7d", "0s"):  # the rule of the flow file
        answer = await http.get(f"/flows/east-to-west/healthy?rpo={wrong}")
        assert (answer.status_code, "allowed: " in answer.json()["error"]) == (400, True)


async def test_nothing_can_be_changed(http: httpx.AsyncClient) -> None:
    """Orders go through rpc, where the caller is known."""
    assert (await http.post("/status")).status_code == 405


async def test_serve_ends_with_its_event_and_leaves_signals_alone(daemon: FakeDaemon) -> None:
    """The daemon owns SIGTERM; a taken port is an error of ours and not the end of the process."""
    stop = asyncio.Event()
    port: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    handlers = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    serving = asyncio.create_task(serve("127.0.0.1", 0, daemon, stop, port.set_result))
    base = f"http://127.0.0.1:{await port}"

    async with httpx.AsyncClient(base_url=base, trust_env=False) as client:
        assert (await client.get("/healthz")).text == "ok\n"
        assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == handlers
        with pytest.raises(ReplicatorError, match="cannot listen"):
            await serve("127.0.0.1", await port, daemon, stop)
        stop.set()
        await asyncio.wait_for(serving, 10)
        with pytest.raises(httpx.ConnectError):
            await client.get("/healthz")
