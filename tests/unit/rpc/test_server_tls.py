"""The server over TLS: certificates, identities and roles."""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path

import pytest
import pytest_asyncio
import trustme

from replicator.errors import (
    ConfigError,
    DaemonUnreachable,
    PreflightFailed,
    UsageError,
)
from replicator.model.access_rules import AccessRole, AccessRule
from replicator.model.operations.resolution import How, ResolutionOrder
from replicator.model.spec import TlsSpec
from replicator.model.status.events import Desired
from replicator.model.switch.terms import SwitchOrder, Verb
from replicator.rpc.client.control_client import ControlClient
from replicator.rpc.client.endpoint import Endpoint
from replicator.rpc.server.server import RpcServer
from tests.unit.rpc.fake_daemon import FakeDaemon
from tests.unit.rpc.samples import DAEMON
from tests.unit.rpc.serving import call, serving


class Files:
    """Certificates of one authority in a directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.authority = trustme.CA()
        self.ca = directory / "ca.pem"
        self.authority.cert_pem.write_to_path(self.ca)
        self.server = TlsSpec(*self.issue("server", "127.0.0.1"), self.ca)

    def issue(self, file: str, *names: str) -> tuple[Path, Path]:
        """Write certificate and key of a name; the same file name again is a rotation."""
        leaf = self.authority.issue_cert(*names)
        certificate, key = self.directory / f"{file}.pem", self.directory / f"{file}.key"
        certificate.write_bytes(b"".join(blob.bytes() for blob in leaf.cert_chain_pems))
        key.touch(mode=0o600)
        key.write_bytes(leaf.private_key_pem.bytes())
        return certificate, key


@pytest.fixture
def files(tmp_path: Path) -> Files:
    """A fresh authority."""
    return Files(tmp_path)


@pytest_asyncio.fixture
async def secure(daemon: FakeDaemon, files: Files) -> AsyncIterator[Endpoint]:
    """A server that requires client certificates, and how to reach it."""
    rules = [AccessRule("*@ops.example", (AccessRole.OPERATE,)), AccessRule("127.0.0.1", (AccessRole.REPLICATE,))]
    server = serving(daemon, tls=files.server, rules=rules)
    port = await server.start()
    certificate, key = files.issue("ann", "ann@ops.example")
    yield Endpoint(f"127.0.0.1:{port}", files.ca, certificate, key)
    await server.stop(0.1)


async def test_the_certificate_says_who_acts(secure: Endpoint, daemon: FakeDaemon) -> None:
    """The name in the message does not count with mutual TLS."""
    await call(
        secure,
        lambda client: client.set_desired("east-to-west", Desired.PAUSED, actor="root", reason="r"),
    )

    assert daemon.asked == [("east-to-west", Desired.PAUSED, "email:ann@ops.example", "r")]


ROLES = {
    "observe": AccessRule("ann@ops.example", (AccessRole.OBSERVE,), ("east-*",)),
    "operate": AccessRule("ann@*", (AccessRole.OPERATE,), ("east-to-west",)),
    "failover": AccessRule("ann@*", (AccessRole.FAILOVER,)),
    "replicate": AccessRule("*", (AccessRole.REPLICATE,)),
    "nothing": AccessRule("bob@ops.example", tuple(AccessRole)),
}
MAY = {
    "look": {"observe", "operate", "failover", "replicate"},
    "pause": {"operate"},
    "switch over": {"operate"},
    "fail over": {"failover"},
    "give the target up": {"failover"},
    "resolve": {"operate"},
    "another flow": {"failover", "replicate"},
}
DO: dict[str, Callable[[ControlClient], object]] = {
    "look": lambda client: client.status("east-to-west"),
    "pause": lambda client: client.set_desired("east-to-west", Desired.PAUSED, actor="", reason=""),
    "switch over": lambda client: client.start_switch(order(Verb.SWITCHOVER), None),
    "fail over": lambda client: client.start_switch(order(Verb.FAILOVER), None),
    "give the target up": lambda client: client.abort_switch("east-to-west", actor="", reason="", target_lost=True),
    "resolve": lambda client: client.resolve("east-to-west", ResolutionOrder("orders.eu", How.SKIP), dry_run=True),
    "another flow": lambda client: client.switches("west-to-east"),
}


def order(verb: Verb) -> SwitchOrder:
    """Return an order of a verb."""
    return SwitchOrder(verb, verb, flow="east-to-west")


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("what", DO)
async def test_roles(daemon: FakeDaemon, files: Files, role: str, what: str) -> None:
    """Nobody may do what no rule gives; what was refused is in the audit log, and says what to add."""
    server = RpcServer(
        daemon,
        daemon.audit,
        host="127.0.0.1",
        state_dir=daemon.state_dir,
        port=0,
        tls=files.server,
        rules=[ROLES[role]],
    )
    endpoint = Endpoint(f"127.0.0.1:{await server.start()}", files.ca, *files.issue("ann", "ann@ops.example"))
    try:
        if role in MAY[what]:
            await call(endpoint, DO[what])
            return
        with pytest.raises(PreflightFailed, match="may not do this") as refusal:
            await call(endpoint, DO[what])
        assert "daemon.access" in refusal.value.next_step
        if what not in {"look", "another flow"}:
            assert daemon.audit.entries[-1].phase == "refused"
            assert daemon.audit.entries[-1].actor == "email:ann@ops.example"
        server.access.rules = (AccessRule("ann@ops.example", tuple(AccessRole)),)
        await call(endpoint, DO[what])
    finally:
        await server.stop(0.1)


async def test_only_what_may_be_seen_is_shown(daemon: FakeDaemon, files: Files) -> None:
    """Flows that no rule is about are left out; leases are for daemons."""
    server = RpcServer(
        daemon,
        daemon.audit,
        host="127.0.0.1",
        state_dir=daemon.state_dir,
        port=0,
        tls=files.server,
        rules=[ROLES["observe"]],
    )
    endpoint = Endpoint(f"127.0.0.1:{await server.start()}", files.ca, *files.issue("ann", "ann@ops.example"))
    try:
        seen = await call(endpoint, lambda client: client.status())
        assert {flow.flow for flow in seen.flows} == {one.flow for one in DAEMON.flows if one.flow.startswith("east-")}
    finally:
        await server.stop(0.1)


async def test_no_certificate_no_answer(secure: Endpoint) -> None:
    """The handshake itself refuses."""
    with pytest.raises(DaemonUnreachable):
        await call(replace(secure, cert_file=None, key_file=None), lambda client: client.status())


async def test_a_foreign_certificate_gets_no_answer(secure: Endpoint, tmp_path: Path) -> None:
    """Only the configured authority's clients are let in."""
    (tmp_path / "other").mkdir()
    certificate, key = Files(tmp_path / "other").issue("eve", "eve@ops.example")

    with pytest.raises(DaemonUnreachable):
        await call(replace(secure, cert_file=certificate, key_file=key), lambda client: client.status())


async def test_rotated_certificates_are_served_without_a_restart(secure: Endpoint, files: Files) -> None:
    """A broken pair changes nothing, a good one is used for the next connection."""

    def served() -> str:
        host, port = secure.address.split(":")
        return ssl.get_server_certificate((host, int(port)))

    before = files.server.cert_file.read_text()
    assert (await asyncio.to_thread(served)).strip() in before
    files.server.key_file.write_text("half a rotation")
    assert await call(secure, lambda client: client.status()) == DAEMON
    files.issue("server", "127.0.0.1")
    assert await call(secure, lambda client: client.status()) == DAEMON
    assert (await asyncio.to_thread(served)).strip() in files.server.cert_file.read_text()
    assert files.server.cert_file.read_text() != before


async def test_without_client_certificates_strangers_only_read(daemon: FakeDaemon, files: Files) -> None:
    """TLS hides the talk, it does not tell who talks."""
    spec = replace(files.server, ca_file=None)
    server = RpcServer(daemon, daemon.audit, host="0.0.0.0", state_dir=daemon.state_dir, port=0, tls=spec)  # noqa: S104
    endpoint = Endpoint(f"127.0.0.1:{await server.start()}", files.ca)
    try:
        assert await call(endpoint, lambda client: client.status()) == DAEMON
        with pytest.raises(PreflightFailed):
            await call(
                endpoint,
                lambda client: client.set_desired("east-to-west", Desired.PAUSED, actor="a", reason=""),
            )
    finally:
        await server.stop(0.1)
    assert daemon.asked == []


async def test_bad_certificate_files_are_a_config_error(daemon: FakeDaemon, files: Files) -> None:
    """Missing, mismatched, or a key everybody can read."""
    missing = replace(files.server, cert_file=files.directory / "none.pem")
    mismatched = replace(files.server, cert_file=files.issue("other", "x")[0])
    for spec in (missing, mismatched):
        with pytest.raises(ConfigError):
            await serving(daemon, tls=spec).start()
    os.chmod(files.server.key_file, 0o644)  # noqa: PTH101
    with pytest.raises(ConfigError, match="every user"):
        await serving(daemon, tls=files.server).start()


def test_addresses_that_cannot_be_meant() -> None:
    """Checked before anything is connected."""
    for text in ("host", "host:", ":7443", "host:99999", "host:x", "::1:7443", "http://host:7443"):
        with pytest.raises(UsageError, match="allowed: host:port"):
            ControlClient(Endpoint(text))
    with pytest.raises(UsageError, match="its key"):
        ControlClient(Endpoint("far.example:7443", cert_file=Path("a.pem")))
    with pytest.raises(UsageError, match="cannot be read"):
        ControlClient(Endpoint("far.example:7443", ca_file=Path("/nonexistent/ca.pem")))
