"""Coordinators over a real etcd: any daemon, any coordinator and any member may die."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from replicator.devkit import free_base_port
from replicator.devkit.etcd import Etcd
from tests.integration.harness import Lab
from tests.integration.kafka_client import Kafka, assert_equal, create, wait_until
from tests.integration.load import Load
from tests.integration.test_leases import PARTITIONS, SHARDS, is_even, wait_alone

pytestmark = pytest.mark.long


@pytest.fixture
def etcd(tmp_path: Path) -> Iterator[Etcd]:
    """Three members."""
    made = Etcd(tmp_path / "etcd", free_base_port(1), 3)
    made.start()
    yield made
    made.stop()


@pytest.mark.timeout(240)
def test_everything_may_die(east: Kafka, west: Kafka, topic_name: str, lab: Lab, etcd: Etcd) -> None:
    """A member, a daemon with its coordinator, then all of etcd: nothing is lost, doubled, or stands still."""
    create(east, topic_name, PARTITIONS)
    daemons = [lab.daemon(east, west, topic_name, replication_factor=1, shards=SHARDS) for _ in range(2)]
    for daemon in daemons:
        daemon.document["coordinator"] |= {
            "store": "etcd",
            "endpoints": [f"127.0.0.1:{etcd.port(member)}" for member in range(3)],
        }
        daemon.write()
        daemon.start()
    wait_until("the load is spread", lambda: is_even(daemons[0], 2), 60)
    with Load(east, {topic_name: PARTITIONS}, per_second=2000) as load:
        etcd.kill(0)
        wait_until("leases go on", lambda: is_even(daemons[1], 2), 30)
        daemons[0].kill()
        wait_alone(daemons[1], topic_name)
        etcd.stop()
        wait_until("it is told", lambda: daemons[1].flow()["coordinator_answers"] is False, 60)
        before = daemons[1].metric("replicator_records_total")
        wait_until("it goes on", lambda: daemons[1].metric("replicator_records_total") > before + 1000)
    load.check(topic_name, assert_equal(east, west, topic_name))
