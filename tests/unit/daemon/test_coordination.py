"""Who coordinates, as the flow file says."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from replicator.config.load import load
from replicator.daemon.coordination import Coordination, open_coordination
from replicator.errors import DaemonUnreachable
from replicator.model.lease import LeaseCaller
from replicator.model.spec import Spec
from replicator.rpc.client.endpoint import Endpoint
from replicator.rpc.client.lease_client import RemoteLeases
from replicator.rpc.server.server import RpcServer
from tests.unit.rpc.fake_daemon import FakeDaemon

OWN, OTHER = ("127.0.0.1", 7443), ("other.example", 7443)


@pytest.fixture
def spec(tmp_path: Path) -> Spec:
    """A flow file whose leases are kept in memory."""
    path = tmp_path / "flow.yaml"
    path.write_text("version: 1\ncoordinator: {store: memory}\nclusters: {a: {bootstrap: 'a:1'}}\nflows: {}\n")
    path.chmod(0o600)
    return load(path, {})


async def opened(spec: Spec, *endpoints: tuple[str, int], alone: bool = False) -> Coordination:
    """Open what the endpoints ask for."""
    made = replace(
        spec, daemon=replace(spec.daemon, rpc=OWN), coordinator=replace(spec.coordinator, endpoints=endpoints)
    )
    coordination = open_coordination(made, alone=alone)
    await coordination.close()
    return coordination


async def test_the_daemon_that_is_named_first_is_the_coordinator(spec: Spec) -> None:
    """All may have one file: it asked itself, over and over, and nobody was answered."""
    assert (await opened(spec, OWN)).embedded is not None
    assert (await opened(spec, OWN, OTHER)).embedded is not None
    assert (await opened(spec)).embedded is not None
    assert (await opened(spec, OTHER, alone=True)).embedded is not None


async def test_nobody_asks_himself(spec: Spec) -> None:
    """Where another one comes first, that one is asked."""
    for endpoints in ((OTHER,), (OTHER, OWN)):
        port = (await opened(spec, *endpoints)).port
        assert isinstance(port, RemoteLeases)
        assert [one.address for one in port._endpoints] == ["other.example:7443"]


async def test_a_daemon_that_asks_itself_by_another_name_is_told_so() -> None:
    """A call that each answer asked on ended with its time, and told of a cluster that does not answer."""
    daemon, leases = FakeDaemon(), RemoteLeases([])
    server = RpcServer(daemon, daemon.audit, host="127.0.0.1", port=0, state_dir=daemon.state_dir, leases=leases)
    leases._endpoints.append(Endpoint(f"localhost:{await server.start()}", timeout_seconds=30.0))
    for ask in (leases.renew(LeaseCaller("0e1f", "f", "d-1", "", 1)), leases.tables()):
        with pytest.raises(DaemonUnreachable, match="no coordinator answers") as caught:
            await ask
        assert "its coordinator.endpoints names others, or its own address" in caught.value.why
    await leases.close()
    await server.stop(0.1)
