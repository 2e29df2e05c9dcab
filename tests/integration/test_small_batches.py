"""Batches of one record: merged when more is queued, at the same offsets; passed on at once when nothing is."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from replicator.devkit import Cluster, free_base_port
from replicator.model.batch import BatchHeader
from replicator.wire.batches.batch import scan
from tests.integration.conftest import MakeCluster
from tests.integration.corpus.plain import CODECS, ODD
from tests.integration.harness import Lab
from tests.integration.kafka_client import assert_equal, bounds, create, wait_until
from tests.integration.load import numbered, produce
from tests.integration.proxy import FaultProxy

SINGLE = {"batch.num.messages": 1, "linger.ms": 0}


def batches(cluster: Cluster, topic: str, partition: int = 0) -> list[BatchHeader]:
    """Return the headers of all batches of a partition, from the files of the first broker that has it."""
    files = sorted(cluster.config.directory.glob(f"broker-*/data/{topic}-{partition}/*.log"))
    raw = [file.read_bytes() for file in files if file.parent.parent == files[0].parent.parent]
    return [header for log in raw for header in scan(log, 0, len(log))]


@pytest.mark.long
def test_a_backlog_of_single_records_arrives_in_few_batches(
    east: Cluster, west: Cluster, topic_name: str, lab: Lab
) -> None:
    """In every codec; odd records and headers among them; each in its place, and its batch sound."""
    create(east, topic_name, len(CODECS))
    for partition, codec in enumerate(CODECS):
        items = [dict(ODD[number % len(ODD)], partition=partition) for number in range(600)]
        items += numbered(900, partition=partition)
        produce(east, topic_name, items, **SINGLE, **{"compression.type": codec})
    daemon = lab.daemon(east, west, topic_name).start()

    found = assert_equal(east, west, topic_name)

    assert [len(records) for records in found.values()] == [1500] * len(CODECS)
    for partition, codec in enumerate(CODECS):
        there, here = (batches(cluster, topic_name, partition) for cluster in (east, west))
        assert len(there) == 1500
        assert len(here) < 75, codec
        assert {header.attributes & 7 for header in here} <= {header.attributes & 7 for header in there}
        assert max(header.max_timestamp for header in here) == max(header.max_timestamp for header in there)
    assert daemon.mirror(topic_name)["state"] == "ACTIVE"


@pytest.mark.long
def test_merged_batches_fit_the_target(east: Cluster, west: Cluster, topic_name: str, lab: Lab) -> None:
    """A topic that takes little on both sides: its batches are merged less."""
    create(east, topic_name, max_message_bytes="2000")
    produce(east, topic_name, numbered(2000), **SINGLE)
    lab.daemon(east, west, topic_name).start()

    assert_equal(east, west, topic_name)

    here = batches(west, topic_name)
    assert max(header.size for header in here) <= 2000
    assert len(here) < 1500


@pytest.mark.long
def test_what_comes_alone_passes_alone(east: Cluster, west: Cluster, topic_name: str, lab: Lab) -> None:
    """Nobody waits for company: a record that is there is copied."""
    create(east, topic_name)
    produce(east, topic_name, numbered(1))
    lab.daemon(east, west, topic_name).start()
    wait_until("the first is copied", lambda: bounds(west, topic_name)[0][1] == 1)
    for number in range(1, 21):
        produce(east, topic_name, numbered(1, number), **SINGLE)
        time.sleep(0.02)

    assert_equal(east, west, topic_name)

    assert len(batches(west, topic_name)) > 15


@pytest.fixture
def distant(make_cluster: MakeCluster) -> Iterator[tuple[Cluster, FaultProxy]]:
    """A target whose answers are a tenth of a second on their way, once told so."""
    base = free_base_port(1)
    cluster = make_cluster(name="distant", base_port=base, repl_advertised={1: base + 5}, start=False)
    with FaultProxy(base + 5, cluster.config.ports(1).repl) as proxy:
        cluster.start()
        yield cluster, proxy


@pytest.mark.long
def test_for_a_distant_target_larger_batches_are_merged(
    east: Cluster, distant: tuple[Cluster, FaultProxy], topic_name: str, lab: Lab
) -> None:
    """Five at a time and a tenth of a second each: as they are, 600 batches would need twelve."""
    west, proxy = distant
    create(east, topic_name)
    produce(east, topic_name, numbered(1))
    lab.daemon(east, {"bootstrap": west.config.repl_bootstrap}, topic_name).start()
    wait_until("the first is copied", lambda: bounds(west, topic_name)[0][1] == 1)
    proxy.distance_seconds = 0.1
    items = numbered(600 * 100, 1, headers=[("h", b"x" * 100)])
    produce(east, topic_name, items, **{"batch.num.messages": 100, "linger.ms": 50})

    assert_equal(east, west, topic_name)

    sent, arrived = len(batches(east, topic_name)), len(batches(west, topic_name))
    assert sent >= 600
    assert arrived < sent / 2
