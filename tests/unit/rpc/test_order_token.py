"""Orders without TLS: only whoever can read the daemon's state directory gives them."""

from __future__ import annotations

import asyncio
import ipaddress
import os
import stat
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import grpc
import pytest
import pytest_asyncio

from replicator.control.order_token import FILE_NAME, METADATA_KEY, OrderToken
from replicator.control.refusals import Why
from replicator.engine.work.coordinator import Coordinator
from replicator.errors import AccessDenied
from replicator.model.lease import LeaseCaller
from replicator.model.status.events import Desired
from replicator.rpc.client import find_token
from replicator.rpc.client.control_client import ControlClient
from replicator.rpc.client.endpoint import Endpoint
from replicator.rpc.client.find_token import order_metadata
from replicator.rpc.client.lease_client import RemoteLeases
from replicator.rpc.server.server import RpcServer
from replicator.rpc.v1 import control_pb2 as pb
from replicator.rpc.v1 import control_pb2_grpc
from replicator.store.memory_leases import MemoryLeases
from tests.unit.rpc.fake_daemon import FakeDaemon
from tests.unit.rpc.samples import DAEMON

_T = TypeVar("_T")


@pytest.fixture
def daemon() -> FakeDaemon:
    """A daemon with three flows."""
    return FakeDaemon()


@pytest_asyncio.fixture
async def server(daemon: FakeDaemon) -> AsyncIterator[tuple[RpcServer, Endpoint]]:
    """Its plain-text server on loopback, which also grants leases."""
    leases = Coordinator(MemoryLeases(), 10.0, lambda: 0.0)
    server = RpcServer(daemon, daemon.audit, host="127.0.0.1", port=0, state_dir=daemon.state_dir, leases=leases)
    yield server, Endpoint(f"127.0.0.1:{await server.start()}")
    await server.stop(0.1)


async def call(endpoint: Endpoint, use: Callable[[ControlClient], _T]) -> _T:
    """Use the synchronous client in a thread, since the server runs on this loop."""

    def run() -> _T:
        with ControlClient(endpoint) as client:
            return use(client)

    return await asyncio.to_thread(run)


def pause(client: ControlClient) -> bool:
    """Give an order."""
    return client.set_desired("east-to-west", Desired.PAUSED, actor="ann", reason="")


@pytest.mark.parametrize("carried", [None, "", "0" * 64, "ä" * 64])
async def test_another_user_orders_nothing(
    server: tuple[RpcServer, Endpoint], daemon: FakeDaemon, carried: str | None
) -> None:
    """He may look; what he is refused is counted, and written down once."""
    rpc, endpoint = server
    shown = () if carried is None else ((f"{METADATA_KEY}", carried.encode("ascii", "replace").decode()),)

    def order() -> grpc.StatusCode:
        with grpc.insecure_channel(endpoint.address) as channel:
            request = pb.SetDesiredRequest(flow="east-to-west", desired=pb.DESIRED_PAUSED, actor="ann")
            try:
                control_pb2_grpc.ControlStub(channel).SetDesired(request, timeout=10, metadata=shown)
            except grpc.RpcError as error:
                return error.code()
            return grpc.StatusCode.OK

    for _ in range(5):
        assert await asyncio.to_thread(order) is grpc.StatusCode.PERMISSION_DENIED
    assert await call(endpoint, lambda client: client.status()) == DAEMON
    assert not daemon.asked
    assert rpc.access.refusals.counts == {Why.TOKEN: 5}
    assert [entry.phase for entry in daemon.audit.entries] == ["refused"]
    assert await call(endpoint, pause)


async def test_the_command_line_of_the_same_user_just_works(
    server: tuple[RpcServer, Endpoint], daemon: FakeDaemon
) -> None:
    """Whatever its directory: the daemon says where the token is. One that was deleted is written again."""
    _, endpoint = server
    assert await call(endpoint, pause)
    (daemon.state_dir / FILE_NAME).unlink()
    assert not await call(endpoint, pause)
    named = replace(endpoint, token_file=daemon.state_dir / FILE_NAME)
    assert not await call(named, pause)
    other = daemon.state_dir / "other"
    other.mkdir()
    OrderToken(other)
    with pytest.raises(AccessDenied, match="carry the token") as refused:
        await call(replace(endpoint, token_file=other / FILE_NAME), pause)
    assert str(daemon.state_dir / FILE_NAME) in refused.value.next_step


async def test_leases_are_changed_by_whoever_has_the_token(
    server: tuple[RpcServer, Endpoint], daemon: FakeDaemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Daemons on one machine find it by themselves, also after it was made anew."""
    rpc, endpoint = server
    leases, caller = RemoteLeases([endpoint]), LeaseCaller("0e1f", "east", "e-1", "", 1)
    try:
        assert (await leases.renew(caller)).offered == (0,)
        (daemon.state_dir / FILE_NAME).unlink()
        assert rpc.access.token is not None
        rpc.access.token.renew()
        assert (await leases.acquire(caller)).table.leases[0].holder == "e-1"
        monkeypatch.setattr(Endpoint, "asks_for_token", lambda _: False)
        with pytest.raises(AccessDenied):
            await leases.release(caller, leaves=True)
        assert [table.flow for table in await leases.tables()] == ["east"]
    finally:
        await leases.close()


# ---- the file


def test_the_token_stays_as_long_as_it_is_ours_alone(tmp_path: Path) -> None:
    """Over restarts; whoever was able to read it before has nothing then."""
    first = OrderToken(tmp_path)
    file = tmp_path / FILE_NAME
    token = file.read_text()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert OrderToken(tmp_path).equals(token.strip())
    assert not first.equals(token)
    file.chmod(0o640)
    assert not OrderToken(tmp_path).equals(token.strip())
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    for unsound in (b"", b"short\n", b"x" * 500):
        file.write_bytes(unsound)
        OrderToken(tmp_path)
        assert len(file.read_bytes()) == 65


def test_a_link_in_place_of_the_token_is_not_followed(tmp_path: Path) -> None:
    """Neither read nor written through."""
    victim = tmp_path / "victim"
    victim.write_text("0" * 64 + "\n")
    victim.chmod(0o600)
    (tmp_path / FILE_NAME).symlink_to(victim)
    (tmp_path / "rpc.new").symlink_to(victim)
    assert not OrderToken(tmp_path).equals("0" * 64)
    assert victim.read_text() == "0" * 64 + "\n"
    assert not (tmp_path / FILE_NAME).is_symlink()


def test_without_room_for_a_token_no_order_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The daemon copies on, and says why; an empty token is none."""

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    token = OrderToken(tmp_path)
    assert "No space left" in token.problem
    assert not token.equals("")
    assert not token.equals(b"")


# ---- who it is given to


def listening(uid: int, host: str = "127.0.0.1") -> Callable[[], list[Any]]:
    """Return a table in which a user listens at port 7443."""
    return lambda: [find_token._Listener(ipaddress.ip_address(host), 7443, uid)]


def test_the_token_goes_to_its_owner_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the daemon is down another user may listen at its port."""
    OrderToken(tmp_path)
    file, me = tmp_path / FILE_NAME, os.geteuid()
    for named in (True, False):
        for host in ("127.0.0.1", "0.0.0.0", "::"):  # noqa: S104 - not ours
            monkeypatch.setattr(find_token, "_listeners", listening(me + 4711, host))
            with pytest.raises(AccessDenied, match="is not given"):
                order_metadata(file, "127.0.0.1:7443", named_by_daemon=named)
        with pytest.raises(AccessDenied, match="is not given"):
            order_metadata(file, "localhost:7443", named_by_daemon=named)
        monkeypatch.setattr(find_token, "_listeners", listening(me))
        assert order_metadata(file, "127.0.0.1:7443", named_by_daemon=named)
    monkeypatch.setattr(find_token, "_listeners", list)
    assert order_metadata(file, "127.0.0.1:7443", named_by_daemon=False), (
        "behind a forwarded port, by an operator's word"
    )
    with pytest.raises(AccessDenied, match="is not given"):
        order_metadata(file, "127.0.0.1:7443", named_by_daemon=True)


def test_what_is_no_token_is_not_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever listens must not have any other file sent to him, nor one that others can read."""
    monkeypatch.setattr(find_token, "_listeners", listening(os.geteuid()))
    secret = tmp_path / "password"
    secret.write_text("0" * 64 + "\n")
    secret.chmod(0o600)
    with pytest.raises(AccessDenied, match="which is not a token"):
        order_metadata(secret, "127.0.0.1:7443", named_by_daemon=True)
    (tmp_path / FILE_NAME).symlink_to(secret)
    with pytest.raises(AccessDenied, match="cannot be read"):
        order_metadata(tmp_path / FILE_NAME, "127.0.0.1:7443", named_by_daemon=True)
    (tmp_path / FILE_NAME).unlink()
    with pytest.raises(AccessDenied, match="cannot be read"):
        order_metadata(tmp_path / FILE_NAME, "127.0.0.1:7443", named_by_daemon=True)
    OrderToken(tmp_path)
    (tmp_path / FILE_NAME).chmod(0o644)
    with pytest.raises(AccessDenied, match="others can read"):
        order_metadata(tmp_path / FILE_NAME, "127.0.0.1:7443", named_by_daemon=True)
