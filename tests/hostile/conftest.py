"""A real broker with a man in the middle, and what is looked at beside each lie."""

from __future__ import annotations

import resource
from collections.abc import Iterator

import pytest

from replicator.devkit import free_base_port
from tests.clusters import MakeCluster
from tests.hostile.middle import Middle
from tests.integration.proxy import FaultProxy, pass_all

_MEMORY_KIB_MAX = 200 << 10


@pytest.fixture
def bounded() -> Iterator[None]:
    """No lie makes the process large."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    yield
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < _MEMORY_KIB_MAX


@pytest.fixture(scope="session")
def middle(make_session_cluster: MakeCluster) -> Iterator[Middle]:
    """A cluster of one broker, all of whose answers pass a proxy."""
    base = free_base_port(1)
    port = base + 5
    cluster = make_session_cluster(name="middle", base_port=base, repl_advertised={1: port}, start=False)
    with FaultProxy(port, cluster.config.ports(1).repl) as proxy:
        cluster.start()
        yield Middle(cluster, cluster.config.repl_bootstrap, proxy)


@pytest.fixture(autouse=True)
def honest_after(request: pytest.FixtureRequest) -> Iterator[None]:
    """No lie outlives its test."""
    yield
    if "middle" in request.fixturenames:
        made: Middle = request.getfixturevalue("middle")
        made.honest()
        made.proxy.plan = pass_all
