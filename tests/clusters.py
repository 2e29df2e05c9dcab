"""Fixtures of real clusters: one pair for the whole run, and more for tests that need their own.

Without Java or Maven these tests fail, with the package to install: none is skipped.
"""

from __future__ import annotations

import itertools
import re
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from replicator.devkit import Cluster, ClusterConfig, free_base_port, start_clusters
from tests.integration.harness import Lab

MakeCluster = Callable[..., Cluster]
"""``make_cluster(**ClusterConfig fields)``: a started cluster; name, directory and ports are chosen if not given."""


@pytest.fixture(scope="session")
def clusters_dir() -> Iterator[Path]:
    """Directory of all clusters of this run, removed at its end."""
    with tempfile.TemporaryDirectory(prefix="replicator-clusters-") as directory:
        yield Path(directory)


@pytest.fixture(scope="session")
def pair(clusters_dir: Path) -> Iterator[tuple[Cluster, Cluster]]:
    """The shared pair (east, west), started together by the first test that needs it."""
    east, west = (
        Cluster(ClusterConfig(name, clusters_dir / name, free_base_port(brokers), brokers=brokers))
        for name, brokers in (("east", 1), ("west", 3))
    )
    start_clusters([east, west])
    yield east, west
    east.kill()
    west.kill()


@pytest.fixture(scope="session")
def east(pair: tuple[Cluster, Cluster]) -> Cluster:
    """The shared cluster of one broker: the usual source. Leave its brokers alone."""
    return pair[0]


@pytest.fixture(scope="session")
def west(pair: tuple[Cluster, Cluster]) -> Cluster:
    """The shared cluster of three brokers: the usual target. Leave its brokers alone."""
    return pair[1]


@pytest.fixture
def make_cluster(clusters_dir: Path) -> Iterator[MakeCluster]:
    """Start clusters of a test's own, ended and removed after the test."""
    with _factory(clusters_dir) as make:
        yield make


@pytest.fixture(scope="module")
def make_module_cluster(clusters_dir: Path) -> Iterator[MakeCluster]:
    """Start clusters that the tests of one module share, ended and removed after the last of them."""
    with _factory(clusters_dir) as make:
        yield make


@pytest.fixture(scope="session")
def make_session_cluster(clusters_dir: Path) -> Iterator[MakeCluster]:
    """Start clusters that several modules share, ended and removed after the run."""
    with _factory(clusters_dir) as make:
        yield make


@pytest.fixture
def topic_name(request: pytest.FixtureRequest) -> str:
    """Return a topic name that no other test uses, and that tells which test made it."""
    test = re.sub(r"[^a-zA-Z0-9]+", "-", request.node.name).strip("-")[:80]
    return f"{test}-{uuid.uuid4().hex[:8]}"


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    """Daemons of a test's own, ended after it."""
    made = Lab(tmp_path)
    yield made
    made.close()


_numbers = itertools.count(1)


@contextmanager
def _factory(directory: Path) -> Iterator[MakeCluster]:
    made: list[Cluster] = []

    def make(*, start: bool = True, **fields: Any) -> Cluster:
        name = fields.pop("name", f"own-{next(_numbers)}")
        fields.setdefault("base_port", free_base_port(fields.get("brokers", 1)))
        fields.setdefault("directory", directory / name)
        cluster = Cluster(ClusterConfig(name=name, **fields))
        made.append(cluster)
        if start:
            cluster.start()
        return cluster

    try:
        yield make
    finally:
        for cluster in made:
            cluster.kill()
            cluster.wipe()
