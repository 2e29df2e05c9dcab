"""Every shape of the corpus stands at the same offsets on the target, and a reader of either kind sees the same."""

from __future__ import annotations

import random
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

import pytest

from replicator.devkit import Cluster
from tests.integration.conftest import MakeCluster
from tests.integration.corpus import SHAPES, begin, write
from tests.integration.corpus.judge import same_shapes
from tests.integration.corpus.shape import Shape
from tests.integration.harness import Daemon, Kafka, Lab, wait_until

QUICK = {name: shape for name, shape in SHAPES.items() if not shape.slow}
EAGER_CLEANER = {"log.cleaner.backoff.ms": "300"}


@pytest.fixture(scope="module")
def source(make_module_cluster: MakeCluster) -> Cluster:
    """A cluster of one broker that may be restarted."""
    return make_module_cluster(name="corpus", overrides=EAGER_CLEANER)


def named(prefix: str, shapes: Mapping[str, Shape]) -> dict[str, Shape]:
    """Return topic to shape."""
    return {f"{prefix}.{name}": shape for name, shape in shapes.items()}


def healthy(daemon: Daemon, topics: Mapping[str, Shape]) -> None:
    """The status agrees: nothing lags, nothing has stopped."""
    wait_until("the status agrees", lambda: daemon.flow()["lag_records"] == 0)
    states = {topic: daemon.mirror(topic).get("state") for topic in topics}
    assert set(states.values()) == {"ACTIVE"}, states


def test_every_shape_on_one_broker_and_on_three(
    source: Cluster, east: Kafka, west: Kafka, topic_name: str, lab: Lab
) -> None:
    """What stood there before, and what is written while two daemons copy, each to its target."""
    topics = named(topic_name, QUICK)
    begin(source, topics)
    daemons = {target: lab.daemon(source, target, f"{topic_name}.*") for target in (east, west)}
    for daemon in daemons.values():
        daemon.start(ready_seconds=0)
    write(source, topics)

    for target, daemon in daemons.items():
        found = same_shapes(source, target, topics)
        assert len(found) == len(topics)
        healthy(daemon, topics)
