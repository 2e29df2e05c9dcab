"""Who may read what over HTTP, and that nobody keeps a probe from its answer; over sockets."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
import trustme

from replicator.control.access import Access
from replicator.control.refusals import Why
from replicator.model.access_rules import AccessRole, AccessRule
from replicator.model.spec import DaemonSpec, TlsSpec
from replicator.web import connections
from replicator.web.connections import Connection, Room
from replicator.web.gate import Gate
from replicator.web.http import serve
from tests.unit.rpc.fake_daemon import FakeDaemon
from tests.unit.rpc.samples import DAEMON

SPEC = DaemonSpec(Path("state"))
PAGES = ("/metrics", "/healthz", "/readyz", "/status", "/flows/east-to-west/healthy")
OUTSIDE = ("0.0.0.0", 8480)  # noqa: S104 - nothing listens there


@contextlib.asynccontextmanager
async def served(gate: Gate | None = None, daemon: FakeDaemon | None = None) -> AsyncIterator[int]:
    """Serve on loopback, whatever the gate is for; yield the port."""
    stop, port = asyncio.Event(), asyncio.get_running_loop().create_future()
    serving = asyncio.create_task(serve("127.0.0.1", 0, daemon or FakeDaemon(), stop, port.set_result, gate=gate))
    try:
        yield await port
    finally:
        stop.set()
        await asyncio.wait_for(serving, 20)


async def codes(client: httpx.AsyncClient, **headers: str) -> dict[str, int]:
    """Return the status of each page."""
    return {page: (await client.get(page, headers=headers)).status_code for page in PAGES}


@pytest.mark.parametrize(
    ("host", "allowed"),
    [
        ("localhost", True),
        ("LOCALHOST:8480", True),
        ("daemon.localhost:1", True),
        ("127.0.0.1:8480", True),
        ("[::1]:8480", True),
        ("10.1.2.3", True),
        ("metrics.example:80", True),
        ("evil.example", False),
        ("evil.example:8480", False),
        ("127.0.0.1.evil.example", False),
        ("[::1].evil.example", False),
        ("localhost:80@evil.example", False),
        ("[localhost]", False),
        ("localhost:", False),
        ("localhost.evil.example", False),
        ("[evil.example]", False),
        ("", False),
    ],
)
async def test_a_name_that_is_not_ours_is_not_answered(host: str, allowed: bool) -> None:  # noqa: FBT001 - a table
    """A page of another site may have a browser ask under its own name."""
    access = Access()
    gate = Gate.of(replace(SPEC, http_hosts=("Metrics.Example",)), access)
    async with (
        served(gate) as port,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client,
    ):
        answer = await client.get("/status", headers={"host": host})
    assert answer.status_code == (200 if allowed else 421)
    assert access.refusals.counts[Why.HOST] == (not allowed)
    assert allowed or "daemon.http_hosts" in answer.text


async def test_what_is_public_is_three_pages() -> None:
    """In plain text, for everybody."""
    gate = Gate.of(replace(SPEC, http=OUTSIDE, http_public=True), Access())
    async with (
        served(gate) as port,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client,
    ):
        found = await codes(client)
    assert {page for page, code in found.items() if code == 200} == {"/metrics", "/healthz", "/readyz"}
    assert found["/status"] == 403
    assert not Gate.of(replace(SPEC, http_public=True), Access()).public, "on loopback all of it"


async def test_beyond_loopback_a_certificate_shows_what_its_rules_say(tmp_path: Path) -> None:
    """Probes have none: they learn whether, not why. The port speaks no plain text."""
    authority = trustme.CA()
    leaf, ca = authority.issue_cert("127.0.0.1"), tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(ca)
    key, cert = tmp_path / "key.pem", tmp_path / "cert.pem"
    leaf.private_key_pem.write_to_path(key)
    leaf.cert_chain_pems[0].write_to_path(cert)
    tls = TlsSpec(cert, key, ca)
    access = Access([AccessRule("email:ann@*", (AccessRole.OBSERVE,), ("east-*",))])
    gate = Gate.of(replace(SPEC, http=OUTSIDE, tls=tls), access)
    daemon = FakeDaemon(replace(DAEMON, ready=False, not_ready_because="north-to-west is STARTING"))

    def trusting(name: str | None) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=ca)
        if name is not None:
            authority.issue_cert(name).configure_cert(context)
        return context

    async with served(gate, daemon) as port:
        base = f"https://127.0.0.1:{port}"
        for name in (None, "eve@ops.example"):
            async with httpx.AsyncClient(base_url=base, verify=trusting(name), trust_env=False) as client:
                found = await codes(client)
                assert (await client.get("/readyz")).text == "not ready\n"
            assert found == {page: {"/healthz": 200, "/readyz": 503}.get(page, 403) for page in PAGES}
        async with httpx.AsyncClient(base_url=base, verify=trusting("ann@ops.example"), trust_env=False) as client:
            status = (await client.get("/status", headers={"host": "any.example"})).json()
            metrics = (await client.get("/metrics")).text
            other = await client.get("/flows/north-to-west/healthy")
        assert [flow["flow"] for flow in status["flows"]] == ["east-to-west"]
        assert "north-to-west" not in str(status)
        assert "north-to-west" not in metrics
        assert f'refused_calls_total{{reason="{Why.CERTIFICATE}"}} 3.0' in metrics
        assert other.status_code == 404
        with pytest.raises(httpx.HTTPError):
            async with httpx.AsyncClient(trust_env=False) as client:
                await client.get(f"http://127.0.0.1:{port}/healthz")


async def half(port: int, sent: bytes = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n") -> asyncio.StreamReader:
    """Send a part of a request, and go on reading."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    reader.keep = writer  # type: ignore[attr-defined]
    writer.write(sent)
    await writer.drain()
    return reader


async def test_half_sent_requests_keep_no_probe_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """As many as there is room for, and as many again: the oldest of them go."""
    monkeypatch.setattr(connections, "HEAD_SECONDS_MAX", 120.0)
    async with served() as port:
        held = [await half(port) for _ in range(2 * connections.CONNECTIONS_MAX)]
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
            assert (await client.get("/healthz")).status_code == 200
        with contextlib.suppress(ConnectionError):
            assert await asyncio.wait_for(held[0].read(), 10) == b""
        assert not held[-1].at_eof()


async def test_a_request_has_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """From the connection, or from the last answer, and no byte now and then makes it longer."""
    monkeypatch.setattr(connections, "HEAD_SECONDS_MAX", 0.5)
    async with served() as port:
        silent, slow = await half(port, b""), await half(port)
        whole = await half(port, b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")

        async def drip() -> None:
            with contextlib.suppress(ConnectionError):
                while True:
                    slow.keep.write(b"X: y\r\n")  # type: ignore[attr-defined]
                    await asyncio.sleep(0.1)

        dripping = asyncio.create_task(drip())
        for reader in (silent, slow):
            with contextlib.suppress(ConnectionError):
                assert await asyncio.wait_for(reader.read(), 10) == b""
        assert b"200 OK" in await asyncio.wait_for(whole.read(), 10)
        dripping.cancel()


def test_one_address_takes_no_others_room() -> None:
    """What it has too many is its own; what is being answered goes last."""

    class One(Connection):
        def __init__(self, *, answered: bool = False) -> None:
            self.answered, self.gone = answered, False
            self.transport = self  # type: ignore[assignment]

        def is_being_answered(self) -> bool:
            return self.answered

        def abort(self) -> None:
            self.gone = True

    room = Room(4, 2)
    busy, idle, third, other = One(answered=True), One(), One(), One()
    for one in (busy, idle, third):
        room.enter(one, "10.0.0.1")
    assert (busy.gone, idle.gone, third.gone) == (False, True, False)
    room.enter(other, "10.0.0.2")
    room.enter(One(), "10.0.0.3")
    room.enter(One(), "10.0.0.4")
    assert (busy.gone, third.gone, other.gone) == (False, True, False)
    room.leave(busy)
    room.leave(busy)
